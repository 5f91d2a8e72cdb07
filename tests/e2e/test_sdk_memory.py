"""Robots with a memory, killed with SIGKILL under load, and the server too: 0 lost, 0 doubled, 0 skipped."""

import asyncio

import pytest

from client_sdk import MemoryFileError, Options, OutcomeUnknown, Robot, WrongServer
from tests.e2e.victims import (
    Victim,
    assert_events_seen,
    assert_sends_kept,
    prepare,
    read_log,
    run_and_kill,
)

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

QUICK = Options(backoff_base_s=0.02, backoff_cap_s=0.2)
KILLS = 20
SENDS = 4_000


async def test_robots_and_server_killed_under_load_lose_and_double_nothing(server, tmp_path, rng):
    victims = [Victim(server, name, tmp_path, sends=SENDS) for name in ("a", "b")]
    conv = await prepare(server, victims)
    await asyncio.to_thread(run_and_kill, server, victims, conv, kills=KILLS, rng=rng)
    log = await read_log(victims[0], conv)
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    for victim in victims:
        assert_sends_kept(victim, log)
        assert_events_seen(victim, log)


async def test_a_send_that_no_server_took_is_sent_by_the_next_process(server, tmp_path):
    key, memory = tmp_path / "a.key", tmp_path / "a.memory"

    def robot(token=None):
        return Robot(server.ws_url, name="a", key=key, token=token, memory=memory, options=QUICK)

    async with robot(server.enroll("a")) as a:
        conv = await a.create_group("dock")
        server.stop()
        for n in range(3):
            with pytest.raises(OutcomeUnknown):
                await a.send(conv, n, timeout_s=0.05)
        assert [waiting.body for waiting in a.waiting()] == [0, 1, 2]
    await asyncio.to_thread(server.start)
    async with robot() as a:
        sent = await a.send(conv, "new")
        log = await a.history(conv, after=1)
        assert a.waiting() == []
    assert [event.body for event in log] == [0, 1, 2, "new"]
    assert sent.seq == 5


async def test_a_memory_goes_with_one_server(server, start_server, tmp_path):
    other = start_server()
    memory = tmp_path / "a.memory"
    for where in (server, other):
        arguments = {"name": "a", "key": tmp_path / "a.key", "token": where.enroll("a")}
        robot = Robot(where.ws_url, memory=memory, options=QUICK, **arguments)
        if where is server:
            async with robot:
                pass
        else:
            with pytest.raises(WrongServer, match="memory belongs to"):
                await robot.__aenter__()


async def test_a_memory_goes_with_one_robot(shared_server, tmp_path):
    memory = tmp_path / "one.memory"
    async with Robot(
        shared_server.ws_url, name="one", bearer=shared_server.token("one"), memory=memory
    ):
        with pytest.raises(MemoryFileError, match="in use"):
            async with Robot(
                shared_server.ws_url, name="one", bearer=shared_server.token("one"), memory=memory
            ):
                pass
    with pytest.raises(MemoryFileError, match="belongs to robot one"):
        async with Robot(
            shared_server.ws_url, name="two", bearer=shared_server.token("two"), memory=memory
        ):
            pass
