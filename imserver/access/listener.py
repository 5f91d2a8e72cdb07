"""The port that serves WebSocket and HTTP: uvicorn with our protocol class in its public settings."""

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from litestar import Litestar

from imserver.access.door import Door
from imserver.access.http.link import HttpLink
from imserver.access.websocket import WebSocketLink
from imserver.core.settings import ServerSettings


class Listener(uvicorn.Server):
    """A uvicorn server that drains before it closes, and says when it is ready and where."""

    def __init__(
        self,
        application: Litestar,
        door: Door,
        settings: ServerSettings,
        *,
        on_ready: Callable[[str], None],
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="none",
                http=_protocols(HttpLink, door),
                ws=_protocols(WebSocketLink, door),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=settings.backlog,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
            )
        )
        self._settings = settings
        self._on_ready = on_ready
        self._drain = drain

    async def startup(self, sockets: Any = None) -> None:
        """Open the port.

        Raises:
            OSError: it cannot be opened; uvicorn on its own would end the process instead.
        """
        await super().startup(sockets or [_opened(self._settings)])
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            self._on_ready(f"http://{host}:{port}")

    async def shutdown(self, sockets: Any = None) -> None:
        """Drain, then close the port and what is left."""
        await self._drain()
        await super().shutdown(sockets)


def _opened(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.address.host else socket.AF_INET
    return socket.create_server(settings.address, family=family, backlog=settings.backlog)


def _protocols(kind: Callable[..., asyncio.Protocol], door: Door) -> Any:
    # uvicorn calls this as it calls its own protocol classes; it only ever needs a callable.
    return functools.partial(kind, door)
