"""The SDK and a server that dies: nothing lost, nothing doubled, and everybody comes back."""

import asyncio
import itertools
import threading

import pytest

from client_sdk import BlockingRobot, Options, OutcomeUnknown, Robot, State
from tests.until import PATIENCE_S, until

pytestmark = pytest.mark.process

QUICK = Options(backoff_base_s=0.05, backoff_cap_s=0.3)
SENDS = 400


async def collect(robot, until_body, seen):
    async for event in robot.events():
        seen.append((event.seq, event.sender, event.cid, str(event.body)))
        if event.body == until_body:
            robot.done(event)
            return


async def test_a_killed_server_costs_nothing(server, tmp_path):
    def robot(name):
        token = server.enroll(name)
        key = tmp_path / f"{name}.key"
        return Robot(server.ws_url, name=name, key=key, token=token, options=QUICK)

    acked, done = {}, {"a": 0, "b": 0}

    async def talk(sender, conv):
        for n in range(SENDS):
            sent = await sender.send(conv, f"{sender.name}-{n}", timeout_s=60)
            acked[sent.seq] = f"{sender.name}-{n}"
            done[sender.name] += 1

    async with robot("a") as a, robot("b") as b, asyncio.timeout(50):
        conv = await a.create_group("dock", ["b"])
        seen_by_a, seen_by_b = [], []
        async with asyncio.TaskGroup() as readers:
            readers.create_task(collect(a, "end", seen_by_a))
            readers.create_task(collect(b, "end", seen_by_b))
            async with asyncio.TaskGroup() as talkers:
                talkers.create_task(talk(a, conv))
                talkers.create_task(talk(b, conv))
                for share in (0.25, 0.6):
                    await until(lambda share=share: min(done.values()) > SENDS * share)
                    server.kill()
                    await asyncio.to_thread(server.restart)
            await a.send(conv, "end")
        assert a.statistics().connections == 3
    assert seen_by_a == seen_by_b
    assert [seq for seq, *_ in seen_by_a] == list(range(1, 2 * SENDS + 3))
    log = {seq: body for seq, _, _, body in seen_by_a}
    assert {seq: log[seq] for seq in acked} == acked
    assert len(set(log.values())) == len(log)


async def test_a_robot_waits_for_a_server_that_comes_back(server, tmp_path):
    token = server.enroll("a")
    async with Robot(
        server.ws_url, name="a", key=tmp_path / "a.key", token=token, options=QUICK
    ) as robot:
        conv = await robot.create_group("dock")
        server.stop()
        with pytest.raises(OutcomeUnknown) as caught:
            await robot.send(conv, "x", timeout_s=0.3)
        sending = asyncio.create_task(robot.send(conv, "y", timeout_s=30))
        await asyncio.to_thread(server.start)
        await sending
        again = await robot.send(conv, "x", cid=caught.value.cid)
        assert robot.state is State.ONLINE
        assert not again.dup
        log = await robot.history(conv, after=1)
    assert sorted(event.body for event in log) == ["x", "y"]


def test_a_script_blocks_until_it_is_done(server, tmp_path):
    with BlockingRobot(
        server.url, name="a", key=tmp_path / "a.key", token=server.enroll("a"), options=QUICK
    ) as robot:
        conv = robot.create_group("dock")
        threads = [
            threading.Thread(target=lambda: [robot.send(conv, n) for n in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        server.kill()
        server.restart()
        for thread in threads:
            thread.join(30)
        events = list(itertools.islice(robot.events(timeout_s=PATIENCE_S), 81))
    assert [event.seq for event in events] == list(range(1, 82))
