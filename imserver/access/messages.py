"""From frames to messages (RFC 6455, section 5): websockets' parser, once the handshake is done.

The library judges each frame and bounds the size of a message. Done here is what it leaves to its callers: to
join fragments, to refuse text that is no UTF-8 as soon as that shows, and to bound the fragments that carry
nothing, which no limit on size does.
"""

import codecs
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from imserver.access.deflate import Inflate
from imserver.access.handshake import quiet
from imserver.protocol.deflate import longest_deflated

EMPTY_FRAGMENTS_MAX: Final = 1_024

_text_decoder: Final = codecs.getincrementaldecoder("utf-8")


class NotUtf8(UnicodeDecodeError):
    """A text message is no UTF-8."""


class TooManyFragments(ValueError):
    """A message has too many fragments that carry nothing; the text says how many it may have."""


class Messages(Protocol):
    """What a client sends after the handshake; of data frames, `events_received` gives whole messages only.

    Attributes:
        is_between: it stands between two messages. An empty input buffer does not say so: the parser may have
            taken a header and wait for its payload.
        others: frames that came and were no whole message, since whoever counts them last took them.
    """

    is_between = True
    others = 0
    _fragments: "Fragments | None" = (
        None  # of the class, as long as it is None: connections are many
    )

    def __init__(self, *, bytes_max: int, inflate: Inflate | None = None) -> None:
        super().__init__(Side.SERVER, state=OPEN, max_size=bytes_max, logger=quiet)
        if inflate is not None:
            # It judges the size of messages; what the library does bounds what is read for them.
            self.max_message_size = longest_deflated(bytes_max)
            self.extensions = [inflate]

    def ping(self) -> list[bytes]:
        """Return what asks the client for a sign of life."""
        self.send_ping(b"")
        return self.data_to_send()

    def receive_data(self, data: bytes | bytearray) -> None:
        self.is_between = False
        super().receive_data(data)

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # the library takes a goodbye within a message for an error
        super().recv_frame(frame)
        if not frame.fin or frame.opcode not in (Opcode.TEXT, Opcode.BINARY):
            self.others += 1
        self.is_between = not self.reader.buffer and self.current_size is None
        if frame.opcode in (Opcode.CONT, Opcode.TEXT, Opcode.BINARY):
            self.events.pop()
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        fragments, self._fragments = self._fragments, None
        if fragments is None:
            fragments = Fragments(frame.opcode)
        try:
            fragments.add(frame)
        except UnicodeDecodeError as exc:
            raise NotUtf8(*exc.args) from None  # the library says goodbye to it
        except TooManyFragments as exc:
            self.fail(CloseCode.POLICY_VIOLATION, str(exc))
            self.parser_exc = exc
        else:
            if frame.fin:
                self.events.append(fragments.whole())
            else:
                self._fragments = fragments


class Fragments:
    """The fragments of one message so far."""

    __slots__ = ("_empty", "_opcode", "_parts", "_text")

    def __init__(self, opcode: Opcode) -> None:
        self._opcode = opcode
        self._parts = bytearray()
        self._empty = 0
        self._text = _text_decoder() if opcode is Opcode.TEXT else None

    def add(self, frame: Frame) -> None:
        """Take in a fragment.

        Raises:
            UnicodeDecodeError: the text is no UTF-8, whatever may follow.
            TooManyFragments: one more without a payload is one too many.
        """
        self._parts += frame.data
        if self._text is not None:
            self._text.decode(frame.data, frame.fin)
        if not frame.data and not frame.fin:
            self._empty += 1
            if self._empty > EMPTY_FRAGMENTS_MAX:
                raise TooManyFragments(
                    f"a message may have {EMPTY_FRAGMENTS_MAX} empty fragments at most"
                )

    def whole(self) -> Frame:
        """Return the message as if it had come in one frame."""
        return Frame(self._opcode, bytes(self._parts))
