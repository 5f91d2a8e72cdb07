"""What is to go into the robot's memory, and what has to wait until it is there.

The story. Whoever must not act before a fact is durable notes the fact, and says what follows: a send is put
on the wire, an ack is written, a caller is told. Notes gather while the write before them is on its way, and
go into the memory together: one commit for all that came meanwhile. When it is done, what follows is done, in
the order of the notes. A robot without a memory does everything at once.

Some notes can wait a second for others to go with them: forgetting late only repeats what is harmless.

Sans-I/O. Called by the machine's parts to note, and by `keeper`, which writes.
"""

from collections.abc import Callable
from typing import Final

from client_sdk.memory import Change

PATIENT_NOTES_S: Final = 1.0
PATIENT_NOTES_MAX: Final = 512

Then = Callable[[], None]


class Notes:
    """Changes of the memory under way.

    Attributes:
        keeps: there is a memory to write to.
        due_s: when patient notes go out at the latest; None if there are none.
    """

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._then: list[Then] = []
        self._being_written: list[Then] | None = None
        self._is_urgent = False
        self.keeps = False
        self.due_s: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether all that was noted is durable."""
        return self._being_written is None and not self._changes

    def add(self, *changes: Change, then: Then | None = None, patient: bool = False) -> None:
        """Note changes; ``then`` is called once they, and all before them, are durable."""
        if not self.keeps or (not changes and self.is_settled):
            if then is not None:
                then()
            return
        self._changes += changes
        if then is not None:
            waiting = (
                self._then if self._changes or self._being_written is None else self._being_written
            )
            waiting.append(then)
        if not patient or len(self._changes) >= PATIENT_NOTES_MAX:
            self._is_urgent = True

    def take(self, now_s: float) -> list[Change]:
        """Return what is to be written now, as one; empty if nothing is due or a write is on its way."""
        if self._being_written is not None or self.is_settled:
            return []
        if not self._is_urgent:
            if self.due_s is None:
                self.due_s = now_s + PATIENT_NOTES_S
            if now_s < self.due_s:
                return []
        self._is_urgent = False
        self.due_s = None
        changes, self._changes = self._changes, []
        self._being_written, self._then = self._then, []
        return changes

    def written(self) -> None:
        """Take in that what was taken last is durable, and do what waited for it."""
        follows, self._being_written = self._being_written or [], None
        for then in follows:
            then()
