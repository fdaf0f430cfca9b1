"""What an accepted connection becomes, by the role of its listening socket."""

import asyncio

from nogilserve.engine.loop.connection import HttpConnection
from nogilserve.engine.loop.core import Accepted, LoopCore
from nogilserve.engine.loop.limited import LimitedHttpConnection
from nogilserve.engine.roles import ENCRYPTED, REDIRECT

__all__ = ["make_client"]


class RedirectingHttpConnection(HttpConnection):
    """Its client is only told where HTTPS is. Owner: as of HttpConnection."""

    __slots__ = ()

    redirects = True


class LimitedRedirectingHttpConnection(LimitedHttpConnection):
    """The same, counted while it is open."""

    __slots__ = ()

    redirects = True


def make_client(core: LoopCore, accepted: Accepted) -> asyncio.Protocol:
    """The protocol of a connection, for its transport."""
    limited = core.settings.admission is not None
    if accepted.role == ENCRYPTED and core.encryption is not None:
        # Python's ssl takes time and memory, which others need not pay.
        from nogilserve.engine.loop.secure import SecureTransport
        from nogilserve.engine.loop.secureconnection import (
            LimitedSecureHttpConnection,
            SecureHttpConnection,
        )

        kind = LimitedSecureHttpConnection if limited else SecureHttpConnection
        layer: asyncio.Protocol = SecureTransport(core, kind(core, accepted))  # type: ignore[assignment]
        return layer
    if accepted.role == REDIRECT:
        redirecting = LimitedRedirectingHttpConnection if limited else RedirectingHttpConnection
        return redirecting(core, accepted)
    if core.elsewhere is not None:
        from nogilserve.engine.loop.elsewhere import (
            LimitedReturningHttpConnection,
            ReturningHttpConnection,
        )

        return (LimitedReturningHttpConnection if limited else ReturningHttpConnection)(
            core, accepted
        )
    return (LimitedHttpConnection if limited else HttpConnection)(core, accepted)
