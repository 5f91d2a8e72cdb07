"""Robots that seal, with the server in memory: kills at each step, and what applications are told."""

import asyncio
import logging

import pytest

from client_sdk import (
    BlockingRobot,
    ErrorCode,
    Gap,
    MemoryFileError,
    Options,
    OutcomeUnknown,
    Refused,
    Robot,
    RobotError,
    RobotKey,
    Role,
    Sealing,
    State,
    Unopened,
    VolatileMemory,
    Why,
)
from client_sdk.sealed import ratchet
from client_sdk.testing import MemoryServer
from imserver.protocol.client_frames import History
from tests.until import PATIENCE_S, until

OPTIONS = Options(backoff_base_s=0.001, backoff_cap_s=0.01, connect_timeout_s=5.0)
KEYS = {name: RobotKey.generate() for name in ("r1", "r2", "r3")}


class World:
    def __init__(self):
        self.server = MemoryServer()
        self.memories = {}

    def robot(self, name, device="main", *, memory=None, options=OPTIONS, **sealing):
        self.server._node.know(name)
        memory = memory or self.memories.setdefault((name, device), VolatileMemory())
        return Robot(
            "ws://m",
            name=name,
            bearer="b",
            device=device,
            memory=memory,
            sealed=Sealing(identity=KEYS[name], **sealing),
            options=options,
            connector=self.server,
        )


@pytest.fixture
def world():
    return World()


@pytest.fixture
def dock(world):
    return world.server.add_group("dock", ["r1", "r2"])


def announced(world, conv, *robots):
    return {e.sender for e in world.server.log(conv) if e.kind == "sealed.device"} >= set(robots)


async def read_all(robot, world, conv):
    """Return all events up to the head, by seq."""
    head, shown = len(world.server.log(conv)), {}
    async with asyncio.timeout(PATIENCE_S):
        async for event in robot.events():
            shown[event.seq] = event
            if event.seq >= head:
                await robot.mark(event)
                break
    return shown


class Killed(VolatileMemory):
    """A memory whose robot is killed at a write: before it is durable, or after."""

    def __init__(self):
        super().__init__()
        self.writes_left = None
        self.applies = False

    def write(self, changes):
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                if self.applies and self.writes_left == -1:
                    super().write(changes)
                raise MemoryFileError("killed")
        super().write(changes)


async def talk(robot, conv):
    """Do what is to be done once, as a program would that begins again."""
    await robot.seal(conv)
    for number in range(3):
        await robot.send(conv, number, cid=f"n{number}")
    async for event in robot.events():
        if event.cid == "n2":
            await robot.mark(event)
            return


@pytest.mark.parametrize("applies", [False, True], ids=["before", "after"])
async def test_whatever_write_a_robot_is_killed_at_all_is_said_once_and_no_key_is_used_twice(
    applies, monkeypatch
):
    used, encrypt = [], ratchet.encrypt

    def noted(secret, plaintext, associated):
        used.append(secret)
        return encrypt(secret, plaintext, associated)

    monkeypatch.setattr(ratchet, "encrypt", noted)
    writes, done = 0, False
    while not done:
        world = World()
        conv = world.server.add_group("dock", ["r1", "r2"])
        memory = Killed()
        async with world.robot("r2") as r2:
            await r2.seal(conv)
            memory.writes_left, memory.applies = writes, applies
            try:
                async with world.robot("r1", memory=memory) as r1:
                    await talk(r1, conv)
                done = True
            except RobotError:
                memory.close()
            memory.writes_left = None
            async with world.robot("r1", memory=memory) as r1:
                for send in r1.waiting():
                    assert b"sealed" in str(send.body).encode()
                await talk_again(r1, conv)
            shown = await read_all(r2, world, conv)
        said = [event.body for event in shown.values() if event.kind == "message"]
        assert said == [0, 1, 2], (writes, said)
        writes += 1
    assert len(set(used)) == len(used)
    assert writes > 5


async def talk_again(robot, conv):
    await robot.seal(conv)
    for number in range(3):
        await robot.send(conv, number, cid=f"n{number}")


async def test_many_tasks_at_once_are_all_opened(world, dock):
    async with world.robot("r1", messages_max=7) as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"))
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(r1.send(dock, number))
        shown = await read_all(r2, world, dock)
    assert [e.body for e in shown.values() if e.kind == "message"] == list(range(40))
    assert sum(e.kind == "sealed.key" for e in shown.values()) >= 6


