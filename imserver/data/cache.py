"""The port of the cache: keeps values near, for a while, and may lose any of them at any time.

What it gives back is not to be believed: it may be old, cut short, of another version, or put there by
somebody else. Whoever keeps something in it must be able to tell (`cached_block`), and must be right without
it. So it is never asked for what only the newest value of is right, and is written after the store.
"""

from collections.abc import Sequence
from typing import Protocol

from imserver.protocol.names import ConversationName


class Cache(Protocol):
    """Values by conversation and name."""

    @property
    def is_open(self) -> bool:
        """Whether it is worth asking; where not, the other calls return at once."""

    async def get(self, conv: ConversationName, names: Sequence[str]) -> list[bytes | None]:
        """Return what is kept under each of ``names``, None for what is not there or cannot be had in time.

        Does not fail, and never takes longer than a fraction of a second.
        """

    def put(self, conv: ConversationName, name: str, value: bytes) -> None:
        """Keep a value soon, and for some time, if its size is within what is left of the bounds: those on
        all values, and on those of one conversation. Never waits."""

    async def run(self) -> None:
        """Do what has to be done for that, until cancelled; never fails."""
