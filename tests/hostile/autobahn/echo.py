"""A session that sends every message back, in the place of the one that speaks our protocol."""

from typing import Any, Final

from msgspec import Struct
from websockets.frames import Frame, Opcode

from imserver.access.deflate import DeflateForm
from imserver.access.websocket import WebSocketForm
from imserver.access.websocket_frames import first_byte, in_one_frame
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.deflate import deflated_message
from imserver.protocol.session_states import SessionState
from tests.bare_link import BareLink


class SilentForm(WebSocketForm):
    """A form in which our own frames are nothing: the suite does not know them."""

    __slots__ = ()

    def encode(self, frame: Struct) -> bytes:
        return b""


_FORMS: Final = {Opcode.BINARY: SilentForm(MSGPACK), Opcode.TEXT: SilentForm(JSON)}


class EchoLink(BareLink):
    """The link of the product, for messages of both kinds, and with an echo as its session."""

    __slots__ = ()

    def _open(self, *given: Any) -> None:
        super()._open(*given)
        if self._connection is not None:
            agreed = self.form._window_bits if isinstance(self.form, DeflateForm) else None
            self._connection = Echo(self, agreed)  # type: ignore[assignment]
            self.form = _FORMS[Opcode.BINARY]

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode in _FORMS:
            self.form = _FORMS[frame.opcode]
        super()._on_frame(frame)


class Echo:
    """What a link asks of its session. ``window_bits`` is None without compression."""

    paused = False
    state = SessionState.OPEN

    def __init__(self, link: EchoLink, window_bits: int | None) -> None:
        self._link = link
        self._window_bits = window_bits

    def on_message(self, message: bytes) -> None:
        """Send it back, as what it came."""
        codec, payload = self._link.form.codec, bytes(message)
        if self._window_bits is None:
            self._link.write(in_one_frame(first_byte(codec), payload))
        else:
            shrunk = deflated_message(payload, self._window_bits)
            self._link.write(in_one_frame(first_byte(codec, is_compressed=True), shrunk))

    def pace(self) -> None:
        """Read on."""

    def on_drained(self) -> None:
        """Have nothing that waits."""

    def on_lost(self, *, clean: bool) -> None:
        """Let it go."""

    def close(self, code: int, reason: str, **_more: Any) -> None:
        """End the connection, as a node does that stops."""
        self._link.close(code, reason)
