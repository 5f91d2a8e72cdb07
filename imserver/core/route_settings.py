"""The settings of the route between nodes."""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from imserver.protocol.names import clip

Forward: TypeAlias = Literal["contended", "always", "never"]


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the nodes of a cluster tell each other what happens.

    Attributes:
        url: a Redis (redis://, rediss:// or unix://) for the nodes that share ``store.url``, or a Redis
            Cluster by some of its servers, as redis+cluster://HOST:PORT,HOST:PORT; empty for a node that is
            alone. Nothing is kept there that could not be lost.
        carried_bytes_max: a run of events up to this size travels with its hint, so that other nodes need not
            read it; of a larger one only the place is told. 0: Redis never sees an event.
        forward: sends that another node is asked to append: those to conversations in which nodes take each
            other's places (``contended``), all (``always``), or none (``never``). A matter of cost alone.
            They travel through Redis, so there are none if ``carried_bytes_max`` is 0.
    """

    url: str = ""
    carried_bytes_max: Annotated[int, Meta(ge=0, le=1_048_576)] = 65_536
    forward: Forward = "contended"

    def __post_init__(self) -> None:
        if self.url and not is_redis(self.url):
            raise ValueError(f"route.url {REDIS_URLS}, not {clip(self.url, 12)!r}")


REDIS_URLS: Final = (
    "must begin with redis://, rediss:// or unix://, or for a cluster with redis+cluster:// or "
    "rediss+cluster://"
)
_SCHEMES: Final = (
    "redis://",
    "rediss://",
    "unix://",
    "redis+cluster://",
    "rediss+cluster://",
)


def is_redis(url: str) -> bool:
    """Tell whether a URL names a Redis in one of the ways that are known."""
    return url.startswith(_SCHEMES)
