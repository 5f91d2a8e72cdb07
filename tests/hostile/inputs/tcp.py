"""Raw TCP: lengths, prefaces, silence."""

import asyncio
import random
import struct
from typing import Any, Final, NamedTuple

from tests.e2e.wire import together
from tests.hostile.conftest import HELLO_TIMEOUT_S
from tests.hostile.inputs.attack import FRAME_MAX, PATIENCE_S, Input, Stage, Story
from tests.hostile.tcp_line import TOO_LARGE, Line, framed

PING: Final = b'{"t":"ping","id":1}'
HTTP: Final = b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"
TLS_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(190)
BAD: Final = ("error", "bad_frame")


class Tcp(NamedTuple):
    """Bytes after the hello of a session in JSON, and all that is answered until the server closes."""

    said: bytes
    answers: list[tuple[str, Any]]

    @property
    def does(self) -> str:
        words = {"pong": "answers", "bye": "`bye` {}", "error": "`{}`"}
        return ", ".join([words[t].format(value) for t, value in self.answers] + ["closes"])

    async def on(self, stage: Stage) -> None:
        line = await Line.in_session(stage.server, stage.gang.name("mallory"))
        line.raw.write(self.said)
        assert await line.rest() == self.answers


class Stranger(NamedTuple):
    """The first bytes of a connection, and how the answer begins."""

    said: bytes
    begins: bytes
    does: str

    async def on(self, stage: Stage) -> None:
        line = await Line.open(stage.server, self.said)
        async with asyncio.timeout(PATIENCE_S):
            answer = await line.raw._reader.read()
        assert answer.startswith(self.begins), answer
        assert b"Traceback" not in answer


async def silence(stage: Stage) -> None:
    line = await Line.open(stage.server, b"")
    assert await line.raw.wait_end(PATIENCE_S)


async def dribble(stage: Stage) -> None:
    line = await Line.open(stage.server, b"IM1J" + struct.pack("!I", FRAME_MAX))
    for _ in range(PATIENCE_S * 5):
        line.raw.write(b" ")
        if await line.raw.wait_end(HELLO_TIMEOUT_S / 10):
            return
    raise AssertionError("the deadline is put off by each byte")


async def crowd(stage: Stage) -> None:
    silent = [await Line.open(stage.server, b"I") for _ in range(300)]
    assert all(await together(*(line.raw.wait_end(PATIENCE_S) for line in silent)))


async def cut_short(stage: Stage) -> None:
    line = await Line.in_session(stage.server, stage.gang.name("mallory"))
    line.raw.write(framed(PING, len(PING) + 1))
    line.end_writing()
    assert await line.rest() == [BAD, ("bye", 1002)]


async def half_closed(stage: Stage) -> None:
    line = await Line.in_session(stage.server, stage.gang.name("mallory"))
    for number in range(10):
        line.raw.write(framed(f'{{"t":"list_robots","id":{number}}}'.encode()))
    line.end_writing()
    assert await line.rest() == [("ok", number) for number in range(10)]


async def pieces(stage: Stage) -> None:
    line = await Line.in_session(stage.server, stage.gang.name("mallory"))
    line.raw.write(framed(PING) * 2)
    for byte in framed(PING):
        await line.raw.write_all(bytes([byte]), PATIENCE_S)
    line.raw.write(framed(b""))
    assert await line.rest() == [("pong", 1)] * 3


async def resets(stage: Stage) -> None:
    for cut in (1, 4, 5, 15):
        line = await Line.in_session(stage.server, stage.gang.name(f"r{cut}"))
        await line.raw.write_all(framed(PING)[:cut], PATIENCE_S)
        line.raw.reset()


async def noise(stage: Stage) -> None:
    for first in (b"", b"IM1M", b"IM1J"):
        line = await Line.open(stage.server, first)
        await line.raw.write_all(random.Random(first).randbytes(1024 * 1024), PATIENCE_S)
        assert await line.raw.wait_end(PATIENCE_S)


INPUTS: Final = (
    Input("nothing at all", Story("closes at the hello deadline", silence)),
    Input("a hello that comes a byte at a time", Story("closes at the hello deadline", dribble)),
    Input("300 connections that say one byte each", Story("closes them at the deadline", crowd)),
    Input("the largest length, FF FF FF FF", Tcp(b"\xff" * 4, TOO_LARGE)),
    Input("a length of nothing", Tcp(framed(b""), [])),
    Input("a negative length", Tcp(b"\x80\x00\x00\x00" + PING, TOO_LARGE)),
    Input("a length of eleven bytes, as a varint", Tcp(b"\xff" * 10 + b"\x01", TOO_LARGE)),
    Input("a length in the other order of bytes",
          Tcp(struct.pack("<I", len(PING)) + PING, TOO_LARGE)),
    Input("a length one byte over the limit", Tcp(struct.pack("!I", FRAME_MAX + 1), TOO_LARGE)),
    Input("less than the length says, then an end", Story("`bad_frame`, `bye` 1002", cut_short)),
    Input("more than the length says",
          Tcp(framed(PING, len(PING) - 9), [BAD, *TOO_LARGE])),
    Input("frames in one piece and byte by byte", Story("answers each", pieces)),
    Input("frames of one byte", Tcp(framed(b"\x00") * 3, [BAD] * 3 + [("bye", 1008)])),
    Input("a request after a goodbye", Tcp(framed(b"") + framed(PING), [])),
    Input("an end of one half after requests", Story("answers all, closes", half_closed)),
    Input("resets in the middle of frames", Story("ends those connections alone", resets)),
    Input("a mebibyte of noise", Story("closes", noise)),
    Input("HTTP on the port for raw TCP",
          Stranger(HTTP, b"HTTP/1.1 400 Bad Request", "400 Bad Request, closes")),
    Input("TLS on the port for raw TCP, which has none",
          Stranger(TLS_HELLO, b"\x15\x03", "TLS alert 40, closes")),
    Input("HTTP within a session on raw TCP", Tcp(HTTP, TOO_LARGE)),
    Input("a preface of another version",
          Stranger(b"IM9M", b"\x00\x00", "`unsupported`, `bye` 1002")),
)  # fmt: skip
