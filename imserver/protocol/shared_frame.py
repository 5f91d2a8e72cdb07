"""A frame for many readers, encoded once for each form in which they want it."""

from typing import Protocol

from msgspec import Struct


class Form(Protocol):
    """How a kind of connection wants its bytes: a codec and the framing around it. Compared by identity."""

    def encode(self, frame: Struct) -> bytes:
        """Return the bytes that go on the wire for ``frame``."""


class SharedFrame:
    """One frame and its encodings, each made when the first reader asks for it."""

    __slots__ = ("_encoded", "frame")

    def __init__(self, frame: Struct) -> None:
        self.frame = frame
        self._encoded: dict[Form, bytes] = {}

    def encoded(self, form: Form) -> bytes:
        """Return the frame's bytes in ``form``."""
        found = self._encoded.get(form)
        if found is None:
            found = self._encoded[form] = form.encode(self.frame)
        return found

    @property
    def bytes_encoded(self) -> int:
        """How long all encodings are that were made so far."""
        return sum(map(len, self._encoded.values()))
