"""Benchmarks of nogilserve against its peers, and of its parts.

`python -m benchmarks wsgi|targets|scaling|idle|memory|micro`. Nothing here is imported by the
package; the servers run as child processes of the same interpreter and are judged from
outside: `wrk` counts the requests, `/proc` the processor time, the memory and the wake-ups.
Method and how to read the figures: docs/measuring.md.
"""
