"""permessage-deflate for WebSockets (RFC 7692): what is agreed on, what comes in, and what goes out.

The library negotiates. What comes in is judged here: the size that counts is the one that comes out, exactly.
What goes out is compressed once for all readers that may have it the same way, since nothing is carried over
from one message to the next, in neither direction.
"""

import functools
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.typing import ExtensionParameter

from imserver.access.websocket_frames import first_byte, in_one_frame
from imserver.protocol.codec import BY_SUBPROTOCOL, Codec
from imserver.protocol.deflate import BadDeflate, InflatedTooLarge, Inflater, deflated_message

WINDOWS: Final = (15, 12, 9)
"""Few, so that few readers of one frame want it differently: the largest that a client allows is taken."""

_NARROW_BYTES_MAX: Final = 16 * 1024
"""Larger frames are not compressed with the narrowest window, in which that takes ten times as long."""


class Offers(ServerPerMessageDeflateFactory):
    """Agrees with clients on the extension: never with context takeover."""

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        agreed, extension = super().process_request_params(params, accepted_extensions)
        bits = max(bits for bits in WINDOWS if bits <= extension.local_max_window_bits)
        extension.local_max_window_bits = bits
        window = "server_max_window_bits"
        return [(name, str(bits) if name == window else value) for name, value in agreed], extension


class Inflate(Extension):
    """One connection's compressed frames: makes plain ones of them, within the limit on a message."""

    name = PerMessageDeflate.name

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._size = 0
        self._inflater: Inflater | None = None

    def encode(self, frame: Frame) -> Frame:
        """Leave alone what the library sends by itself: it is control frames, which are never compressed."""
        return frame

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Return the frame as it was before it was compressed; of a large message, no more than may be.

        Raises:
            PayloadTooBig: the message is over the limit; one that is compressed, when it is not any more.
            ProtocolError: it is no compressed data.
        """
        if frame.opcode in CTRL_OPCODES:
            return frame
        if frame.opcode is not Opcode.CONT:
            self._size = 0
            self._inflater = Inflater(bytes_max=self._bytes_max) if frame.rsv1 else None
        elif frame.rsv1:
            raise ProtocolError("only the first frame of a message may say that it is compressed")
        payload = frame.data if self._inflater is None else self._inflated(self._inflater, frame)
        left = self._bytes_max - self._size
        if len(payload) > left:
            raise PayloadTooBig(None, left)
        self._size += len(payload)
        if frame.fin:
            self._inflater = None  # it holds some 40 KiB
        return Frame(frame.opcode, payload, frame.fin, rsv2=frame.rsv2, rsv3=frame.rsv3)

    def _inflated(self, inflater: Inflater, frame: Frame) -> bytes:
        try:
            data = bytes(frame.data)
            return inflater.end_message(data) if frame.fin else inflater.feed(data)
        except InflatedTooLarge:
            raise PayloadTooBig(None, self._bytes_max - self._size) from None
        except BadDeflate as exc:
            raise ProtocolError(str(exc)) from exc


class DeflateForm:
    """A codec in WebSocket messages of one frame, compressed unless they are small or would not shrink."""

    __slots__ = ("_bytes_min", "_compressed", "_encode", "_window_bits", "codec", "first_byte")

    def __init__(self, codec: Codec, window_bits: int, *, bytes_min: int) -> None:
        self.codec = codec
        self.first_byte = first_byte(codec)
        self._compressed = first_byte(codec, is_compressed=True)
        self._encode = codec.encode
        self._window_bits = window_bits
        self._bytes_min = bytes_min

    def encode(self, frame: Struct) -> bytes:
        """Return the frame as one WebSocket message."""
        payload = self._encode(frame)
        size = len(payload)
        is_narrow = self._window_bits == min(WINDOWS)
        if size >= self._bytes_min and not (is_narrow and size > _NARROW_BYTES_MAX):
            shrunk = deflated_message(payload, self._window_bits)
            if len(shrunk) < size:
                return in_one_frame(self._compressed, shrunk)
        return in_one_frame(self.first_byte, payload)


@functools.cache
def deflate_form(subprotocol: str, window_bits: int, bytes_min: int) -> DeflateForm:
    """Return the one form for all connections that agreed on the same."""
    return DeflateForm(BY_SUBPROTOCOL[subprotocol], window_bits, bytes_min=bytes_min)
