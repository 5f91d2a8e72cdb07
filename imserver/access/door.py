"""What the links of a node share: the shell's context, timers, buffers, and who may come in."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv6Address
from typing import Final, Protocol

from websockets.typing import Origin

from imserver.access.context import Context
from imserver.access.flusher import Flusher
from imserver.access.handshake import Judge, TurnedAway
from imserver.access.wheel import AT_ONCE, REST_S, TICK_S, Timed, Wheel

NEVER: Final = 2**62
"""A tick that does not come."""

STOPPING: Final = "This node is being shut down; come back to it or another."
"""What is said to who comes, or is not done, while the node stops."""

VISITORS_RESERVE: Final = 256
FILES_RESERVE: Final = 64
"""Descriptors that are not connections: the store's, the log's, the loop's."""

CAP_RETRY_S: Final = 10
DRAIN_RETRY_S: Final = 2


class Registered(Timed, Protocol):
    """A connection that the node closes when it stops."""

    def shutdown(self) -> None:
        """Say goodbye and close."""


class Visitor(Protocol):
    """A connection that has not become a session's.

    Attributes:
        look_at: the tick of the wheel from which on it is to be asked each second.
    """

    look_at: int

    def check_deadline(self) -> None:
        """Give up if what it is to bring is overdue, or the node stops."""


class Door:
    """Counts the links and says whether one more may enter.

    Attributes:
        judge: answers requests to open a WebSocket.
        origins: what a browser may say it comes from; None stands for programs, which say nothing.
        connections_max: most links inside; what is set, or what the system's descriptors allow.
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
        push_wait_s_max: float,
    ) -> None:
        self.context = context
        self._is_stranded = False
        self.flusher = Flusher(beat_s_max=push_wait_s_max)
        self.wheel = Wheel()
        self.wheel.add(self, TICK_S)
        self.origins: Sequence[Origin | None] = [
            None,
            *(Origin(origin) for origin in context.settings.origins),
        ]
        self.judge = Judge(self.origins, deflates=context.settings.deflate)
        self.connections_max = context.settings.connections_max
        self.ping_interval_s = ping_interval_s
        self.write_buffer_bytes_max = write_buffer_bytes_max
        self.hello_timeout_s = hello_timeout_s
        self._inside: dict[Registered, str] = {}
        self._visitors: dict[Visitor, str] = {}
        self._unchecked: list[Visitor] = []
        self._from: Counter[str] = Counter()
        self._draining = False
        self._empty = asyncio.Event()

    def fit(self, files_max: int) -> bool:
        """Let in no more than the process may have files open; return whether the settings fit."""
        fitting = max(1, files_max - VISITORS_RESERVE - FILES_RESERVE)
        self.connections_max = min(self.context.settings.connections_max, fitting)
        return self.connections_max == self.context.settings.connections_max

    def enter(self, link: Registered, host: str) -> None:
        """Take in a new link; it has until the hello deadline to say who it is."""
        source = self._inside[link] = source_of(host)
        self._from[source] += 1
        self.context.metrics.connections.set(len(self._inside))
        self.wheel.add(link, self.hello_timeout_s)

    def enter_visitor(self, visitor: Visitor, host: str) -> bool:
        """Count a connection that has not become a session's; False if there are too many of all kinds.

        A reserve beyond the caps keeps the port's health and metrics within reach of its operators.
        """
        source = source_of(host)
        is_full = len(self._inside) + len(self._visitors) >= self.connections_max + VISITORS_RESERVE
        per_source = self.context.settings.connections_per_address_max + VISITORS_RESERVE
        if is_full or (source and self._from[source] >= per_source):
            self.context.metrics.turned_away.inc()
            return False
        self._visitors[visitor] = source
        self._from[source] += 1
        return True

    def leave_visitor(self, visitor: Visitor) -> None:
        """Let go of a connection that is closed, or handed over to a session's protocol."""
        self._uncount(self._visitors.pop(visitor, None))

    def on_timer(self) -> float:
        """Look at the deadlines of the visitors; called by the wheel."""
        tick = NEVER if self._draining else self.wheel.tick
        is_under_way = bool(self._unchecked)
        self._unchecked = [visitor for visitor in self._visitors if visitor.look_at <= tick]
        if not is_under_way:
            self._check_some()
        return TICK_S

    def _check_some(self) -> None:
        """Look at a few deadlines, the rest later: a thousand may be over at once."""
        for _ in range(min(AT_ONCE, len(self._unchecked))):
            visitor = self._unchecked.pop()
            if visitor in self._visitors:
                visitor.check_deadline()
        if self._unchecked:
            asyncio.get_running_loop().call_later(REST_S, self._check_some)

    def leave(self, link: Registered) -> None:
        """Let a link go whose transport is closed."""
        self._uncount(self._inside.pop(link, None))
        if self._draining and not self._inside:
            self._empty.set()
        self.context.metrics.connections.set(len(self._inside))

    def refuses(self, link: Registered) -> TurnedAway | None:
        """Return why the handshake of a link that has entered is turned away, or None to let it in."""
        why = self._refusal(self._inside.get(link, ""))
        if why is not None:
            self.context.metrics.turned_away.inc()
        return why

    def _refusal(self, source: str) -> TurnedAway | None:
        settings, admission = self.context.settings, self.context.admission
        if self._draining:
            return TurnedAway(HTTPStatus.SERVICE_UNAVAILABLE, STOPPING, DRAIN_RETRY_S)
        if self._is_stranded:
            text = "This node cannot reach its store; come back, to another one if there is one."
            return TurnedAway(HTTPStatus.SERVICE_UNAVAILABLE, text, DRAIN_RETRY_S)
        if len(self._inside) > self.connections_max:
            text = f"This node has {self.connections_max} connections, which is the most."
            return TurnedAway(HTTPStatus.SERVICE_UNAVAILABLE, text, CAP_RETRY_S)
        if source and self._from[source] > settings.connections_per_address_max:
            most = settings.connections_per_address_max
            text = f"Your address has {most} connections here, which is the most; close some."
            return TurnedAway(HTTPStatus.TOO_MANY_REQUESTS, text, CAP_RETRY_S)
        if admission.is_full:
            text = "Too many come at once; come back when this node has got round to them."
            return TurnedAway(HTTPStatus.SERVICE_UNAVAILABLE, text, admission.promise_s())
        return None

    @property
    def draining(self) -> bool:
        """Whether the node stops."""
        return self._draining

    def drain(self) -> None:
        """Turn new handshakes away from now on."""
        self._draining = True
        self.context.admission.call_all()
        if not self._inside:
            self._empty.set()

    def strand(self) -> None:
        """Turn new handshakes away until `reopen`, since this node cannot do for them what others can."""
        self._is_stranded = True

    def reopen(self) -> None:
        """Let them in again."""
        self._is_stranded = False

    def close_all(self) -> None:
        """Say goodbye to every link that is still inside."""
        for link in list(self._inside):
            link.shutdown()

    async def wait_empty(self) -> None:
        """Return when a draining node has no link left."""
        await self._empty.wait()

    def _uncount(self, source: str | None) -> None:
        if source is not None:
            self._from[source] -= 1
            if not self._from[source]:
                del self._from[source]

    def __len__(self) -> int:
        return len(self._inside)


def source_of(host: str) -> str:
    """Return what counts as one address: of IPv6, the network of 64 bits that one subscriber is given."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else address.packed[:8].hex(":", 2) + "::/64"
