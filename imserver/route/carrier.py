"""The port below the Redis router: brings payloads from channel to channel, and knows not what they are.

Like all of the route tier it may lose what it is given. What it says about losing is what the router passes
on: a channel whose payloads arrive from now on, and that payloads get out again.
"""

from collections.abc import Callable
from typing import Protocol


class Carrier(Protocol):
    """Publishes to channels and subscribes to them.

    Attributes:
        on_payload: told what arrives; must not wait. Set, like those below, before `run`.
        on_subscribed: told each channel whose payloads arrive from now on; earlier ones may be lost.
        on_lost: told when payloads were thrown away that had been taken.
        on_again: told when payloads get out again; what was put before may be lost.
    """

    on_payload: Callable[[bytes], None]
    on_subscribed: Callable[[str], None]
    on_lost: Callable[[], None]
    on_again: Callable[[], None]

    @property
    def is_connected(self) -> bool:
        """Whether payloads come and go, on every channel, as far as is known."""

    def put(self, channel: str, payload: bytes) -> bool:
        """Publish soon, in the order of the calls for one channel, or lose it; never waits.

        Returns whether it was taken; it may be lost all the same.
        """

    def want(self, channel: str) -> None:
        """Subscribe to a channel soon."""

    def unwant(self, channel: str) -> None:
        """Let go of a channel soon."""

    async def wait_written(self) -> None:
        """Return when everything that was put has been written, or thrown away."""

    async def run(self) -> None:
        """Carry until cancelled; never fails, whatever becomes of Redis."""


def ignore(*_: object) -> None:
    """Stand in until somebody wants to know."""
