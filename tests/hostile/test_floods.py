"""Too much of everything: memory stays bounded, and the honest robots do not notice."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import JSON, MSGPACK, Fleet, Peer, together
from tests.hostile.conftest import bearer
from tests.hostile.raw_socket import BINARY, PING, TEXT, RawSocket, frame
from tests.until import PATIENCE_S

MIB = 1024 * 1024


@contextmanager
def memory_bounded(server: ServerProcess, growth_max: int) -> Iterator[None]:
    """Assert that the server's memory grows by no more than ``growth_max`` bytes."""
    before = server.rss()
    yield
    grown = server.rss() - before
    assert grown <= growth_max, f"memory grew by {grown / MIB:.1f} MiB"


async def json_group(raw: RawSocket, name: str) -> str:
    raw.write(frame(TEXT, f'{{"t":"create_group","id":0,"name":"{name}"}}'.encode()))
    conv = f"g/{name}"
    while (received := await raw.read_frame()) is not None:
        if b'"ok"' in received.payload:
            return conv
    raise AssertionError("the connection was closed")


async def test_a_hundred_thousand_sends_without_reading_an_answer_are_held_back(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    conv = await json_group(raw, gang.name("flood"))
    sends = b"".join(
        frame(
            TEXT, f'{{"t":"send","id":{n},"conv":"{conv}","cid":"c{n}","body":"{n:0200}"}}'.encode()
        )
        for n in range(1, 100_001)
    )
    with memory_bounded(target, 48 * MIB):
        assert await raw.is_held_back(sends)
    raw.reset()


async def test_a_flood_of_pings_whose_pongs_nobody_reads_is_held_back(
    target: ServerProcess, gang: Fleet
) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    pings = frame(PING, bytes(125)) * 300_000
    with memory_bounded(target, 16 * MIB):
        assert await raw.is_held_back(pings)
    raw.reset()


async def test_errors_that_nobody_reads_are_held_back(target: ServerProcess, gang: Fleet) -> None:
    raw = await RawSocket.in_session(target, gang.name("r1"))
    acks = frame(TEXT, b'{"t":"ack","conv":"g/nowhere","seq":1}') * 200_000
    with memory_bounded(target, 16 * MIB):
        assert await raw.is_held_back(acks)
    raw.reset()


async def test_signals_with_ever_new_keys_to_a_reader_that_does_not_read_are_bounded(
    target: ServerProcess, gang: Fleet
) -> None:
    sender, stuck = await bearer(gang, "sender", MSGPACK), await bearer(gang, "stuck", MSGPACK)
    conv = await gang.group(sender, stuck)
    stuck.socket.transport.pause_reading()
    body = bytes(20_000)
    with memory_bounded(target, 32 * MIB):
        for number in range(5_000):
            await sender.write({"t": "signal", "conv": conv, "key": f"k{number}", "body": body})
        await sender.settle()
    await stuck.vanish()


async def test_a_member_that_never_reads_costs_little_memory(
    target: ServerProcess, gang: Fleet
) -> None:
    sender = await bearer(gang, "sender", MSGPACK)
    stuck = [await bearer(gang, f"stuck{number}", MSGPACK) for number in range(5)]
    conv = await gang.group(sender, *stuck)
    for peer in stuck:
        peer.socket.transport.pause_reading()
    await sender.pipeline(conv, [bytes(20_000)] * 200)
    with memory_bounded(target, 64 * MIB):
        await sender.pipeline(conv, [bytes(20_000)] * 3_000)
    for peer in stuck:
        await peer.vanish()


async def test_a_thousand_requests_at_once_are_all_answered(gang: Fleet, attacker: Peer) -> None:
    conv = await gang.group(attacker)
    ids = [await attacker.post("history", conv=conv, after=0) for _ in range(1_000)]
    answers = [await attacker.answer(request_id) for request_id in ids]
    assert all(len(answer["events"]) == 1 for answer in answers)


async def test_reading_pages_without_end_does_not_starve_others(
    target: ServerProcess, gang: Fleet
) -> None:
    greedy = await bearer(gang, "greedy", MSGPACK)
    conv = await gang.group(greedy)
    await greedy.pipeline(conv, [bytes(1_000)] * 1_000)
    with memory_bounded(target, 48 * MIB):
        ids = [await greedy.post("history", conv=conv, after=0, limit=1_000) for _ in range(150)]
        for request_id in ids:
            assert (await greedy.answer(request_id))["events"]


async def test_connections_that_come_and_go_leave_nothing_behind(
    target: ServerProcess, gang: Fleet
) -> None:
    await bearer(gang, "witness", MSGPACK)
    before = target.descriptors()

    async def come_and_go(number: int) -> None:
        for _ in range(20):
            raw = await RawSocket.in_session(target, gang.name(f"r{number}"))
            raw.reset()

    await together(*(come_and_go(number) for number in range(10)))
    peer = await bearer(gang, "last", JSON)
    async with asyncio.timeout(PATIENCE_S):
        while target.descriptors() > before + 5:
            await peer.settle()


async def test_a_hello_with_a_very_large_frame_of_nonsense_is_one_offence(gang: Fleet) -> None:
    peer = await gang.stranger()
    await peer.socket.send(secrets.token_bytes(300_000))
    assert (await peer.read())["code"] == "bad_frame"


async def test_large_frames_from_strangers_do_not_pile_up(
    target: ServerProcess, gang: Fleet
) -> None:
    with memory_bounded(target, 64 * MIB):
        strangers = [await RawSocket.upgraded(target) for _ in range(100)]
        for raw in strangers:
            await raw.write_all(frame(BINARY, bytes(300_000), length=320_000), 1)
    for raw in strangers:
        raw.reset()


async def test_a_group_of_everybody_is_made_and_unmade_again_and_again(
    gang: Fleet, attacker: Peer
) -> None:
    conv = await gang.group(attacker)
    names = [(await bearer(gang, f"m{number}", MSGPACK)).robot for number in range(20)]
    for _ in range(20):
        await attacker.request("add_members", conv=conv, robots=names)
        await attacker.request("remove_members", conv=conv, robots=names)
    rows = (await attacker.request("list_members", conv=conv))["result"]
    assert [row["robot"] for row in rows] == [attacker.robot]
