"""The settings of the HTTP API, a section of `settings.Settings`."""

from typing import Annotated

from msgspec import Meta, Struct

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Count = Annotated[int, Meta(ge=1, le=100_000)]


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Answers over HTTP that take their time.

    Attributes:
        stays_max: most long polls and streams of one robot at a time; one more is answered with 429.
        wait_max_s: longest time for which a long poll waits; one that asks for more waits for this long.
        heartbeat_s: seconds without an event after which a stream says that it is there.
    """

    stays_max: _Count = 64
    wait_max_s: _Seconds = 60.0
    heartbeat_s: _Seconds = 15.0