async def test_a_robot_that_never_reads_seals_for_whom_there_is_now(world, dock):
    async with world.robot("r1", options=Options(auto=False)) as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"))
        await r1.send(dock, "both")
        await r1.remove_members(dock, ["r2"])
        await r1.send(dock, "alone")
        assert [reader.robot for reader in await r1.readers(dock)] == ["r1"]
        shown = [r2._sealer.session.open(event) for event in world.server.log(dock)]
    assert [e.body for e in shown if e.seal] == ["both"]
    assert shown[-1].body.why is Why.NO_KEY


async def test_who_was_removed_while_a_robot_was_away_is_not_sealed_for_after_its_return(
    world, dock
):
    async with world.robot("r1") as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"))
        await r1.send(dock, "both")
        world.server.reachable = False
        world.server.cut_connections()
        await until(lambda: r1.state is not State.ONLINE)
        conversation = world.server._node.conversations.get(dock)
        conversation.append(conversation.change("members_removed", "r1", {"robots": ["r2"]}))
        world.server.reachable = True
        await r1.wait_online()
        sent = await r1.send(dock, "alone")
        (event,) = [event for event in world.server.log(dock) if event.seq == sent.seq]
        assert r2._sealer.session.open(event).body.why is not Why.PLAIN
        assert sum(event.kind == "sealed.key" for event in world.server.log(dock)) == 2


async def test_what_waits_in_plain_is_not_sealed_over(world, dock):
    async with world.robot("r1") as r1:
        world.server.reachable = False
        world.server.cut_connections()
        await until(lambda: r1.state is not State.ONLINE)
        r1._sealer.session.roster(dock).progress.end(0)
        with pytest.raises(OutcomeUnknown):
            await r1.send(dock, "plain", timeout_s=0.02)
        with pytest.raises(Refused) as refused:
            await r1.seal(dock)
        assert refused.value.code == ErrorCode.CONFLICT
        (waiting,) = r1.waiting()
        await r1.drop(dock, waiting.cid)
        world.server.reachable = True
        await r1.seal(dock)
        await r1.send(dock, "sealed")
    assert "plain" not in [event.body for event in world.server.log(dock)]


async def test_nothing_is_sent_when_no_key_can_be_stored(world, dock):
    async with world.robot("r1") as r1:
        await r1.seal(dock)
        world.server.reachable = False
        world.server.cut_connections()
        with pytest.raises(Refused) as refused:
            await r1.send(dock, "x", timeout_s=0.05)
        assert refused.value.code == ErrorCode.UNAVAILABLE
        world.server.reachable = True
        sent = await r1.send(dock, "y")
        shown = await read_all(r1, world, dock)
    assert shown[sent.seq].body == "y"
    assert [e.body for e in shown.values() if e.seal] == ["y"]


async def test_a_send_of_unknown_outcome_is_sent_again_as_it_is(world, dock):
    async with world.robot("r1") as r1:
        await r1.seal(dock)
        await r1.send(dock, "first")
        world.server.reachable = False
        world.server.cut_connections()
        with pytest.raises(OutcomeUnknown) as unknown:
            await r1.send(dock, "second", timeout_s=0.05)
    world.server.reachable = True
    async with world.robot("r1") as r1:
        sent = await r1.send(dock, "second", cid=unknown.value.cid)
        shown = await read_all(r1, world, dock)
    assert shown[sent.seq].body == "second"
    assert [e.body for e in shown.values() if e.seal] == ["first", "second"]


async def test_what_an_earlier_process_left_waiting_can_be_sent_again_by_any_later_one(world, dock):
    async with world.robot("r1") as r1:
        await r1.seal(dock)
        await r1.send(dock, "first")
        world.server.reachable = False
        world.server.cut_connections()
        sending = asyncio.create_task(r1.send(dock, "second"))
        await until(lambda: [send for send in r1.waiting() if send.kind == "message"])
        (waiting,) = r1.waiting()
    with pytest.raises(OutcomeUnknown):
        await sending
    for record in list(world.memories[("r1", "main")]._records):
        if record.startswith("sent/"):  # it was killed before it could note this
            del world.memories[("r1", "main")]._records[record]
    world.server.reachable = True
    async with world.robot("r1") as r1:
        await until(lambda: not r1.waiting())
        await r1.send(dock, "third")
        await read_all(r1, world, dock)
    async with world.robot("r1") as r1:
        again = await r1.send(dock, "second", cid=waiting.cid)
        assert again.dup
        await r1.send(dock, "fourth", cid="fourth")
        with pytest.raises(Refused) as refused:
            await r1.send(dock, "another", cid="fourth")
    assert refused.value.code == ErrorCode.CONFLICT


