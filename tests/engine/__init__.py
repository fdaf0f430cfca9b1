"""The engine, room by room; races are forced, not hoped for."""
