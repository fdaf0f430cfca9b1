"""Races on the whole engine: `python -m stress --seconds 30`. See README.md."""
