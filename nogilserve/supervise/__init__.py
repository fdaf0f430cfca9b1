"""The life of a server process: start, signals, stop."""
