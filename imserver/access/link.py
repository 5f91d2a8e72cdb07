"""The port between the session shell and the transport that carries it."""

from typing import Protocol

from imserver.protocol.shared_frame import Form


class Link(Protocol):
    """One client's transport: takes bytes that are framed already, as its `form` made them."""

    @property
    def form(self) -> Form:
        """How this link wants its frames."""

    @property
    def congested(self) -> bool:
        """Whether more waits to be written than the high-water mark allows."""

    @property
    def source(self) -> str:
        """The address that it comes from, or what counts as one; empty if it has none."""

    def write(self, framed: bytes) -> None:
        """Queue bytes; what is queued in one tick of the loop is written at once."""

    def push(self, framed: bytes) -> None:
        """Queue bytes that nobody waits for; the next ones may be held back for some milliseconds, to go out
        together with more."""

    def close(self, code: int, reason: str) -> None:
        """Write what is queued, say goodbye in the transport's own way and close. Once."""

    def sign_of_life(self) -> bool | None:
        """Return whether the client has said anything since it was asked for it; None while it has time to,
        or cannot be asked. Asks it, unless it was asked lately."""

    def pause_reading(self) -> None:
        """Take nothing more from the client for now."""

    def resume_reading(self) -> None:
        """Take frames from the client again."""
