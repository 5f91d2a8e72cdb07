"""What only a store on MongoDB can suffer: answers that do not come, and nodes that append beside it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from imserver.core.acts import Act, ActKind
from imserver.core.errors import Refusal, StoreTooNew, StoreUnavailable
from imserver.core.model import (
    Boot,
    Enrolment,
    Halted,
    Missing,
    Outcome,
    RobotRecord,
    Stored,
)
from imserver.data.mongo.store import MongoStore
from imserver.protocol.events import Role
from imserver.protocol.names import RobotName
from tests.contract.records import (
    DOCK,
    LINE,
    MAIN,
    R1,
    R2,
    added,
    created,
    cursor,
    deleted,
    enrolment,
    event,
    events,
    members,
    robot,
    seqs,
    store_all,
    stored,
    whole_log,
)
from tests.mongo_server import MongoSet
from tests.until import PATIENCE_S

LOST_ANSWERS = {
    "the connection breaks before": {"closeConnection": True},
    "nobody confirms in time": {"writeConcernError": {"code": 64, "errmsg": "waiting timed out"}},
    "the primary steps down before": {"errorCode": 10107},
}


@pytest.fixture
def url(mongo_set: MongoSet) -> str:
    url = mongo_set.url("faults")
    mongo_set.empty(url)
    return url


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[tuple[MongoStore, MongoStore]]:
    """Two stores on one database, as two nodes have them."""
    one, other = await MongoStore.open(url), await MongoStore.open(url)
    yield one, other
    await one.aclose()
    await other.aclose()


def is_new(outcome: Outcome) -> bool:
    return isinstance(outcome, Stored) and not outcome.dup


class TestLostAnswers:
    """An insert whose outcome is unknown is looked for, and told as what it is."""

    @pytest.mark.parametrize("how", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
    @pytest.mark.parametrize("times", [1, 3])
    async def test_events_are_stored_once_and_told_as_stored(
        self, mongo_set: MongoSet, nodes, how: dict[str, Any], times: int
    ) -> None:
        one, _ = nodes
        await one.append([created()])
        mongo_set.fail(["insert"], times=times, **how)
        outcomes = await one.append(events(20))
        assert all(map(is_new, outcomes))
        assert seqs(outcomes) == seqs(await whole_log(one))[1:] == list(range(2, 22))
        assert one.counts.unknown >= 1

    @pytest.mark.parametrize("how", LOST_ANSWERS.values(), ids=LOST_ANSWERS.keys())
    async def test_a_change_of_members_counts_once(
        self, mongo_set: MongoSet, nodes, how: dict[str, Any]
    ) -> None:
        one, other = nodes
        await one.append([created()])
        for command in ("insert", "update"):
            mongo_set.fail([command], times=2, **how)
            outcomes = await one.append([added(command, R2), event(f"after {command}")])
            assert all(map(is_new, outcomes))
        assert await members(other) == {R1: (Role.OWNER, 1), R2: (Role.MEMBER, 2)}
        assert len(await other.memberships(R2, MAIN)) == 1

    async def test_a_robot_is_registered_once(self, mongo_set: MongoSet, nodes) -> None:
        one, other = nodes
        how = {"writeConcernError": {"code": 64, "errmsg": "waiting timed out"}}
        mongo_set.fail(["insert"], **how)
        assert await one.register(robot("r1"), enrolment=enrolment("t")) == robot("r1")
        with pytest.raises(Refusal):
            await other.register(robot("r2"), enrolment=enrolment("t"))

    async def test_who_moves_cursors_is_told_that_they_could_not_be_written(
        self, mongo_set: MongoSet, nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, _ = nodes
        await one.append([created()])
        monkeypatch.setattr("imserver.data.mongo.database.WRITE_TIMEOUT_S", 0.2)
        mongo_set.fail(["update"], times=1_000, errorCode=20, namespace="faults.cursors")
        with pytest.raises(StoreUnavailable):
            await one.move_cursors([cursor(1)])
        mongo_set.fail(["update"], times=0)
        assert await one.acked(DOCK) == {}
        await one.move_cursors([cursor(1), cursor(1, robot=R2)])
        assert await one.acked(DOCK) == {R1: 1, R2: 1}

    async def test_events_do_not_wait_for_cursors_that_cannot_be_written(
        self, mongo_set: MongoSet, nodes
    ) -> None:
        one, _ = nodes
        await one.append([created()])
        mongo_set.fail(["update"], times=1_000, errorCode=20, namespace="faults.cursors")
        moving = asyncio.create_task(one.move_cursors([cursor(1)]))
        await asyncio.sleep(0)
        assert all(map(is_new, await one.append([event("m")])))
        assert not moving.done()
        mongo_set.fail(["update"], times=0)
        await moving
        assert await one.acked(DOCK) == {R1: 1}


class TestOneMessage:
    """A batch goes to MongoDB in one message, and the answer tells how far it was stored."""

    async def test_calls_whose_bodies_are_too_large_for_one_go_in_several(self, nodes) -> None:
        one, _ = nodes
        await one.append([created()])
        size = 3_500_000
        body = b"\xc6" + size.to_bytes(4, "big") + bytes(size)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.append([event(f"m{n}", body=body)])) for n in range(6)]
        assert sorted(seq for task in tasks for seq in seqs(task.result())) == list(range(2, 8))

    async def test_a_cid_that_the_answer_quotes_in_part_is_known_again(self, nodes) -> None:
        one, _ = nodes
        await one.append([created()])
        cids = ["x" * n + "\N{ROBOT FACE}" * 60 for n in range(4)]
        for cid in cids:
            await one.append([event(cid)])
        again = [stored((await one.append([event(cid)]))[0]) for cid in cids]
        assert [outcome.dup for outcome in again] == [True] * 4
        assert (one.counts.repeated, one.counts.unknown) == (4, 0)


class TestTwoNodes:
    """Nodes that append to one conversation make one log."""

    async def test_appends_at_the_same_time_make_one_order_without_a_gap(self, nodes) -> None:
        await nodes[0].append([created()])

        async def send(node: MongoStore, name: str) -> list[int]:
            own: list[int] = []
            for number in range(30):
                own += seqs(await node.append(events(5, prefix=f"{name}-{number}-")))
            return own

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(send(node, str(n))) for n, node in enumerate(nodes)]
        given = [task.result() for task in tasks]
        assert all(own == sorted(own) for own in given)
        assert sorted(given[0] + given[1]) == list(range(2, 302))
        assert seqs(await whole_log(nodes[0])) == list(range(1, 302))
        assert nodes[0].counts.overtaken + nodes[1].counts.overtaken > 0

    async def test_who_hears_of_the_others_appends_is_not_overtaken_by_them(self, nodes) -> None:
        await nodes[0].append([created()])
        told: list[str] = []
        for number in range(10):
            node, other = nodes[number % 2], nodes[1 - number % 2]
            node.on_overtaken = told.append
            [outcome] = await node.append([event(f"m{number}")])
            other.note_head(DOCK, outcome.event.seq)
        assert [node.counts.overtaken for node in nodes] == [0, 0]
        assert told == []
        await nodes[0].append([event("unheard of")])
        await nodes[1].append([event("late")])
        assert [node.counts.overtaken for node in nodes] == [0, 1]
        assert told == [DOCK]

    async def test_a_head_that_is_not_true_leaves_no_gap(self, nodes) -> None:
        one, _ = nodes
        await one.append([created()])
        for seq in (2, 100, 1, 2**50):
            one.note_head(DOCK, seq)
            await one.append(events(2, prefix=f"{seq}-"))
        one.note_head(LINE, 7)
        await one.append([event("first", LINE)])
        assert seqs(await whole_log(one)) == list(range(1, 10))
        assert seqs(await whole_log(one, LINE)) == [1]

    async def test_the_same_send_through_both_is_stored_once(self, nodes) -> None:
        await nodes[0].append([created()])
        for number in range(20):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(node.append([event(f"c{number}")])) for node in nodes]
            [one], [other] = (task.result() for task in tasks)
            assert stored(one).event == stored(other).event
            assert stored(one).dup != stored(other).dup
        assert seqs(await whole_log(nodes[0])) == list(range(1, 22))

    async def test_who_begins_a_direct_line_second_sends_in_order(self, nodes) -> None:
        one, other = nodes
        await one.append([event("hello", LINE, sender=R2)])
        first, second = (replace(event(cid, LINE), known=n) for n, cid in enumerate("ab"))
        assert seqs(await other.append([first, second])) == [2, 3]

    async def test_of_two_that_make_a_group_one_does(self, nodes) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(node.append([created(), *events(3, prefix=str(n))]))
                for n, node in enumerate(nodes)
            ]
        first = [task.result()[0] for task in tasks]
        assert sorted(stored(outcome).dup for outcome in first) == [False, True]
        assert seqs(await whole_log(nodes[0])) == list(range(1, 8))

    async def test_a_node_that_slept_while_a_group_ended_learns_it(self, nodes) -> None:
        asleep, awake = nodes
        await asleep.append([created(), event("m")])
        await awake.append([deleted("end")])
        assert await asleep.append([event("late"), event("m")]) == [
            Missing(),
            *await asleep.append([event("m")]),
        ]

    async def test_a_place_that_retention_freed_is_not_taken_again(self, nodes) -> None:
        asleep, awake = nodes
        await store_all(asleep, events(2, LINE))
        await store_all(asleep, [event("third", LINE)])
        await store_all(awake, events(40, LINE, prefix="later"))
        assert await awake.trim(LINE, 30, limit=1_000) == 30
        first, second = await asleep.append([event("a", LINE), event("b", LINE)])
        assert (stored(first).event.seq, stored(second).event.seq) == (44, 45)
        assert not stored(first).dup
        assert seqs(await whole_log(awake, LINE)) == list(range(30, 46))
        assert asleep.counts.taken_back == 2

    async def test_what_landed_below_the_floor_unseen_is_stored_anew(self, url: str, nodes) -> None:
        """As when a node dies between its insert and its look at the fence."""
        one, other = nodes
        await store_all(one, events(40, LINE))
        await one.trim(LINE, 30, limit=1_000)
        with MongoClient[Any](url) as client:
            kept = client.get_default_database().events
            row = kept.find_one({"_id": {"c": LINE, "s": 35}})
            assert row is not None
            kept.insert_one(row | {"_id": {"c": LINE, "s": 7}, "cid": "new"})
        assert seqs(await whole_log(other, LINE)) == list(range(30, 41))
        outcome = stored((await other.append([event("new", LINE)]))[0])
        assert (outcome.dup, outcome.event.seq) == (False, 41)
        assert seqs(await whole_log(other, LINE)) == list(range(30, 42))

    async def test_a_change_that_a_dead_node_left_is_done_by_whoever_reads(
        self, mongo_set: MongoSet, nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dying, other = nodes
        await dying.append([created(members=["r3"])])
        monkeypatch.setattr(dying._records, "catch_up", _nothing)
        await dying.append([added("a", R2, role=Role.ADMIN), added("b", R2)])
        [membership] = await other.memberships(R2, MAIN)
        assert (membership.role, membership.since, membership.head) == (Role.MEMBER, 2, 3)
        assert set(await members(other)) == {R1, R2, RobotName("r3")}

    async def test_a_group_that_a_dead_node_made_is_there(
        self, nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dying, other = nodes
        monkeypatch.setattr(dying._records, "catch_up", _nothing)
        await dying.append([created(members=["r2"])])
        assert [item.conv for item in await other.memberships(R2, MAIN)] == [DOCK]
        assert [item.conv for item in await other.groups(member=None, after="", limit=9)] == [DOCK]
        assert seqs(await other.append([event("m")])) == [2]

    async def test_a_halt_reaches_the_other_nodes(self, nodes) -> None:
        doubtful, other = nodes
        await store_all(other, events(5, LINE))
        doubtful.pulse.is_behind = True
        assert await doubtful.note_loss(LINE, 9)
        assert await doubtful.append([event("x", LINE)]) == [Halted(9)]
        await other.append([event("y", LINE)])
        assert await other.append([event("z", LINE)]) == [Halted(9)]

    async def test_one_of_two_registrations_with_one_token_is_refused(self, nodes) -> None:
        for number in range(10):
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_registered(node, f"r{number}-{n}", f"t{number}"))
                    for n, node in enumerate(nodes)
                ]
            assert sorted(task.result() for task in tasks) == [False, True]


class TestOpening:
    """A store that is made, or cannot be."""

    async def test_nodes_that_open_a_new_database_at_once_agree(self, mongo_set: MongoSet) -> None:
        url = mongo_set.url()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(MongoStore.open(url)) for _ in range(5)]
        nodes = [task.result() for task in tasks]
        assert len({node._database.epoch for node in nodes}) == 1
        for node in nodes:
            await node.aclose()

    async def test_a_newer_schema_is_refused(self, url: str, nodes) -> None:
        with MongoClient[Any](url) as client:
            client.get_default_database().meta.update_one(
                {"_id": "store"}, {"$set": {"schema": 99}}
            )
        with pytest.raises(StoreTooNew, match="schema 99"):
            await MongoStore.open(url)

    async def test_a_url_that_is_none_is_refused(self) -> None:
        with pytest.raises(StoreUnavailable, match="no URL of a MongoDB"):
            await MongoStore.open("mongodb://[nonsense")

    async def test_without_a_server_writes_are_definitely_refused(
        self, nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, _ = nodes
        await one.aclose()
        with pytest.raises(StoreUnavailable):
            await one.append([event("m", LINE)])


async def _nothing(*_: Any) -> None:
    """Do nothing, as the dead do."""


async def _registered(node: MongoStore, name: str, token: str) -> bool:
    try:
        await node.register(robot(name), enrolment=enrolment(token))
    except Refusal:
        return False
    return True


async def test_a_node_that_dies_in_the_middle_of_a_transaction_holds_nobody_up_for_long(
    url: str, nodes: tuple[MongoStore, MongoStore]
) -> None:
    one, _ = nodes
    act = Act("a1", 1, "boss", ActKind.CLONE_SEEN)
    await one.administration.perform([act])
    with MongoClient[Any](url, appname="imserver") as dead, dead.start_session() as session:
        session.start_transaction()
        meta = dead.get_default_database().meta
        meta.update_one({"_id": "acts"}, {"$inc": {"n": 1}}, session=session)
        async with asyncio.timeout(PATIENCE_S):  # MongoDB itself would end it after a minute
            await one.administration.perform([replace(act, id="a2")])
        with pytest.raises(OperationFailure):
            session.commit_transaction()
    assert [act.number for act in await one.administration.acts(before=None, limit=9)] == [2, 1]


async def test_what_waits_for_a_dead_nodes_transaction_goes_on_when_another_node_has_ended_it(
    url: str, nodes: tuple[MongoStore, MongoStore]
) -> None:
    one, other = nodes
    await one.boots.note_boot(R1, MAIN, Boot(1, "i"))
    watching = asyncio.create_task(other.abandoned.run())
    with MongoClient[Any](url, appname="imserver") as dead, dead.start_session() as session:
        session.start_transaction()
        boots = dead.get_default_database().boots
        boots.update_one({"_id": R1}, {"$set": {"seen": 1}}, session=session)
        async with asyncio.timeout(PATIENCE_S):  # MongoDB itself would end it after a minute
            await one.boots.note_boot(R1, MAIN, Boot(2, "i"))
        with pytest.raises(OperationFailure):
            session.commit_transaction()
    watching.cancel()
    assert await one.boots.last_boot(R1, MAIN) == Boot(2, "i")


async def test_a_database_that_does_not_tell_of_transactions_holds_nobody_up(
    mongo_set: MongoSet, nodes: tuple[MongoStore, MongoStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imserver.data.mongo.abandoned.ANSWER_S", 0.1)
    mongo_set.fail(["aggregate"], blockConnection=True, blockTimeMS=60_000)
    async with asyncio.timeout(PATIENCE_S):
        await nodes[0].abandoned.end()


async def test_of_robots_that_race_with_one_token_on_several_nodes_one_is_told_that_it_is_registered(
    nodes: tuple[MongoStore, MongoStore],
) -> None:
    async def told(store: MongoStore, record: RobotRecord, token: Enrolment) -> bytes | None:
        try:
            await store.register(record, enrolment=token)
        except Refusal:
            return None
        return record.public_key

    for number in range(5):
        name, token = f"r{number}", enrolment(f"t{number}")
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(told(nodes[n % 2], robot(name, key=bytes([n] * 32)), token))
                for n in range(8)
            ]
        [key] = [task.result() for task in tasks if task.result() is not None]
        registered = await nodes[0].robot(RobotName(name))
        assert registered is not None and registered.public_key == key
