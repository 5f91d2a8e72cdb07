"""A robot's memory file on a simulated disk: it outlives processes, and one process at a time may hold it."""

from collections.abc import Sequence

from client_sdk import MemoryFileError
from client_sdk.memory import Change, Owner, Recollection
from client_sdk.volatile_memory import VolatileMemory


class MemoryFile:
    """What is kept, and which handle holds it."""

    def __init__(self) -> None:
        self.kept = VolatileMemory()
        self.holder: MemoryHandle | None = None


class MemoryHandle:
    """A process's way to the file: a `Memory`."""

    def __init__(self, file: MemoryFile) -> None:
        self._file = file

    def open(self, owner: Owner) -> Recollection:
        if self._file.holder is not None:
            raise MemoryFileError("simulated: another process holds this memory")
        self._file.holder = self
        return self._file.kept.open(owner)

    def write(self, changes: Sequence[Change]) -> None:
        if self._file.holder is not self:
            raise MemoryFileError("simulated: this memory is closed")
        self._file.kept.write(changes)

    def close(self) -> None:
        if self._file.holder is self:
            self._file.holder = None
            self._file.kept.close()
