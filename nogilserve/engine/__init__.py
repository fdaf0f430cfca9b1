"""The data plane: cores, pollers, connections, hand-off and stealing.

A core is one poller, the connections that belong to it, one queue of ready events and one block of
counters. A thread *holds* a core (the core's lock) while it polls, reads and parses, and offers
it (releases the lock) around each call of the application. `core` says how, `scheduler` how a
core that waits for a blocked application call finds another thread.
"""
