"""The settings of the route between nodes."""

from typing import Annotated

from msgspec import Meta, Struct

from imserver.protocol.names import clip


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the nodes of a cluster tell each other what happens.

    Attributes:
        url: a Redis (redis://, rediss:// or unix://) for the nodes that share ``store.url``; empty for a node
            that is alone. Nothing is kept there that could not be lost.
        carried_bytes_max: a run of events up to this size travels with its hint, so that other nodes need not
            read it; of a larger one only the place is told. 0: Redis never sees an event.
    """

    url: str = ""
    carried_bytes_max: Annotated[int, Meta(ge=0, le=1_048_576)] = 65_536

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"route.url must begin with redis://, rediss:// or unix://, not {clip(self.url, 12)!r}"
            )
