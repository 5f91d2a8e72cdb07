"""Opening handshakes and frames that break RFC 6455."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import MSGPACK, Fleet
from tests.hostile.conftest import HELLO_TIMEOUT_S, bearer
from tests.hostile.raw_socket import (
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


async def test_a_known_subprotocol_among_unknown_ones_is_taken(target: ServerProcess) -> None:
    raw = await RawSocket.connect(target)
    raw.write(upgrade(Sec_WebSocket_Protocol="mqtt, imserver.v1.json"))
    status, text = await raw.response()
    assert status == 101
    assert "imserver.v1.json" in text


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
