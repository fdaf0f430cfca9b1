"""Races on the whole engine: `python -m stress`. See README.md."""
