"""The settings of the route between nodes."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from imserver.protocol.names import clip

Forward: TypeAlias = Literal["contended", "always", "never"]


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the nodes of a cluster tell each other what happens.

    Attributes:
        url: a Redis (redis://, rediss:// or unix://) for the nodes that share ``store.url``; empty for a node
            that is alone. Nothing is kept there that could not be lost.
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
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"route.url must begin with redis://, rediss:// or unix://, not {clip(self.url, 12)!r}"
            )
