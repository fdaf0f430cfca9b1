"""The applications that the benchmarks serve; the same code for every server."""
