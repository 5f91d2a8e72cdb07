"""What the classes of handlers have in common."""

from typing import Any, Protocol, Self

from litestar.handlers import HTTPRouteHandler


class Routes(Protocol):
    """Handlers that share what they need, as methods of one object."""

    def handlers(self) -> list[HTTPRouteHandler]:
        """Return the routes, whose paths continue that of the router they are given to."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Litestar copies deeply what a router is made of; behind these methods stands the node itself.
        return self
