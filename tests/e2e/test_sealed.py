"""Sealed groups on a real server: members, devices, restarts, kills, and what the server gets to see."""

import asyncio

import pytest

from client_sdk import ErrorCode, Options, Refused, Robot, RobotKey, Sealing, Unopened, Why
from tests.e2e.victims import (
    Victim,
    assert_sends_kept,
    prepare,
    read_log,
    run_and_kill,
)
from tests.until import PATIENCE_S

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

QUICK = {"backoff_base_s": 0.02, "backoff_cap_s": 0.2}
MARK = "blue-elephant"


class Crew:
    """Robots with keys and memories that outlive their processes."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        self.keys = {}

    def robot(self, name, device="main", *, codec="msgpack", **sealing):
        token = None
        if name not in self.keys:
            self.keys[name] = RobotKey.generate()
            token = self.server.enroll(name)
        return Robot(
            self.server.ws_url,
            name=name,
            key=self.keys[name],
            token=token,
            device=device,
            memory=self.folder / f"{name}.{device}.memory",
            sealed=Sealing(**sealing),
            options=Options(codec=codec, **QUICK),
        )


@pytest.fixture
def crew(server, tmp_path):
    return Crew(server, tmp_path)


async def read(robot, seq):
    """Return the event at ``seq``, reading on to it, and have it durably processed."""
    async with asyncio.timeout(PATIENCE_S):
        async for event in robot.events():
            if event.seq == seq:
                await robot.mark(event)
                return event
    raise AssertionError("the events ended")


async def can_read(robot, conv, name, *devices):
    """Return when ``robot`` seals for these devices of a member, and no others."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = {reader.robot: reader.devices for reader in await robot.readers(conv)}
            if found.get(name) == list(devices):
                return
            await asyncio.sleep(0.01)


async def test_a_group_talks_and_the_server_cannot_read_it(crew, server):
    async with crew.robot("r1") as r1, crew.robot("r2", codec="json") as r2:
        dock = await r1.create_group("dock", ["r2"])
        await r1.seal(dock)
        await can_read(r1, dock, "r2", "main")
        sent = [await r1.send(dock, {"n": n, "text": MARK}) for n in range(3)]
        answer = await r2.send(
            dock, {"text": MARK, "raw": b"\x00\xff"}, kind="result", ref=sent[0].seq
        )
        edit = await r1.edit(dock, sent[1].seq, f"{MARK} edited")
        await r1.redact(dock, sent[2].seq)
        event = await read(r2, sent[0].seq)
        assert (event.body, event.seal.device) == ({"n": 0, "text": MARK}, "main")
        event = await read(r1, answer.seq)
        assert (event.body, event.ref) == ({"text": MARK, "raw": b"\x00\xff"}, sent[0].seq)
        assert (await read(r2, edit.seq)).body == f"{MARK} edited"
        with pytest.raises(Refused) as refused:
            r1.signal(dock, "pose", MARK)
        assert refused.value.code == ErrorCode.UNSUPPORTED
        with pytest.raises(Refused, match="files are not"):
            await r1.send_file(dock, __file__)
        with pytest.raises(Refused, match="cannot fold"):
            await r1.history(dock, view="messages")
    assert MARK.encode() not in server.stored()
    assert b"sealed.key" in server.stored()


async def test_members_come_and_go_and_read_their_time_alone(crew):
    async with crew.robot("r1") as r1, crew.robot("r2") as r2, crew.robot("r3") as r3:
        dock = await r1.create_group("dock", ["r2"])
        await r1.seal(dock)
        await can_read(r1, dock, "r2", "main")
        first = await r1.send(dock, "before r3")
        await r1.add_members(dock, ["r3"])
        await can_read(r1, dock, "r3", "main")
        second = await r1.send(dock, "with r3")
        assert (await read(r3, second.seq)).body == "with r3"
        (before,) = await r3.history(dock, after=first.seq - 1, limit=1)
        assert before.body.why is Why.NO_KEY
        await r1.remove_members(dock, ["r3"])
        third = await r1.send(dock, "after r3")
        assert (await read(r2, third.seq)).body == "after r3"
        (event,) = await r1.history(dock, after=third.seq - 1)
        shown = r3._sealer.session.open(event, keep=False)  # had the server shown it to r3
        assert isinstance(shown.body, Unopened)


async def test_devices_robots_and_the_server_start_again_and_go_on(crew, server):
    async with crew.robot("r1", keep_history=True) as r1:
        line = r1.direct("r2")
        async with crew.robot("r2") as main, crew.robot("r2", "camera") as camera:
            await r1.seal(line)
            await can_read(r1, line, "r2", "camera", "main")
            first = await r1.send(line, "to both")
            for r2 in (main, camera):
                assert (await read(r2, first.seq)).body == "to both"
        second = await r1.send(line, "while away")
        await asyncio.to_thread(server.restart)
    async with crew.robot("r1", keep_history=True) as r1:
        third = await r1.send(line, "after restarts")
        for device in ("main", "camera"):
            async with crew.robot("r2", device) as r2:
                bodies = [(await read(r2, sent.seq)).body for sent in (second, third)]
                assert bodies == ["while away", "after restarts"]
                answer = await r2.send(line, device)
                assert (await read(r1, answer.seq)).seal.device == device
                (again,) = await r2.history(line, after=first.seq - 1, limit=1)
                assert again.body.why is Why.USED
                page = await r2.history(line, after=first.seq - 2, limit=2)
                assert [event.kind for event in page] == ["sealed.key", "message"]
                assert page[1].body == "to both"
        (kept,) = await r1.history(line, after=first.seq - 1, limit=1)
        assert kept.body == "to both"


async def test_the_same_cid_is_stored_once_also_after_a_restart(crew):
    async with crew.robot("r1") as r1:
        dock = await r1.create_group("dock")
        await r1.seal(dock)
        first = await r1.send(dock, "once", cid="mine")
        again = await r1.send(dock, "once", cid="mine")
        with pytest.raises(Refused) as refused:
            await r1.send(dock, "something else", cid="mine")
        assert refused.value.code == ErrorCode.CONFLICT
    async with crew.robot("r1") as r1:
        later = await r1.send(dock, "once", cid="mine")
    assert (again.seq, again.dup, later.seq, later.dup) == (first.seq, True, first.seq, True)


async def test_programs_and_server_killed_under_load_open_everything_once(server, tmp_path, rng):
    victims = [Victim(server, name, tmp_path, sends=400, sealed=True) for name in ("a", "b")]
    conv = await prepare(server, victims)
    for victim in (*victims, victims[0]):  # after that each knows the other's device
        async with Robot(
            server.ws_url,
            name=victim.name,
            key=victim.key,
            memory=victim.memory,
            sealed=Sealing(),
        ) as robot:
            await robot.seal(conv)
            log = await robot.history(conv)
            await read(robot, log[-1].seq)
    await asyncio.to_thread(run_and_kill, server, victims, conv, kills=8, rng=rng)
    log = await read_log(victims[0], conv)
    begun = max(event.seq for event in log if event.kind == "sealed.device")
    for victim in victims:
        assert_sends_kept(victim, log)
        assert victim.notes("unopened") == []
        assert {int(seq) for _, seq, _ in victim.notes("saw")} == set(
            range(begun + 1, len(log) + 1)
        )
    assert sum(event.kind == "message" for event in log) > 100
