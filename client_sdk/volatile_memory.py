"""A memory that lives as long as its object: for tests, which restart robots within one process."""

from collections.abc import Sequence

from client_sdk.errors import MemoryFileError
from client_sdk.memory import (
    Bound,
    Change,
    Drop,
    Keep,
    KeptRecord,
    KeptSend,
    Owner,
    Place,
    Recollection,
)


class VolatileMemory:
    """A `Memory` that survives the robot and not the process."""

    def __init__(self) -> None:
        self._owner: Owner | None = None
        self._server: str | None = None
        self._sends: dict[int, KeptSend] = {}
        self._places: dict[str, Place] = {}
        self._records: dict[str, bytes] = {}
        self._is_open = False

    def open(self, owner: Owner) -> Recollection:
        if self._is_open:
            raise MemoryFileError("this memory is in use by another robot; give each its own")
        if self._owner is not None and self._owner != owner:
            raise belongs_to(self._owner, owner, "this memory")
        self._owner = owner
        self._is_open = True
        sends = [self._sends[number] for number in sorted(self._sends)]
        return Recollection(self._server, sends, list(self._places.values()), dict(self._records))

    def write(self, changes: Sequence[Change]) -> None:
        if not self._is_open:
            raise MemoryFileError("this memory is closed; open it first")
        for change in changes:
            match change:
                case Keep():
                    self._sends[change.send.number] = change.send
                case Drop():
                    self._sends.pop(change.number, None)
                case Place():
                    self._places[change.conv] = change
                case Bound():
                    self._server = change.server
                case KeptRecord(name=name, value=value):
                    self._records.pop(name, None)
                    if value is not None:
                        self._records[name] = value

    def close(self) -> None:
        self._is_open = False


def belongs_to(found: Owner, asked: Owner, what: str) -> MemoryFileError:
    """Return the error of a memory that is another robot's or another device's."""
    return MemoryFileError(
        f"{what} belongs to robot {found.robot}, device {found.device}, and this is {asked.robot}, "
        f"{asked.device}: give each device of each robot a memory of its own"
    )
