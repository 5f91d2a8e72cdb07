"""What frames and requests are charged to: their robot, whichever way it comes, and their address.

A connection counts down a share of frames and bytes that it may take in without asking (`Toll`), so that
rates cost nearly nothing per frame; when the share is used up, it is charged. Who is then beyond a rate is
not read from until it is within again. What comes all the same, in the read that was under way or over other
connections, is refused when it would have to wait for longer than a pause may last. Acks are not refused, and
pings and fragments of WebSockets cannot be: those that would be are charged to nobody either, and the latter
count as refused.

A burst that is allowed is no burst of work for all that: beyond the first few, the frames of a connection
are taken in no faster than `PEAK` times its robot's rate, those that are refused among them.
"""

import math
from typing import Final

from imserver.access.metrics import AccessMetrics
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.rate_settings import RateSettings
from imserver.core.rates import Rate, Rates
from imserver.protocol.errors import ErrorCode

SHARE_S: Final = 0.002
"""A share is what the slowest rate allows in this time; with low rates it is
nothing, and each frame is charged."""

PEAK: Final = 10
"""How much faster than its rate a robot's frames are taken in, within its burst. Source of the idea: the peak
cell rate beside the sustainable one, ITU-T I.371."""

FRAMES_AT_ONCE: Final = 16
"""Frames that are taken in without a look at anything but them."""

_TOLERANCE_S: Final = 0.005
_FRAMES_MAX: Final = 128
_BYTES_MAX: Final = 256 * 1024


class Tolls:
    """The rates of a node's robots and addresses.

    Attributes:
        share_frames: frames that a connection takes in before it is charged.
        share_bytes: bytes that it takes in before it is charged.
        peak_s: time that each of a robot's frames takes at its fastest; 0 without a limit.
        tolerance_s: so much of that time is not waited for.
        pause_s_max: longest time for which a client is not read from.
        refusals_max: refusals one after the other after which a connection is closed.
    """

    def __init__(self, settings: RateSettings, clock: Clock, metrics: AccessMetrics) -> None:
        robots = Rate(settings.robot_frames_per_s, settings.robot_bytes_per_s)
        addresses = Rate(settings.address_frames_per_s, settings.address_bytes_per_s)
        limited = [rate for rate in (robots, addresses) if rate.is_limited]
        self._clock = clock
        self._metrics = metrics
        self._robots = Rates(robots, burst_s=settings.burst_s)
        self._addresses = Rates(addresses, burst_s=settings.burst_s)
        self.share_frames = _share([rate.units_per_s for rate in limited], _FRAMES_MAX)
        self.share_bytes = _share([rate.bytes_per_s for rate in limited], _BYTES_MAX)
        self.peak_s = 1 / (PEAK * robots.units_per_s) if robots.units_per_s else 0.0
        self.tolerance_s = max(_TOLERANCE_S, FRAMES_AT_ONCE * self.peak_s)
        if not limited:
            self.share_frames = self.share_bytes = 2**62
        self.pause_s_max = settings.pause_s_max
        self.refusals_max = settings.refusals_max

    @property
    def now_s(self) -> float:
        """The time, in seconds since some moment."""
        return self._clock.monotonic_s()

    def wait_s(self, robot: str | None, address: str) -> float:
        """Return the seconds until a robot and its address are within their rates; 0 if they are."""
        now_s = self._clock.monotonic_s()
        wait_s = self._addresses.wait_s(address, now_s) if address else 0.0
        return wait_s if robot is None else max(wait_s, self._robots.wait_s(robot, now_s))

    def charge(
        self,
        robot: str | None,
        address: str,
        frames: int,
        size: int,
        *,
        wait_max_s: float = math.inf,
    ) -> float:
        """Count frames that came; return the seconds until robot and address are within their rates.

        What they would have to wait for beyond ``wait_max_s`` is in the answer alone, and not counted.
        """
        now_s, wait_s = self._clock.monotonic_s(), 0.0
        if address:
            wait_s = self._addresses.charge(address, frames, size, now_s, wait_max_s=wait_max_s)
        if robot is None:
            return wait_s
        own_s = self._robots.charge(robot, frames, size, now_s, wait_max_s=wait_max_s)
        return max(wait_s, own_s)

    def take_from(self, address: str, size: int) -> None:
        """Count a request from an address.

        Raises:
            Refusal: ``rate_limited``; it was not counted.
        """
        wait_s = self._addresses.takes(address, 1, size, self._clock.monotonic_s())
        if address and wait_s:
            self._metrics.refused_for_rate.inc()
            raise too_fast("requests come from your address", wait_s)

    def take_of(self, robot: str, size: int) -> None:
        """Count a request of a robot.

        Raises:
            Refusal: ``rate_limited``; it was not counted.
        """
        wait_s = self._robots.takes(robot, 1, size, self._clock.monotonic_s())
        if wait_s:
            self._metrics.refused_for_rate.inc()
            raise too_fast(f"requests come from {robot}", wait_s)


