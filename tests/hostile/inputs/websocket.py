"""Frames of RFC 6455 that break its rules, come in floods, or hide a bomb."""

import zlib
from typing import Final

from tests.hostile.deflate_session import DeflateSession, message
from tests.hostile.inputs.attack import FRAME_MAX, Frames, Input, Stage, Story
from tests.hostile.raw_socket import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawSocket, frame
from tests.hostile.websocket_cases.speech import MSGPACK, Speech

PROTOCOL_ERROR, INVALID_DATA, POLICY, TOO_BIG = (1002,), (1007,), (1008,), (1009,)
PING_FRAME: Final = b'{"t":"ping","id":1}'
SPEECH: Final = Speech(MSGPACK, "g/none")


async def bomb(stage: Stage) -> None:
    session = await DeflateSession.open(stage.server, stage.gang.name("bomber"))
    zeros = zlib.compress(bytes(64 * 1024 * 1024), 9, -15)
    session.raw.write(message(BINARY, zeros[:-10], 0))
    assert await session.ending() == (["too_large"], 1009)


async def one_over(stage: Stage) -> None:
    for over in (1, 2):
        session = await DeflateSession.open(stage.server, stage.gang.name("mallory"))
        session.say(SPEECH.ask(1, FRAME_MAX + over), 0)
        assert await session.ending() == (["too_large"], 1009)


async def flood_of_pings(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    raw.write(frame(PING, b"x") * 20_000 + frame(PONG) * 20_000 + frame(TEXT, PING_FRAME))
    while (received := await raw.read_frame()) is not None and received.opcode != TEXT:
        pass
    assert received is not None and b'"pong"' in received.payload


async def unread_pongs(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    assert await raw.is_held_back(frame(PING, bytes(125)) * 200_000)
    raw.reset()


async def late_frames(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    raw.write(frame(CLOSE, b"\x03\xe8") + frame(TEXT, PING_FRAME) + frame(CLOSE, b"\x03\xe8"))
    assert await raw.close_code() == 1000


async def wrong_kind(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    raw.write(frame(BINARY, PING_FRAME) + frame(TEXT, PING_FRAME))
    error, answer = await raw.read_frame(), await raw.read_frame()
    assert error is not None and b'"bad_frame"' in error.payload
    assert answer is not None and b'"pong"' in answer.payload


async def longer_form(stage: Stage) -> None:
    raw = await RawSocket.in_session(stage.server, stage.gang.name("mallory"))
    size = len(PING_FRAME).to_bytes(8)
    raw.write(b"\x81\xff" + size + bytes(4) + PING_FRAME)
    answer = await raw.read_frame()
    assert answer is not None and b'"pong"' in answer.payload


async def resets(stage: Stage) -> None:
    for cut in (1, 3, 10):
        raw = await RawSocket.in_session(stage.server, stage.gang.name(f"r{cut}"))
        await raw.write_all(frame(TEXT, PING_FRAME)[:cut], 1)
        raw.reset()


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, code.to_bytes(2) + reason)


INPUTS: Final = (
    Input("a frame without a mask", Frames(frame(TEXT, PING_FRAME, masked=False), PROTOCOL_ERROR)),
    *(Input(f"the reserved bit {4 >> shift} set",
            Frames(frame(TEXT, PING_FRAME, rsv=4 >> shift), PROTOCOL_ERROR)) for shift in range(3)),
    *(Input(f"opcode {opcode}", Frames(frame(opcode), PROTOCOL_ERROR))
      for opcode in (3, 7, 11, 15)),
    Input("a ping of 126 bytes", Frames(frame(PING, bytes(126)), PROTOCOL_ERROR)),
    Input("a ping in fragments", Frames(frame(PING, fin=False), PROTOCOL_ERROR)),
    Input("a continuation of nothing", Frames(frame(CONT, PING_FRAME), PROTOCOL_ERROR)),
    Input("a message within a message",
          Frames(frame(TEXT, b"{", fin=False) + frame(TEXT, PING_FRAME), PROTOCOL_ERROR)),
    Input("a length with the top bit set",
          Frames(b"\x81\xff" + b"\xff" * 8 + bytes(4), (1002, 1009))),
    Input("a length of 2^62", Frames(frame(TEXT, length=2**62), TOO_BIG)),
    Input("a length of the limit and one", Frames(frame(TEXT, length=FRAME_MAX + 1), TOO_BIG)),
    Input("a length in the longest form", Story("answers it", longer_form)),
    Input("100,000 empty fragments",
          Frames(frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * 100_000, POLICY)),
    Input("small fragments that are too much together", Frames(
        frame(TEXT, b" " * 1_000, fin=False) + frame(CONT, b" " * 1_000, fin=False) * 400, TOO_BIG)),
    *(Input(f"text that is no UTF-8: {what}", Frames(said, INVALID_DATA)) for what, said in (
        ("a stray byte", frame(TEXT, b'{"x":"\xff"}')),
        ("overlong", frame(TEXT, b'"\xc0\x80"')),
        ("a surrogate", frame(TEXT, b'"\xed\xa0\x80"')),
        ("beyond U+10FFFF", frame(TEXT, b'"\xf4\x90\x80\x80"')),
        ("over two fragments", frame(TEXT, b'{"x":"\xce', fin=False) + frame(CONT, b'\xff"}')))),
    *(Input(f"a close with code {code}", Frames(close(code), PROTOCOL_ERROR))
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 5000)),
    Input("a close of one byte", Frames(frame(CLOSE, b"\x03"), PROTOCOL_ERROR)),
    Input("a close with a reason of 124 bytes", Frames(close(1000, b"x" * 124), PROTOCOL_ERROR)),
    Input("a close whose reason is no UTF-8", Frames(close(1000, b"\xff"), (1002, 1007))),
    Input("frames and a second close after a close", Story("closes with 1000", late_frames)),
    Input("20,000 pings and as many pongs", Story("pongs, and goes on", flood_of_pings)),
    Input("200,000 pings, their pongs not read", Story("is not read from", unread_pongs)),
    Input("a binary message in JSON's session", Story("`bad_frame`, goes on", wrong_kind)),
    Input("64 MiB of zeros in 64 KiB", Story("`too_large`, closes with 1009", bomb)),
    Input("compressed: one and two bytes over the limit",
          Story("`too_large`, closes with 1009", one_over)),
    Input("a compressed message that was not agreed on",
          Frames(frame(TEXT, b"\x00", rsv=4), PROTOCOL_ERROR)),
    Input("resets in the middle of WebSocket frames",
          Story("ends those connections alone", resets)),
)  # fmt: skip
