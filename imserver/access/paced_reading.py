"""How fast a client is read from: as it takes its answers, the store takes its events, and its rates allow.

The session shell derives from it, and tells it what waits.
"""

import asyncio
import math
from typing import Final

from imserver.access.backlog import Backlog
from imserver.access.context import Context
from imserver.access.link import Link
from imserver.access.tolls import Toll
from imserver.protocol.session_states import SessionState

TURN_S: Final = 0.001
"""How long frames that one client sent at once are taken in before everybody else has a turn."""

REQUEST_BYTES_MAX = 1024 * 1024
"""Bytes of one connection's requests that wait for their turn or their answer; beyond, reading pauses."""


class PacedReading:
    """The half of a session shell that decides whether its client is read from.

    Attributes:
        kept_waiting_s: seconds for which the server had the client wait for its session; they are not the
            client's.
        state: how far the client has come.
    """

    __slots__ = (
        "_busy",
        "_bytes",
        "_context",
        "_link",
        "_paused",
        "_toll",
        "_unanswered",
        "_waiting",
        "kept_waiting_s",
        "state",
    )

    def __init__(self, link: Link, context: Context) -> None:
        self._link = link
        self._context = context
        self._busy = False
        self._bytes = 0
        self._paused = False
        self._toll = Toll(context.tolls, link.source)
        self._unanswered = 0
        self._waiting: Backlog | None = None
        self.kept_waiting_s = 0.0
        self.state = SessionState.FRESH

    def pace(self) -> None:
        """Read no faster than the client takes its answers and the store takes its events."""
        waiting, size = self._unanswered, self._bytes
        if self._waiting:
            waiting, size = waiting + len(self._waiting), size + self._waiting.size
        limit = self._context.limits.requests_max
        if self._paused:
            is_low = waiting <= limit // 2 and size <= REQUEST_BYTES_MAX // 2
            if is_low and not (self._link.congested or self._toll.is_held):
                self._paused = False
                self._link.resume_reading()
        elif (
            waiting >= limit
            or size >= REQUEST_BYTES_MAX
            or self._link.congested
            or self._toll.is_held
        ):
            self._paused = True
            self._link.pause_reading()

    @property
    def paused(self) -> bool:
        """Whether the client is not read from at present, for reasons of ours or its own."""
        return self._paused

    @property
    def rest_s(self) -> float:
        """For how many seconds no more of its frames are to be taken in; 0 for none."""
        return 0.0 if self.state is SessionState.CLOSED else self._toll.rest_s

    @property
    def is_idle(self) -> bool:
        """Whether no request of the client's waits for its turn or its answer."""
        return not (self._unanswered or self._busy or self._waiting)

    def on_other_frames(self, count: int) -> None:
        """Take in that frames of the transport's came which are no messages: pings, fragments."""
        toll = self._toll
        toll.frames_left -= count
        if toll.frames_left >= 0:
            return
        wait_s = toll.settle_others(count)
        self._hold()
        if wait_s and toll.is_exhausted:
            self._close_for_rate(math.ceil(wait_s * 1_000))

    def _close_for_rate(self, retry_after_ms: int | None) -> None:
        raise NotImplementedError

    def _charge(self, size: int) -> float:
        """Count a frame; return 0.0, or the seconds that it comes too early for a pause to make up for it."""
        toll = self._toll
        toll.frames_left -= 1
        toll.bytes_left -= size
        return self._settle(size) if toll.frames_left < 0 or toll.bytes_left < 0 else 0.0

    def _settle(self, size: int) -> float:
        wait_s = self._toll.settle(size)
        self._hold()
        return wait_s

    def _hold(self) -> None:
        """Do not read from a client that is beyond its rates."""
        toll = self._toll
        hold_s = 0.0 if toll.is_held else toll.hold_s
        if hold_s:
            toll.is_held = True
            self._context.metrics.held_for_rate.inc()
            asyncio.get_running_loop().call_later(hold_s, self._release)
            self.pace()

    def _release(self) -> None:
        self._toll.is_held = False
        if self.state is not SessionState.CLOSED:
            self._hold()  # others of its robot may have taken its turn
            self.pace()
