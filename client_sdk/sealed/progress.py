"""How far a conversation's log was read for its roster, and whether that is far enough to seal."""

import math
from typing import Final

import msgspec
from msgspec import Struct, field

from client_sdk.memory import KeptRecord

EPOCHS_MAX: Final = 16
LATE_MS: Final = 500
"""How long what is heard of may be on its way before it is asked for."""


class _Kept(Struct):
    known: int = 0
    is_sealed: bool = False
    epochs: list[str] = field(default_factory=list)


class Progress:
    """A log's reader's place.

    Attributes:
        heard: seq up to which the log is known to go.
    """

    def __init__(self, conv: str) -> None:
        self._name = f"place/{conv}"
        self._kept = _Kept()
        self._is_changed = False
        self._owed: tuple[int, float] | None = (0, -math.inf)
        self.heard = 0

    @property
    def known(self) -> int:
        """Seq up to which the log was read."""
        return self._kept.known

    @property
    def is_sealed(self) -> bool:
        """Whether what is said here is to be sealed."""
        return self._kept.is_sealed

    @property
    def epoch(self) -> str:
        """The epoch that the log is in; empty if it is not known."""
        return self._kept.epochs[-1] if self._kept.epochs else ""

    def had_epoch(self, epoch: str) -> bool:
        """Tell whether the log was in that epoch once."""
        return epoch in self._kept.epochs

    def seal(self) -> None:
        """From now on everything that is said here is to be sealed; there is no way back."""
        self._is_changed |= not self._kept.is_sealed
        self._kept.is_sealed = True

    def is_late(self, now_ms: float) -> bool:
        """Tell whether there is more in the log, which has to be read before anything is sealed.

        It is, until the log was read to its end once, and when what was heard of does not come by itself.
        """
        return self._owed is not None and now_ms - self._owed[1] >= LATE_MS

    def hear(self, seq: int, now_ms: float, *, epoch: str = "", urgent: bool = False) -> None:
        """Take in that the log goes up to ``seq``; ``urgent`` if it has to be read up to there first."""
        self.heard = max(self.heard, seq)
        if epoch and epoch != self.epoch:
            self._kept.epochs = [*self._kept.epochs, epoch][-EPOCHS_MAX:]
            self._is_changed = True
        if self.known < self.heard and (self._owed is None or urgent):
            self._owed = (self.heard, -math.inf if urgent else now_ms)

    def read(self, seq: int) -> None:
        """Take in that the log was read up to ``seq``."""
        self._kept.known = seq
        self.heard = max(self.heard, seq)
        self._is_changed = True

    def settle(self, now_ms: float) -> None:
        """Take in that a run was read: what was owed may have come with it."""
        if self._owed is not None and self._owed[1] > -math.inf and self.known >= self._owed[0]:
            self.end(now_ms)

    def end(self, now_ms: float) -> None:
        """Take in that the log was read to what is its end just now."""
        self._owed = None
        self.hear(self.heard, now_ms)

    def forget(self) -> None:
        """Begin again at the beginning of the log."""
        self._kept.known = self.heard = 0
        self._owed = (0, -math.inf)
        self._is_changed = True

    def recall(self, record: bytes) -> None:
        """Take how far an earlier process had read."""
        self._kept = msgspec.msgpack.decode(record, type=_Kept)

    def take(self) -> list[KeptRecord]:
        """Return what the memory has to keep."""
        if not self._is_changed:
            return []
        self._is_changed = False
        return [KeptRecord(self._name, msgspec.msgpack.encode(self._kept))]
