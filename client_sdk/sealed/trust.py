"""Which identity key is a robot's: given by the operator, or the first that was seen.

The server's word is not asked: it could name a key of its own for anybody.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from client_sdk.memory import KeptRecord
from client_sdk.sealed.outcome import CannotOpen, Why

RECORD: Final = "pins"
_SEEN: Final = "?"
"""In front of the name of a robot whose key was pinned because it was the first; no name begins so."""


class Trust:
    """Identity keys by robot.

    Args:
        known: keys that the operator gave; they count before all others.
        first_use: of other robots, take the first key that is seen; else none.
    """

    def __init__(self, known: Mapping[str, bytes], *, first_use: bool) -> None:
        self._known = dict(known)
        self._first_use = first_use
        self._pins: dict[str, bytes] = {}
        self._seen: set[str] = set()
        self._is_changed = False

    def recall(self, record: bytes) -> None:
        """Take the keys that an earlier process pinned; those that it saw first only if such ones count."""
        for name, identity in msgspec.msgpack.decode(record, type=dict[str, bytes]).items():
            robot = name.removeprefix(_SEEN)
            if robot == name or self._first_use:
                self._pins[robot] = identity
            if robot != name and self._first_use:
                self._seen.add(robot)

    def identity(self, robot: str) -> bytes | None:
        """Return the key that is known of a robot."""
        return self._known.get(robot) or self._pins.get(robot)

    def check(self, robot: str, identity: bytes) -> None:
        """Take a key with which something was signed that ``robot`` is said to have sent.

        Raises:
            CannotOpen: it is not the one that is known, or none is known and none is to be pinned.
        """
        known = self.identity(robot)
        if known is None:
            if not self._first_use:
                raise CannotOpen(Why.OTHER_IDENTITY, f"no identity key of {robot} is known")
            self.pin(robot, identity)
            self._seen.add(robot)
        elif known != identity:
            raise CannotOpen(
                Why.OTHER_IDENTITY,
                f"it is signed by {identity.hex()}, and {robot} is known by {known.hex()}",
            )

    def pin(self, robot: str, identity: bytes) -> None:
        """Believe this key of a robot from now on, and no other."""
        self._known.pop(robot, None)
        self._pins[robot] = identity
        self._seen.discard(robot)
        self._is_changed = True

    def take(self) -> list[KeptRecord]:
        """Return what the memory has to keep."""
        if not self._is_changed:
            return []
        self._is_changed = False
        pins = {(_SEEN if r in self._seen else "") + r: key for r, key in self._pins.items()}
        return [KeptRecord(RECORD, msgspec.msgpack.encode(pins))]
