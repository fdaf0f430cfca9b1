"""What is done to an application before it is served."""
