"""Opening handshakes and frames that break RFC 6455."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import MSGPACK, Fleet
from tests.hostile.conftest import HELLO_TIMEOUT_S, bearer
from tests.hostile.raw_socket import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    RawSocket,
    Received,
    frame,
    upgrade,
)

PROTOCOL_ERROR, INVALID_DATA, POLICY, TOO_BIG = 1002, 1007, 1008, 1009
FRAME_MAX = 320 * 1024
PING_FRAME = b'{"t":"ping","id":1}'
HELLO_DEADLINES = range(4200, 4300)
T = TypeVar("T")


# Opening handshakes.


@pytest.mark.parametrize(
    ("request_bytes", "status", "hint"),
    [
        (upgrade(Sec_WebSocket_Version="8"), 426, "Sec-WebSocket-Version: 13"),
        (upgrade(Sec_WebSocket_Version="14"), 426, "Sec-WebSocket-Version: 13"),
        (upgrade(Sec_WebSocket_Version=None), 400, "Sec-WebSocket-Version"),
        (upgrade(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (upgrade(Sec_WebSocket_Key="short"), 400, "Sec-WebSocket-Key"),
        (upgrade(Sec_WebSocket_Key="!" * 24), 400, "Sec-WebSocket-Key"),
        (upgrade("/v2/connect"), 404, "/v1/connect"),
        (upgrade("/v1/connect/"), 404, "/v1/connect"),
        (upgrade("//v1/connect"), 404, "/v1/connect"),
        (upgrade("/v1/../v1/connect"), 404, "/v1/connect"),
        (upgrade(Sec_WebSocket_Protocol="mqtt"), 400, "imserver.v1.msgpack"),
        (upgrade(Sec_WebSocket_Protocol="imserver.v2.json"), 400, "imserver.v1.json"),
        (upgrade(Origin="https://evil.example"), 403, "Origin"),
        (upgrade(Origin="null"), 403, "Origin"),
    ],
    ids=[
        "version 8", "version 14", "no version", "no key", "short key", "key of nonsense",
        "another path", "slash at the end", "two slashes", "dots", "unknown subprotocol",
        "another version of ours", "foreign origin", "null origin",
    ],
)  # fmt: skip
async def test_a_bad_opening_handshake_is_refused_with_what_would_be_right(
    target: ServerProcess, request_bytes: bytes, status: int, hint: str
) -> None:
    raw = await RawSocket.connect(target)
    raw.write(request_bytes)
    found, text = await raw.response()
    assert found == status, text
    assert hint in text


async def test_a_known_subprotocol_among_unknown_ones_is_taken(target: ServerProcess) -> None:
    raw = await RawSocket.connect(target)
    raw.write(upgrade(Sec_WebSocket_Protocol="mqtt, imserver.v1.json"))
    status, text = await raw.response()
    assert status == 101
    assert "imserver.v1.json" in text


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"IM1M\x00\x00\x00\x05hello",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        bytes(range(256)) * 100,
    ],
    ids=["TLS", "raw TCP", "HTTP/0.9", "HTTP/2", "bad length", "nul", "smuggling", "noise"],
)
async def test_what_is_not_http_is_turned_away(target: ServerProcess, data: bytes) -> None:
    raw = await RawSocket.connect(target)
    raw.write(data)
    status, _ = await raw.response()
    assert 400 <= status < 500


async def test_a_header_without_end_is_cut_off(target: ServerProcess) -> None:
    raw = await RawSocket.connect(target)
    await raw.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2_000_000, 2)
    assert await raw.wait_end(HELLO_TIMEOUT_S + 5)


# Deadlines.


async def test_a_connection_that_says_nothing_is_closed_at_the_deadline(
    target: ServerProcess,
) -> None:
    raw = await RawSocket.connect(target)
    assert await raw.wait_end(HELLO_TIMEOUT_S + 5)


async def test_a_handshake_sent_too_slowly_is_closed_at_the_deadline(target: ServerProcess) -> None:
    raw = await RawSocket.connect(target)

    async def drip() -> None:
        for byte in upgrade():
            raw.write(bytes([byte]))
            await asyncio.sleep(0.2)  # the attack itself: half a minute for one handshake

    assert await while_doing(drip(), raw.wait_end(HELLO_TIMEOUT_S + 5))


async def while_doing(attack: Coroutine[Any, Any, None], watch: Coroutine[Any, Any, T]) -> T:
    """Return what ``watch`` finds while ``attack`` goes on, and end it then."""
    async with asyncio.TaskGroup() as group:
        attacking = group.create_task(attack)
        found = await watch
        attacking.cancel()
    return found


async def test_a_connection_without_hello_is_closed_at_the_deadline(target: ServerProcess) -> None:
    raw = await RawSocket.upgraded(target)
    assert await raw.close_code() in HELLO_DEADLINES


async def test_pings_do_not_move_the_deadline_of_hello(target: ServerProcess) -> None:
    raw = await RawSocket.upgraded(target)

    async def ping() -> None:
        while True:
            raw.write(frame(PING))
            await asyncio.sleep(0.2)

    assert await while_doing(ping(), raw.close_code()) in HELLO_DEADLINES


async def test_a_challenge_that_is_not_answered_is_closed_at_the_deadline(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.upgraded(target, Sec_WebSocket_Protocol="imserver.v1.json")
    raw.write(frame(TEXT, f'{{"t":"hello","robot":"{gang.name("r1")}"}}'.encode()))
    assert await raw.close_code() in HELLO_DEADLINES


# Frames.

BROKEN = {
    "unmasked": (frame(TEXT, PING_FRAME, masked=False), PROTOCOL_ERROR),
    "unmasked ping": (frame(PING, masked=False), PROTOCOL_ERROR),
    "RSV1": (frame(TEXT, PING_FRAME, rsv=4), PROTOCOL_ERROR),
    "RSV2": (frame(TEXT, PING_FRAME, rsv=2), PROTOCOL_ERROR),
    "RSV3": (frame(PING, rsv=1), PROTOCOL_ERROR),
    "opcode 3": (frame(3, PING_FRAME), PROTOCOL_ERROR),
    "opcode 7": (frame(7, PING_FRAME), PROTOCOL_ERROR),
    "opcode 11": (frame(11), PROTOCOL_ERROR),
    "opcode 15": (frame(15), PROTOCOL_ERROR),
    "fragmented ping": (frame(PING, fin=False), PROTOCOL_ERROR),
    "fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), PROTOCOL_ERROR),
    "ping of 126 bytes": (frame(PING, bytes(126)), PROTOCOL_ERROR),
    "close of 126 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), PROTOCOL_ERROR),
    "continuation of nothing": (frame(CONT, PING_FRAME), PROTOCOL_ERROR),
    "message within a message": (
        frame(TEXT, b"{", fin=False) + frame(TEXT, PING_FRAME),
        PROTOCOL_ERROR,
    ),
    "close of 1 byte": (frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "close code 999": (frame(CLOSE, b"\x03\xe7"), PROTOCOL_ERROR),
    "close code 1005": (frame(CLOSE, b"\x03\xed"), PROTOCOL_ERROR),
    "close code 1006": (frame(CLOSE, b"\x03\xee"), PROTOCOL_ERROR),
    "length with the top bit set": (b"\x81\xff" + b"\xff" * 8 + bytes(4), None),
    "length 2^62": (frame(TEXT, length=2**62), TOO_BIG),
    "length of the limit + 1": (frame(TEXT, length=FRAME_MAX + 1), TOO_BIG),
    "fragments over the limit": (
        frame(TEXT, b" " * 200_000, fin=False) + frame(CONT, b" " * 200_000),
        TOO_BIG,
    ),
    "small fragments over the limit": (
        frame(TEXT, b" " * 1_000, fin=False) + frame(CONT, b" " * 1_000, fin=False) * 400,
        TOO_BIG,
    ),
    "invalid UTF-8": (frame(TEXT, b'{"t":"ping","id":1,"x":"\xff"}'), INVALID_DATA),
    "invalid UTF-8 over two fragments": (
        frame(TEXT, b'{"x":"\xce', fin=False) + frame(CONT, b'\xff"}'),
        INVALID_DATA,
    ),
    "surrogate in UTF-8": (frame(TEXT, b'"\xed\xa0\x80"'), INVALID_DATA),
    "overlong UTF-8": (frame(TEXT, b'"\xc0\x80"'), INVALID_DATA),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_frame_that_breaks_rfc_6455_ends_the_connection_with_its_code(
    target: ServerProcess, gang: Fleet, what: str
) -> None:
    data, code = BROKEN[what]
    raw = await RawSocket.in_session(target, gang.name("r1"))
    raw.write(data)
    found = await raw.close_code()
    assert found == code if code else found in {PROTOCOL_ERROR, TOO_BIG}


async def test_utf8_split_between_fragments_is_taken(target: ServerProcess, gang: Fleet) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    message = '{"t":"ping","id":1,"x":"☃"}'.encode()
    cut = message.index(b"\xe2") + 1
    raw.write(frame(TEXT, message[:cut], fin=False) + frame(PING, b"between"))
    raw.write(frame(CONT, message[cut:]))
    opcodes = [(await frame_of(raw)).opcode for _ in range(2)]
    assert sorted(opcodes) == [TEXT, PONG]


async def frame_of(raw: RawSocket) -> Received:
    received = await raw.read_frame()
    assert received is not None
    return received


async def test_a_message_byte_by_byte_is_a_message(target: ServerProcess, gang: Fleet) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    for byte in frame(TEXT, PING_FRAME):
        await raw.write_all(bytes([byte]), 1)
    assert b'"pong"' in (await frame_of(raw)).payload


async def test_a_hundred_thousand_empty_fragments_are_cut_off(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    raw.write(frame(TEXT, b"{", fin=False) + frame(CONT, fin=False) * 100_000)
    assert await raw.close_code() == POLICY


async def test_after_a_frame_that_is_too_big_nothing_more_is_taken_or_said(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    raw.write(frame(TEXT, bytes(10_000_000)) + frame(TEXT, PING_FRAME))
    assert await raw.close_code() == TOO_BIG


async def test_frames_after_the_close_frame_are_ignored(target: ServerProcess, gang: Fleet) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    create = b'{"t":"create_group","id":1,"name":"late.' + gang.name("x").encode() + b'"}'
    raw.write(frame(CLOSE, b"\x03\xe8") + frame(TEXT, create))
    assert await raw.close_code() == 1000
    owner = await bearer(gang, "r1", MSGPACK)
    assert (await owner.request("list_groups"))["result"] == []


async def test_binary_frames_on_the_text_subprotocol_are_no_messages(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    raw.write(frame(BINARY, PING_FRAME))
    assert b'"bad_frame"' in (await frame_of(raw)).payload
    raw.write(frame(BINARY, PING_FRAME[:5], fin=False) + frame(CONT, PING_FRAME[5:]))
    assert b'"bad_frame"' in (await frame_of(raw)).payload
    raw.write(frame(TEXT, PING_FRAME))
    assert b'"pong"' in (await frame_of(raw)).payload


@pytest.mark.parametrize("cut", [1, 3, 10])
async def test_a_reset_in_the_middle_of_a_frame_harms_nobody(
    target: ServerProcess, gang: Fleet, cut: int
) -> None:
    for number in range(20):
        raw = await RawSocket.in_session(target, gang.name(f"r{number}"))
        await raw.write_all(frame(TEXT, PING_FRAME)[:cut], 1)
        raw.reset()
