"""The port through which logic speaks to a connected client, whatever holds the connection."""

from typing import Protocol

from msgspec import Struct

from imserver.protocol.shared_frame import SharedFrame


class Peer(Protocol):
    """A connected client. No call waits, and none calls back into logic before it returns."""

    @property
    def is_closed(self) -> bool:
        """Whether the client is gone or was told to go."""

    @property
    def congested(self) -> bool:
        """Whether the outbound buffer is above its high-water mark, so that `push` would take nothing."""

    def send(self, frame: Struct) -> None:
        """Queue a frame for this client alone."""

    def answer(self, frame: Struct) -> None:
        """Queue the one answer to a request of this client."""

    def push(self, shared: SharedFrame) -> bool:
        """Queue a frame that many clients get, unless the client's outbound buffer is above its high-water
        mark: then take nothing and return False; `Session.on_drained` follows once there is room again."""

    def signal(self, key: tuple[str, str, str], shared: SharedFrame) -> None:
        """Queue a signal; while the buffer is above its mark only the latest one of each key is kept."""

    def close(self, code: int, reason: str, *, retry_after_ms: int | None = None) -> None:
        """Say ``bye`` and close, soon and once; `Session.close` follows if a session is open."""
