"""The admin address: status page, metrics, probes, and commands for who knows the token.

With a master it is served by a process of its own, which the master starts, and starts again should
it die; so the address stays while generations come and go, and the master needs no third-party
code. Without a master a thread of the serving process does it. Either way it is a WSGI
application on this server's own engine.
"""
