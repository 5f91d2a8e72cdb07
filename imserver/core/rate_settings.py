"""How fast clients may be, a section of `settings.Settings`."""

from typing import Annotated

from msgspec import Meta, Struct

_PerSecond = Annotated[float, Meta(ge=0, le=1e12)]


class RateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How fast clients may be. The defaults are met by faults and attacks alone: set what your robots need.

    0 stands for no limit. Who is faster is not read from for a while, so that an honest robot is slowed down
    and loses nothing; who has much more on the way is told ``rate_limited`` and the time to wait; who does
    not wait is closed (4101). Over HTTP the answer is 429 with ``Retry-After``. Acks are never refused. Pings
    and fragments of WebSockets count as frames: they have their robot wait for a pause at most, and close the
    connection if they do not end.

    Attributes:
        robot_frames_per_s: frames, and requests over HTTP, of one robot in a second, on all its connections.
        robot_bytes_per_s: bytes that these have.
        address_frames_per_s: the same of one address (of IPv6: of one network of 64 bits), whoever is there.
            Behind a proxy all come from the proxy's address.
        address_bytes_per_s: bytes that these have.
        conversation_events_per_s: events that one conversation takes in a second. A robot that sends less
            than a tenth of it is never refused for what others send there.
        conversation_bytes_per_s: bytes that the bodies of these have.
        burst_s: so many seconds' worth may come at once, after a time without any. Beyond the first few, its
            frames are taken in at ten times the rate.
        pause_s_max: longest time in seconds for which a client is not read from; what has more to wait for is
            refused.
        refusals_max: frames of a connection that are refused for their rate, or pings and fragments that are
            too many, one after the other, after which it is closed.
    """

    robot_frames_per_s: _PerSecond = 50_000
    robot_bytes_per_s: _PerSecond = 128 * 1024 * 1024
    address_frames_per_s: _PerSecond = 500_000
    address_bytes_per_s: _PerSecond = 1024 * 1024 * 1024
    conversation_events_per_s: _PerSecond = 100_000
    conversation_bytes_per_s: _PerSecond = 256 * 1024 * 1024
    burst_s: Annotated[float, Meta(gt=0, le=86_400)] = 4.0
    pause_s_max: Annotated[float, Meta(gt=0, le=60)] = 1.0
    refusals_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
