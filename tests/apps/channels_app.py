"""Django with Channels and its in-memory layer: `tests.apps.channels_app:application`."""

import threading
from typing import Any

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        DEBUG=False,
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["channels"],
        DATABASES={},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        LOGGING_CONFIG=None,
    )
    django.setup()

from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path


def hello(request: HttpRequest) -> HttpResponse:
    """A synchronous view: Django runs it in a thread."""
    return JsonResponse({"thread": threading.get_ident(), "path": request.path})


async def echo(request: HttpRequest) -> HttpResponse:
    """An asynchronous view with a body."""
    return HttpResponse(request.body.upper(), content_type="text/plain")


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    """An asynchronous stream."""

    async def lines() -> Any:
        for number in range(100):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines())


class Room(AsyncJsonWebsocketConsumer):
    """Everybody in the group hears what one says, by the channel layer."""

    async def connect(self) -> None:
        """Join."""
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()
        await self.send_json({"loop": threading.get_ident()})

    async def disconnect(self, code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive_json(self, content: Any, **_: Any) -> None:
        """Tell the group."""
        await self.channel_layer.group_send("room", {"type": "room.said", "text": content})

    async def room_said(self, event: dict[str, Any]) -> None:
        """Somebody has said something."""
        await self.send_json({"heard": event["text"]})


class Sync(JsonWebsocketConsumer):
    """A synchronous consumer: runs in a thread."""

    def receive_json(self, content: Any, **_: Any) -> None:
        """Send it back."""
        self.send_json({"echo": content})


class Long(AsyncHttpConsumer):
    """An HTTP consumer that sends its body in pieces."""

    async def handle(self, body: bytes) -> None:
        """Ten pieces."""
        await self.send_headers(headers=[(b"content-type", b"text/plain")])
        for number in range(10):
            await self.send_body(b"%d," % number, more_body=True)
        await self.send_body(b"end")


urlpatterns = [path("hello", hello), path("echo", echo), path("stream", stream)]
django_application = get_asgi_application()
application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("long", Long.as_asgi()), path("<path:rest>", django_application)]),
        "websocket": URLRouter([path("room", Room.as_asgi()), path("sync", Sync.as_asgi())]),
    }
)
