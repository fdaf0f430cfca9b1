"""The runtimes with real threads and real sockets."""
