"""Notes: the one application of the Django example."""
