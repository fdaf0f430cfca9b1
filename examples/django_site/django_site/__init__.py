"""Settings, routes and entry point of the Django example."""
