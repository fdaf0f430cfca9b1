"""ASGI 3: runs an application for requests, WebSocket connections and its lifespan.

`http` one request, `websocket` one connection, `lifespan` start and end of the application,
`scope` what the application is told of a connection, `calls` what these have in common.
"""

from nogilserve.gateways.asgi.calls import leave_home
from nogilserve.gateways.asgi.gateway import AsgiGateway
from nogilserve.gateways.asgi.lifespan import Lifespan, StartupFailed
from nogilserve.gateways.asgi.mounted import MountedScopeMaker

__all__ = ["AsgiGateway", "Lifespan", "MountedScopeMaker", "StartupFailed", "leave_home"]
