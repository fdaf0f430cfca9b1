"""The data plane of asynchronous applications: event loops, one per core, each on its own thread.

`dispatch` accepts connections and gives each to the least loaded loop, `core` is what the
connections of one loop share, `connection` is one client speaking HTTP/1, `websocket` one that was
upgraded, `watch` notices a loop that is blocked. The only room of the engine that knows asyncio.
"""
