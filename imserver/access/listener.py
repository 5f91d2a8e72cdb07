"""The port that serves WebSocket and HTTP: uvicorn's server around our own doorway and protocols."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

import uvicorn
from litestar import Litestar

from imserver.access.door import Door
from imserver.access.doorway import Doorway
from imserver.access.http.link import HttpLink
from imserver.access.overflow import Overflow
from imserver.access.sockets import listening, written
from imserver.access.tcp_listener import TcpListener
from imserver.access.tls import Certificates, Handshakes
from imserver.access.websocket import WebSocketLink
from imserver.core.server_settings import ServerSettings

LAST_WORDS_S: Final = 1.0
"""For so long before a stopping node's patience ends, requests get to be refused."""


class Listener(uvicorn.Server):
    """A uvicorn server that drains before it closes, and says when it is ready and where.

    Attributes:
        on_hangup: what is done on SIGHUP: files that are read again. To be filled before it serves.
    """

    def __init__(
        self,
        application: Litestar,
        door: Door,
        settings: ServerSettings,
        *,
        on_ready: Callable[[list[str]], None],
        drain: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="none",
                http=HttpLink,
                ws=WebSocketLink,  # it is HttpLink that makes them
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
            )
        )
        self._door = door
        self._settings = settings
        self._on_ready = on_ready
        self._drain = drain
        self._spawn = spawn
        self._doorway: Doorway | None = None
        self._overflow = Overflow(door.context.admission, door.context.metrics)
        self._certificates = Certificates(settings) if settings.with_tls else None
        self._tls: Handshakes | None = None
        if self._certificates is not None:
            timeout_s = settings.hello_timeout_s
            self._tls = Handshakes(self._certificates, door, timeout_s=timeout_s)
        self._tcp = TcpListener(door, settings, spawn=spawn, tls=self._tls)
        self.on_hangup: list[Callable[[], None]] = []
        if self._certificates is not None:
            self.on_hangup.append(self._certificates.reload)

    async def startup(self, sockets: Any = None) -> None:
        """Open the port.

        Raises:
            OSError: it cannot be opened; uvicorn on its own would end the process instead.
        """
        await self.lifespan.startup()
        make = partial(
            HttpLink,
            self._door,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        self._doorway = Doorway(
            listening(self._settings.address, backlog=self._settings.backlog),
            make,
            spawn=self._spawn,
            tls=self._tls,
            overflow=self._overflow if self._tls is None else None,
        )
        self._doorway.open()
        self.servers = []  # uvicorn's own, of which there are none
        self.started = True
        if self.on_hangup:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        scheme = "http" if self._tls is None else "https"
        urls = [f"{scheme}://{written(*self._doorway.address)}"]
        if self._settings.tcp_address is not None:
            urls.append(self._tcp.open(self._settings.tcp_address))
        self._on_ready(urls)

    def _hang_up(self) -> None:
        for read_again in self.on_hangup:
            read_again()

    async def shutdown(self, sockets: Any = None) -> None:
        """Drain, then close the port and what is left."""
        await self._drain()
        if self._doorway is not None:
            self._doorway.close()
        self._tcp.close()
        patience_s = self.config.timeout_graceful_shutdown or 0
        loop = asyncio.get_running_loop()
        hurrying = loop.call_later(patience_s - LAST_WORDS_S, self._hurry)
        try:
            await super().shutdown(sockets)
        finally:
            hurrying.cancel()

    def _hurry(self) -> None:
        """Give up the bodies that are under way; uvicorn would break off those who wait for them."""
        for link in list(self.server_state.connections):
            if isinstance(link, HttpLink):
                link.hurry()
