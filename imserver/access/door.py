"""What the links of a node share: the shell's context, timers, buffers, and who may come in."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol

from websockets.typing import Origin

from imserver.access.context import Context
from imserver.access.flusher import Flusher
from imserver.access.wheel import TICK_S, Timed, Wheel

VISITORS_RESERVE: Final = 256


class Registered(Timed, Protocol):
    """A connection that the node closes when it stops."""

    def shutdown(self) -> None:
        """Say goodbye and close."""


class Visitor(Protocol):
    """A connection that has not become a session's."""

    def check_deadline(self) -> None:
        """Give up if what it is to bring is overdue."""


class Door:
    """Counts the links and says whether one more may enter.

    Attributes:
        origins: what a browser may say it comes from; None stands for programs, which say nothing.
        hello_timeout_s: seconds from the connection, and again from the upgrade, to the open session.
        ping_interval_s: seconds of silence before a ping, and after it before giving up.
        write_buffer_bytes_max: high-water mark of a link's outbound buffer.
    """

    def __init__(
        self,
        context: Context,
        *,
        hello_timeout_s: float,
        ping_interval_s: float,
        write_buffer_bytes_max: int,
    ) -> None:
        self.context = context
        self.flusher = Flusher()
        self.wheel = Wheel()
        self.wheel.add(self, TICK_S)
        self.origins: Sequence[Origin | None] = [
            None,
            *(Origin(origin) for origin in context.settings.origins),
        ]
        self.ping_interval_s = ping_interval_s
        self.write_buffer_bytes_max = write_buffer_bytes_max
        self.hello_timeout_s = hello_timeout_s
        self._inside: set[Registered] = set()
        self._visitors: set[Visitor] = set()
        self._draining = False
        self._empty = asyncio.Event()

    def enter(self, link: Registered) -> None:
        """Take in a new link; it has until the hello deadline to say who it is."""
        self._inside.add(link)
        self.context.metrics.connections.set(len(self._inside))
        self.wheel.add(link, self.hello_timeout_s)

    def enter_visitor(self, visitor: Visitor) -> bool:
        """Count a connection that has not become a session's; False if there are too many of all kinds.

        A reserve beyond the cap keeps the port's health and metrics within reach of its operators.
        """
        most = self.context.settings.connections_max + VISITORS_RESERVE
        if len(self._inside) + len(self._visitors) >= most:
            self.context.metrics.turned_away.inc()
            return False
        self._visitors.add(visitor)
        return True

    def leave_visitor(self, visitor: Visitor) -> None:
        """Let go of a connection that is closed, or handed over to a session's protocol."""
        self._visitors.discard(visitor)

    def on_timer(self) -> float:
        """Look at the deadlines of the visitors; called by the wheel."""
        for visitor in list(self._visitors):
            visitor.check_deadline()
        return TICK_S

    def leave(self, link: Registered) -> None:
        """Let a link go whose transport is closed."""
        self._inside.discard(link)
        if self._draining and not self._inside:
            self._empty.set()
        self.context.metrics.connections.set(len(self._inside))

    def refuses(self) -> HTTPStatus | None:
        """Return the status with which one more handshake is turned away, or None to let it in."""
        if self._draining or len(self._inside) > self.context.settings.connections_max:
            self.context.metrics.turned_away.inc()
            return HTTPStatus.SERVICE_UNAVAILABLE
        return None

    def drain(self) -> None:
        """Turn new handshakes away from now on."""
        self._draining = True
        if not self._inside:
            self._empty.set()

    def close_all(self) -> None:
        """Say goodbye to every link that is still inside."""
        for link in list(self._inside):
            link.shutdown()

    async def wait_empty(self) -> None:
        """Return when a draining node has no link left."""
        await self._empty.wait()

    def __len__(self) -> int:
        return len(self._inside)
