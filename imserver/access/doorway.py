"""Accepts connections from a listening socket: a few at a time, and not when files run out.

The loop's own server would take all that wait in one turn, thousands in a storm, while everybody inside
waits; and without a free descriptor it would try again at once, for ever.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

from imserver.access.overflow import Overflow
from imserver.access.tls import Handshakes
from imserver.access.wheel import REST_S

ACCEPTS_AT_ONCE: Final = 8
"""So many, and then those who are inside are served for `REST_S`."""

ACCEPTS_AT_MOST: Final = 16
"""Where the rest took longer because there is much to do, more are taken at once: else who is to be turned
away would wait for it where nobody sees it."""

LOOKS_AT_ONCE: Final = 128
"""Connections of which most are turned away at once."""

UNSENT_BYTES_MAX: Final = 16 * 1024
"""What the system holds for a client that takes nothing, beyond what is on its way to it; without a bound it
would be megabytes for each."""

PAUSE_S: Final = 0.5
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log: Final = logging.getLogger("imserver.doorway")


class Doorway:
    """One listening socket; ``make`` makes the protocol of each connection."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], asyncio.Protocol],
        *,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        tls: Handshakes | None,
        overflow: Overflow | None = None,
    ) -> None:
        listening.settimeout(0)
        self._listening = listening
        self._make = make
        self._spawn = spawn
        self._tls = tls
        self._overflow = overflow
        self._pause: asyncio.TimerHandle | None = None
        self._is_exhausted = False
        self._rests_since_s = 0.0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        host, port = self._listening.getsockname()[:2]
        return host, port

    def open(self) -> None:
        """Accept from now on."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; the system refuses connections from now on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()

    def _accept(self) -> None:
        taken_in, most = 0, self._accepts()
        for _ in range(LOOKS_AT_ONCE):
            if taken_in == most:
                break
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno in _EXHAUSTED:
                    self._wait_for_files(exc)
                    return
                continue  # its client has gone again
            self._is_exhausted = False
            connection.settimeout(0)
            if self._overflow is not None and self._overflow.takes(connection):
                continue
            taken_in += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
            self._spawn(self._attach(connection), "doorway.attach")
        self._wait(REST_S)

    def _accepts(self) -> int:
        rested_s = self._loop.time() - self._rests_since_s
        accepts = int(ACCEPTS_AT_ONCE * rested_s / REST_S)
        return min(max(accepts, ACCEPTS_AT_ONCE), ACCEPTS_AT_MOST)

    async def _attach(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                await self._tls.attach(self._make, connection)
            else:
                # Broken off, uvloop would close it under the hands of a protocol that it has begun to serve.
                await asyncio.shield(self._loop.connect_accepted_socket(self._make, connection))
        except OSError as exc:  # also what goes wrong with TLS
            _log.debug("connection.failed", extra={"reason": str(exc)})
            connection.close()

    def _wait_for_files(self, exc: OSError) -> None:
        if not self._is_exhausted:
            self._is_exhausted = True
            _log.error("connections.not_accepted", extra={"reason": exc.strerror})
        self._wait(PAUSE_S)

    def _wait(self, pause_s: float) -> None:
        self._rests_since_s = self._loop.time()
        self._loop.remove_reader(self._listening.fileno())
        self._pause = self._loop.call_later(pause_s, self.open)