async def test_an_observer_is_told_nothing_and_asks_once(world, dock, caplog):
    caplog.set_level(logging.WARNING, "client_sdk")
    world.server._node.conversations.get(dock).members["r2"] = Role.OBSERVER
    async with world.robot("r1") as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        sent = [await r1.send(dock, number) for number in range(3)]
        shown = await read_all(r2, world, dock)
        assert shown[sent[0].seq].body.why is Why.NO_KEY
        await until(lambda: "sealed.not_announced" in caplog.messages)
        assert caplog.messages.count("sealed.not_announced") == 1
        await r1.set_role(dock, "r2", Role.MEMBER)
        await until(lambda: announced(world, dock, "r2"))


async def test_a_restored_log_is_spoken_to_with_a_new_key(world, dock):
    async with world.robot("r1") as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"))
        await r1.send(dock, "lost")  # with its key, which r2 has not taken yet
        world.server.restore(dock, 3)
        await until(lambda: r1.statistics().connections == 2)
        sent = await r1.send(dock, "after")
        async with asyncio.timeout(PATIENCE_S):
            async for item in r2.events(gaps=True):
                if not isinstance(item, Gap) and item.seq == sent.seq:
                    break
        assert item.body == "after"


async def test_a_robot_without_a_memory_or_a_key_does_not_seal(world):
    with pytest.raises(ValueError, match="memory"):
        Robot("ws://m", name="r1", bearer="b", sealed=Sealing(identity=KEYS["r1"]))
    with pytest.raises(ValueError, match="identity"):
        Robot("ws://m", name="r1", bearer="b", memory=VolatileMemory(), sealed=Sealing())
    with pytest.raises(ValueError, match="1 to 1000"):
        Sealing(messages_max=0)
    with pytest.raises(ValueError, match="32 bytes"):
        Sealing(known={"r1": b"short"})
    async with world.server.robot("r1") as r1:
        with pytest.raises(ValueError, match="sealed="):
            await r1.seal("g/dock")


async def test_an_identity_may_be_changed_by_the_program(world, dock, monkeypatch):
    async with world.robot("r1") as r1:
        await r1.seal(dock)
        async with world.robot("r2"):
            await until(lambda: announced(world, dock, "r2"))
        world.memories.pop(("r2", "main"))
        monkeypatch.setitem(KEYS, "r2", RobotKey.generate())
        async with world.robot("r2") as r2:
            await r2.seal(dock)
            (refused,) = [e for e in (await read_all(r1, world, dock)).values() if is_refused(e)]
            assert refused.body.why is Why.OTHER_IDENTITY
            r1.trust("r2", KEYS["r2"].public_key)
            sent = await r1.send(dock, "to the new r2")
            assert (await read_all(r2, world, dock))[sent.seq].body == "to the new r2"


async def test_an_identity_that_is_trusted_while_the_log_is_read_has_it_read_from_its_beginning(
    world, dock
):
    async with world.robot("r1", options=Options(auto=False)) as r1, world.robot("r2") as r2:
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"))
        await r1.send(dock, "first")
        world.server.post(dock, "plain", sender="r2")
        sending = asyncio.create_task(r1.send(dock, "second"))
        await until(lambda: r1.statistics().pending, step_s=0)
        r1.trust("r2", KEYS["r2"].public_key)
        sent = await sending
        assert (await read_all(r2, world, dock))[sent.seq].body == "second"


async def test_a_device_is_announced_though_a_question_went_unanswered(world):
    class Mute(MemoryServer):
        unanswered = 0

        def _handle(self, session, frame):
            if session.robot == "r2" and isinstance(frame, History) and self.unanswered < 2:
                self.unanswered += 1
            else:
                super()._handle(session, frame)

    world.server = Mute()
    dock = world.server.add_group("dock", ["r1", "r2"])
    impatient = Options(request_timeout_s=0.05)
    async with world.robot("r1") as r1, world.robot("r2", options=impatient):
        await r1.seal(dock)
        await until(lambda: announced(world, dock, "r2"), within_s=5)
    assert world.server.unanswered == 2


def is_refused(event):
    return isinstance(event.body, Unopened)


def test_the_blocking_robot_seals_too(world):
    conv = world.server.add_group("quay", ["r1"])
    with BlockingRobot(
        "ws://m",
        name="r1",
        bearer="b",
        memory=VolatileMemory(),
        sealed=Sealing(identity=KEYS["r1"]),
        connector=world.server,
    ) as r1:
        r1.seal(conv)
        sent = r1.send(conv, "hello")
        assert [reader.devices for reader in r1.readers(conv)] == [["main"]]
        events = r1.events(timeout_s=PATIENCE_S)
        assert next(event for event in events if event.seq == sent.seq).body == "hello"
