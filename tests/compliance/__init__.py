"""Judges that nobody here wrote, run against a real server; not part of `./dev test`."""
