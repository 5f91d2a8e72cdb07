"""The port for raw TCP, off unless an address is set."""

import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from imserver.access.door import Door
from imserver.access.doorway import Doorway
from imserver.access.sockets import listening, written
from imserver.access.tcp import TcpLink
from imserver.access.tls import Handshakes
from imserver.core.server_settings import Address, ServerSettings

_KEEPALIVE_S_MAX: Final = 32_767
_PROBES: Final = 3


class TcpListener:
    """Listens for clients that speak the protocol over raw TCP."""

    def __init__(
        self,
        door: Door,
        settings: ServerSettings,
        *,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        tls: Handshakes | None = None,
    ) -> None:
        self._door = door
        self._settings = settings
        self._spawn = spawn
        self._tls = tls
        self._doorway: Doorway | None = None

    def open(self, address: Address) -> str:
        """Open the port and return its URL.

        Raises:
            OSError: it cannot be opened.
        """
        opened = listening(address, backlog=self._settings.backlog)
        _keep_alive(opened, self._settings.ping_interval_s)
        self._doorway = Doorway(
            opened,
            partial(TcpLink, self._door),
            spawn=self._spawn,
            tls=self._tls,
        )
        self._doorway.open()
        scheme = "tcp" if self._tls is None else "tcps"
        return f"{scheme}://{written(*self._doorway.address)}"

    def close(self) -> None:
        """Accept no more."""
        if self._doorway is not None:
            self._doorway.close()


def _keep_alive(opened: socket.socket, interval_s: float) -> None:
    """Have the system probe silent connections; those that are accepted take it over.

    A host that is gone is noticed within two intervals, also while nothing is read from it on purpose.
    """
    idle_s = min(max(1, round(interval_s)), _KEEPALIVE_S_MAX)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, idle_s // _PROBES))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
