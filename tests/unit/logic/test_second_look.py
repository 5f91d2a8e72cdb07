"""What is sent while another node changes the members is judged again, and keeps its order."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from imserver.core.errors import Refusal, StoreUnavailable
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Error, Sent
from tests.unit.logic.two_nodes import TwoNodes

CONV = ConversationName("g/a")


@pytest.fixture
async def nodes() -> AsyncIterator[TwoNodes]:
    async with TwoNodes() as nodes:
        yield nodes
        await nodes.settle()
        assert len(nodes.two.sending._second) == 0, "nothing is kept of what is done"


@pytest.fixture
async def owner(nodes: TwoNodes) -> Session:
    await nodes.one.group("a", "r1", "r2")
    return await nodes.one.session("r1")


@pytest.fixture
async def sender(nodes: TwoNodes, owner: Session) -> Session:
    sender = await nodes.two.session("r2")
    await nodes.settle()
    return sender


async def change_unheard(nodes: TwoNodes, owner: Session, new: str) -> None:
    nodes.bus.is_cut = True
    await nodes.one.store.enlist(new)
    await nodes.one.groups.add(owner, CONV, [new], role=Role.MEMBER)


async def stored(nodes: TwoNodes) -> list[str]:
    """Return the cids of what the sender has in the log, in its order."""
    events = await nodes.store.read_after(CONV, 0, limit=1_000, bytes_max=1_000_000)
    return [event.cid for event in events if event.sender == "r2"]


def begin(nodes: TwoNodes, sender: Session, cid: str, **fields: object) -> asyncio.Task[Sent]:
    return nodes.two.spawn(nodes.two.try_send(sender, CONV, cid=cid, **fields), cid)


async def test_what_was_judged_by_old_members_is_stored_all_the_same(nodes, owner, sender):
    await change_unheard(nodes, owner, "r3")
    assert (await nodes.two.send(sender, CONV)).seq == 3


async def test_what_is_sent_after_the_change_was_heard_does_not_overtake(nodes, owner, sender):
    await change_unheard(nodes, owner, "r3")
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, "first")]
    await nodes.settle()
    nodes.bus.heal()
    await nodes.settle()
    assert nodes.two.conversations.known(CONV).head == 2
    sends.append(begin(nodes, sender, "second"))
    await nodes.settle()
    nodes.store.commits.open()
    await asyncio.gather(*sends)
    assert await stored(nodes) == ["first", "second"]


async def test_what_asks_the_store_first_does_not_overtake_what_waits(nodes, owner, sender):
    await nodes.two.send(sender, CONV, cid="zeroth")
    await change_unheard(nodes, owner, "r3")
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, "first")]
    await nodes.settle()
    nodes.store.commits.open()
    nodes.store.commits.shut = True
    sends.append(begin(nodes, sender, "second", kind="edit", ref=2))
    await nodes.settle()
    nodes.store.commits.open()
    await asyncio.gather(*sends)
    assert await stored(nodes) == ["zeroth", "first", "second"]


async def test_order_is_kept_through_many_changes(nodes, owner, sender, rng: random.Random):
    sends = []
    for number in range(120):
        if rng.random() < 0.1:
            nodes.store.commits.open()
            await change_unheard(nodes, owner, f"n{number}")
        if rng.random() < 0.3:
            nodes.bus.heal()
        nodes.store.commits.shut = rng.random() < 0.5
        sends.append(begin(nodes, sender, f"{number:03}"))
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        if len(nodes.store.commits):
            nodes.store.commits.open()
    nodes.store.commits.open()
    answers = await asyncio.gather(*sends)
    assert all(isinstance(answer, Sent) for answer in answers)
    assert await stored(nodes) == [f"{number:03}" for number in range(120)]


async def test_of_many_that_one_change_outdated_only_the_first_asks(nodes, owner, sender):
    await change_unheard(nodes, owner, "r3")
    nodes.store.heads_asked = 0
    sends = [begin(nodes, sender, f"{number:02}") for number in range(50)]
    await asyncio.gather(*sends)
    assert await stored(nodes) == [f"{number:02}" for number in range(50)]
    assert nodes.store.heads_asked == 1


async def test_more_than_may_wait_is_refused_for_now(nodes, owner, sender, monkeypatch):
    monkeypatch.setattr("imserver.logic.second_look.WAITING_MAX", 1)
    await change_unheard(nodes, owner, "r3")
    sends = [begin(nodes, sender, cid) for cid in ("first", "second")]
    while not nodes.two.sending._second.is_full:
        await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await nodes.two.try_send(sender, CONV, cid="third")
    assert refused.value.code == ErrorCode.UNAVAILABLE
    await asyncio.gather(*sends)
    assert await stored(nodes) == ["first", "second"], "of what was accepted nothing is refused"


async def test_of_a_store_that_does_not_answer_its_sender_is_not_told_where_it_is(
    nodes, owner, sender
):
    await change_unheard(nodes, owner, "r3")
    nodes.store.reads_fail.append(StoreUnavailable("no answer of db1.example:27017"))
    answer = await nodes.two.try_send(sender, CONV, cid="first")
    assert isinstance(answer, Error) and answer.code == ErrorCode.UNAVAILABLE
    assert "db1" not in answer.message and "same cid" in answer.message


async def test_who_was_removed_unheard_is_refused(nodes, owner, sender):
    nodes.bus.is_cut = True
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    answer = await nodes.two.try_send(sender, CONV)
    assert isinstance(answer, Error) and answer.code == ErrorCode.NOT_FOUND


async def test_who_was_given_the_right_to_send_unheard_may_send(nodes, owner, sender):
    await nodes.one.groups.set_role(owner, CONV, "r2", role=Role.OBSERVER)
    await nodes.settle()
    nodes.bus.is_cut = True
    await nodes.one.groups.set_role(owner, CONV, "r2", role=Role.MEMBER)
    assert isinstance(await nodes.two.try_send(sender, CONV), Sent)
