"""The settings of the route between nodes."""

from msgspec import Struct

from imserver.protocol.names import clip


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the nodes of a cluster tell each other what happens.

    Attributes:
        url: a Redis (redis://, rediss:// or unix://) for the nodes that share ``store.url``; empty for a node
            that is alone. Nothing is kept there that could not be lost.
    """

    url: str = ""

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"route.url must begin with redis://, rediss:// or unix://, not {clip(self.url, 12)!r}"
            )