class Toll:
    """What one connection has taken in since it was charged.

    Attributes:
        frames_left: frames that it may take in without asking; below 0 it has to settle.
        bytes_left: bytes that it may take in without asking.
        robot: who is charged beside the address, once there is a session.
        refused: frames that were refused since the connection was last within its rates.
        is_held: the client is not read from, because of its rates.
    """

    __slots__ = (
        "_address",
        "_bytes_given",
        "_even_s",
        "_frames_given",
        "_tolls",
        "bytes_left",
        "frames_left",
        "is_held",
        "refused",
        "robot",
    )

    def __init__(self, tolls: Tolls, address: str) -> None:
        self._tolls = tolls
        self._address = address
        self.robot: str | None = None
        self.refused = 0
        self.is_held = False
        self._even_s = 0.0
        self._give(tolls.share_frames, tolls.share_bytes)

    @property
    def hold_s(self) -> float:
        """Seconds for which the client is not to be read from now; 0 for none."""
        wait_s = min(self._tolls.wait_s(self.robot, self._address), self._tolls.pause_s_max)
        return max(wait_s, self.rest_s)

    @property
    def rest_s(self) -> float:
        """Seconds for which nothing is to be taken in of what was read already; 0 for none."""
        ahead_s = self._even_s - self._tolls.now_s if self._even_s else 0.0
        return ahead_s if ahead_s > self._tolls.tolerance_s else 0.0

    @property
    def is_exhausted(self) -> bool:
        """Whether so many frames were refused that the connection is to be closed."""
        return self.refused > self._tolls.refusals_max

    def pays(self, frames: int, size: int) -> bool:
        """Count frames of ``size`` bytes together, if the share has room for all; else count none."""
        if frames > self.frames_left or size > self.bytes_left:
            return False
        self.frames_left -= frames
        self.bytes_left -= size
        return True

    def settle(self, size: int) -> float:
        """Charge what was taken in, the last of it a frame of ``size`` bytes; return 0.0, or if that frame
        would have to wait for longer than a pause, the seconds until one like it is taken: then it is not
        charged."""
        tolls = self._tolls
        wait_s = self._charge_all_but(1, size)
        if wait_s > tolls.pause_s_max:
            self._give(0, 0)
            return wait_s
        self.charge(size)
        return 0.0

    def settle_others(self, count: int) -> float:
        """Charge what was taken in, the last of it ``count`` frames that are no messages: of these no more
        than a pause makes up for. Return 0.0, or if that are not all, how long a pause is: then they count
        as refused."""
        tolls = self._tolls
        self._charge_all_but(count, 0)
        pause_s = tolls.pause_s_max
        wait_s = tolls.charge(self.robot, self._address, count, 0, wait_max_s=pause_s)
        if wait_s > pause_s:
            self.refused += count
            self._give(0, 0)
            return pause_s
        self._give_share(is_within=not wait_s)
        return 0.0

    def charge(self, size: int) -> None:
        """Charge a frame; give a new share if the client is within its rates."""
        self._give_share(is_within=not self._tolls.charge(self.robot, self._address, 1, size))

    def leave(self) -> None:
        """Charge what is left: the connection is gone."""
        frames, size = self._frames_given - self.frames_left, self._bytes_given - self.bytes_left
        self._tolls.charge(self.robot, self._address, frames, size)

    def _charge_all_but(self, count: int, size: int) -> float:
        tolls = self._tolls
        frames = self._frames_given - self.frames_left
        earlier = self._bytes_given - self.bytes_left - size
        if self.robot is not None:
            self._even_s = max(self._even_s, tolls.now_s) + frames * tolls.peak_s
        return tolls.charge(self.robot, self._address, frames - count, earlier)

    def _give_share(self, *, is_within: bool) -> None:
        if is_within:
            self.refused = 0
            self._give(self._tolls.share_frames, self._tolls.share_bytes)
        else:
            self._give(0, 0)  # so that the next frame is charged at once

    def _give(self, frames: int, size: int) -> None:
        self._frames_given = self.frames_left = frames
        self._bytes_given = self.bytes_left = size


def too_fast(who: str, wait_s: float) -> Refusal:
    """Return the refusal of what comes too fast."""
    return Refusal(
        ErrorCode.RATE_LIMITED,
        f"{who} faster than this server takes them: wait for `retry_after` milliseconds",
        retry_after_ms=math.ceil(wait_s * 1_000),
    )


def _share(rates_per_s: list[float], most: int) -> int:
    slowest = min((rate for rate in rates_per_s if rate), default=0.0)
    return min(most, int(slowest * SHARE_S)) if slowest else most
