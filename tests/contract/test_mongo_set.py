"""A set of three members that loses its primary in the middle of load: nothing acked is lost, doubled or
reordered, and there is no gap."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest

from imserver.core.errors import StoreUnavailable
from imserver.core.model import Stored, Unresolved
from imserver.data.mongo.database import Database
from imserver.data.mongo.store import MongoStore
from imserver.protocol.names import ConversationName, RobotName
from tests.contract.records import EVERYTHING, MAIN, R1, R2, R3, added, created, event, removed
from tests.mongo_server import MongoSet

CONVS = [ConversationName(name) for name in ("g/dock", "g/yard", "d/r1/r2")]
CALM_EVENTS = 150
BATCH = 5
PATIENCE_S = 40.0
FOREVER_S = 600


@pytest.fixture(scope="module")
def three() -> Iterator[MongoSet]:
    servers = MongoSet(3)
    try:
        yield servers.start()
    finally:
        servers.stop()


@pytest.fixture
async def nodes(three: MongoSet) -> AsyncIterator[list[MongoStore]]:
    url = three.url()
    nodes = [await MongoStore.open(url) for _ in range(2)]
    await nodes[0].append([created(conv) for conv in CONVS[:2]])
    yield nodes
    for node in nodes:
        await node.aclose()


class Sender:
    """Sends batches as a robot does: again with the same cids, until it is told what became of each."""

    def __init__(self, node: MongoStore, conv: ConversationName, name: str) -> None:
        self._node = node
        self._conv = conv
        self._name = name
        self.acked: list[tuple[str, int]] = []
        self.stopping = False

    async def run(self) -> None:
        number = 0
        while not self.stopping:
            cids = [f"{number + n}" for n in range(BATCH)]
            number += BATCH
            await self._send(cids)

    async def _send(self, cids: list[str]) -> None:
        while cids:
            asked = [event(cid, self._conv, sender=RobotName(self._name)) for cid in cids]
            try:
                outcomes = await self._node.append(asked)
            except StoreUnavailable:
                await asyncio.sleep(0.1)
                continue
            for cid, outcome in zip(cids, outcomes, strict=True):
                if isinstance(outcome, Stored):
                    self.acked.append((cid, outcome.event.seq))
                else:
                    assert isinstance(outcome, Unresolved)
            cids = [c for c, o in zip(cids, outcomes, strict=True) if isinstance(o, Unresolved)]


def senders_of(nodes: list[MongoStore]) -> list[Sender]:
    return [
        Sender(node, conv, f"{conv.replace('/', '-')}-{number}")
        for conv in CONVS
        for number, node in enumerate(nodes)
    ]


async def until_all_sent(senders: list[Sender], more: int) -> None:
    """Wait until each of them got ``more`` acks from now on."""
    goals = [len(sender.acked) + more for sender in senders]
    async with asyncio.timeout(PATIENCE_S):
        while any(len(s.acked) < goal for s, goal in zip(senders, goals, strict=True)):
            await asyncio.sleep(0.05)


async def assert_all_kept(node: MongoStore, senders: list[Sender]) -> None:
    for conv in CONVS:
        record = await node.conversation(conv)
        assert record is not None
        log = await node.read_after(conv, 0, limit=1_000_000, bytes_max=EVERYTHING)
        assert [entry.seq for entry in log] == list(range(1, record.head + 1))
        places = {(entry.sender, entry.cid): entry.seq for entry in log}
        assert len(places) == len(log)
        for sender in senders:
            if sender._conv == conv:
                assert all(places[sender._name, cid] == seq for cid, seq in sender.acked)


@pytest.mark.process
@pytest.mark.timeout(180)
async def test_nothing_is_lost_when_primaries_step_down_die_and_stand_still(
    three: MongoSet, nodes: list[MongoStore], rng: random.Random
) -> None:
    senders = senders_of(nodes)
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.run())
        await until_all_sent(senders, CALM_EVENTS)

        await asyncio.to_thread(three.step_down, 3)
        await until_all_sent(senders, CALM_EVENTS)

        killed = await asyncio.to_thread(three.wait_for_primary)
        await asyncio.to_thread(three.kill, killed)
        await until_all_sent(senders, CALM_EVENTS)
        await asyncio.to_thread(three.start_member, killed)

        paused = await asyncio.to_thread(three.wait_for_primary)
        three.pause(paused)
        await until_all_sent(senders, CALM_EVENTS)
        three.resume(paused)
        await until_all_sent(senders, CALM_EVENTS)
        for sender in senders:
            sender.stopping = True
    assert sum(node.counts.overtaken for node in nodes) > 0
    for node in nodes:
        await assert_all_kept(node, senders)


@pytest.mark.process
async def test_members_are_what_the_log_says_after_a_kill_of_the_primary(
    three: MongoSet, nodes: list[MongoStore]
) -> None:
    one, other = nodes
    changes = [added("a", R2), added("b", R3), removed("c", R2), event("m")]
    killed: int | None = None
    for change in changes:
        if change.cid == "c":
            killed = await asyncio.to_thread(three.wait_for_primary)
            await asyncio.to_thread(three.kill, killed)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    [outcome] = await one.append([change])
                except StoreUnavailable:
                    continue
                if isinstance(outcome, Stored):
                    break
    assert killed is not None
    await asyncio.to_thread(three.start_member, killed)
    record = await other.conversation(change.conv)
    assert record is not None and set(record.members) == {R1, R3}
    assert await other.memberships(R2, MAIN) == []


@pytest.mark.process
async def test_a_call_that_waits_at_a_primary_which_has_had_a_successor_is_given_up(
    three: MongoSet,
) -> None:
    old = await asyncio.to_thread(three.wait_for_primary)
    database = await Database.open(three.url())
    waits = {"blockConnection": True, "blockTimeMS": 1_000 * FOREVER_S}
    await asyncio.to_thread(three.fail, ["find"], **waits)

    async def wait_at_the_old_one() -> None:
        async with database.session(FOREVER_S) as session:
            await database.meta.find_one({"_id": "store"}, session=session)

    try:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            waiting = group.create_task(_raised(wait_at_the_old_one()))
            while not await asyncio.to_thread(three.is_asked, old, "find", "meta"):
                await asyncio.sleep(0.05)
            await asyncio.to_thread(three.step_down, 5)
        assert "another primary was elected" in str(waiting.result())
        async with database.session() as session:
            assert await database.meta.find_one({"_id": "store"}, session=session)
    finally:
        await database.aclose()


@pytest.mark.process
async def test_an_insert_that_is_given_up_so_is_looked_for(
    three: MongoSet, nodes: list[MongoStore]
) -> None:
    one, _ = nodes
    old = await asyncio.to_thread(three.wait_for_primary)
    waits = {"blockConnection": True, "blockTimeMS": 1_000 * FOREVER_S}
    await asyncio.to_thread(three.fail, ["insert"], **waits)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        appending = group.create_task(one.append([event("given up", sender=R2)]))
        while not await asyncio.to_thread(three.is_asked, old, "insert", "events"):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(three.step_down, 5)
    [outcome] = appending.result()
    assert isinstance(outcome, Stored) and not outcome.dup
    assert one.counts.unknown == 1


async def _raised(work: Awaitable[None]) -> BaseException | None:
    try:
        await work
    except StoreUnavailable as exc:
        return exc
    return None
