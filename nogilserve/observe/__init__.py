"""What is seen from outside: the access log. Finished records only, never a live connection."""
