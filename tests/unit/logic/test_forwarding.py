"""What another node is asked to append is stored once and in order, whatever becomes of the asking."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from imserver.core.errors import Refusal, StoreUnavailable
from imserver.core.rendezvous import preferred
from imserver.core.route_settings import Forward
from imserver.logic.appenders import AVOIDED_S_MAX, CONTENDED_S
from imserver.logic.handed_on import answer_of, question_of
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Error, Sent
from tests.unit.logic.logic_tier import peer_of, plain
from tests.unit.logic.two_nodes import TwoNodes

GROUP = next(name for name in "abcdefgh" if preferred(f"g/{name}", ["one", "two"]) == "one")
"""A group that node ``one`` is preferred for."""
CONV = ConversationName(f"g/{GROUP}")


@pytest.fixture
def forward() -> Forward:
    return "always"


@pytest.fixture
async def nodes(forward: Forward) -> AsyncIterator[TwoNodes]:
    async with TwoNodes(forward=forward) as nodes:
        yield nodes
        nodes.store.open_all()
        await nodes.settle()
        for appending in nodes.appending:
            assert len(appending.forwarding) == 0, "no lane is left"
            assert appending.forwarding._bytes == appending.service._bytes == 0
            assert not appending.forwarding._here
        assert len(nodes.two.sending._second) == 0


@pytest.fixture
async def owner(nodes: TwoNodes) -> Session:
    await nodes.one.group(GROUP, "r1", "r2")
    return await nodes.one.session("r1")


@pytest.fixture
async def sender(nodes: TwoNodes, owner: Session) -> Session:
    sender = await nodes.two.session("r2")
    await nodes.settle()
    return sender


def begin(nodes: TwoNodes, sender: Session, cid: str, **fields: object) -> asyncio.Task[Sent]:
    return nodes.two.spawn(nodes.two.try_send(sender, CONV, cid=cid, **fields), cid)


async def all_sent(*sends: asyncio.Task[Sent]) -> list[Sent]:
    answers = [await send for send in sends]
    assert all(isinstance(answer, Sent) for answer in answers), answers
    return answers


async def stored(nodes: TwoNodes) -> list[str]:
    """Return the cids of what the sender has in the log, in its order."""
    events = await nodes.store.read_after(CONV, 0, limit=1_000, bytes_max=1_000_000)
    return [event.cid for event in events if event.sender == "r2"]


def count(nodes: TwoNodes, name: str, *, node: str = "two") -> int:
    registry = (nodes.one if node == "one" else nodes.two).registry
    value = registry.get_sample_value(f"imserver_appends_{name}_total")
    assert value is not None
    return int(value)


async def test_the_preferred_node_appends_what_another_is_sent(nodes, owner, sender):
    sent = await nodes.two.send(sender, CONV, cid="a")
    await nodes.settle()
    assert (sent.seq, sent.dup) == (2, False)
    assert (count(nodes, "forwarded"), count(nodes, "served", node="one")) == (1, 1)
    assert peer_of(owner).seqs(CONV) == peer_of(sender).seqs(CONV) == [1, 2]
    again = await nodes.two.send(sender, CONV, cid="a")
    assert (again.seq, again.dup, again.ts) == (2, True, sent.ts)


async def test_the_preferred_node_asks_nobody(nodes, owner, sender):
    await nodes.one.send(owner, CONV)
    assert nodes.mail.asked == 0


async def test_what_comes_while_a_chunk_is_away_goes_with_the_next(nodes, owner, sender):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, f"{number:03}") for number in range(100)]
    await nodes.settle()
    assert nodes.mail.asked == 1
    nodes.store.commits.open()
    await all_sent(*sends)
    assert nodes.mail.asked < 10
    assert await stored(nodes) == [f"{number:03}" for number in range(100)]


@pytest.mark.parametrize("forward", ["contended"])
async def test_what_this_node_appends_itself_is_not_overtaken_by_what_it_hands_on_later(
    nodes, owner, sender
):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, "in a commit")]
    await nodes.settle()
    sends.append(begin(nodes, sender, "for the next"))
    await nodes.settle()
    nodes.store.on_overtaken(CONV)  # as node two set it last, it is the one that is told
    sends.append(begin(nodes, sender, "handed on"))
    await nodes.settle()
    nodes.store.commits.open()
    await all_sent(*sends)
    assert count(nodes, "forwarded") == 1
    assert await stored(nodes) == ["in a commit", "for the next", "handed on"]


@pytest.mark.parametrize("forward", ["contended"])
async def test_without_contention_nothing_is_handed_on(nodes, owner, sender):
    await nodes.two.send(sender, CONV)
    assert nodes.mail.asked == 0
    nodes.store.on_overtaken(CONV)
    await nodes.two.send(sender, CONV)
    assert nodes.mail.asked == 1
    nodes.two.clock.s += CONTENDED_S
    await nodes.two.send(sender, CONV)
    assert nodes.mail.asked == 1


async def test_a_question_that_is_lost_is_answered_here(nodes, owner, sender):
    nodes.mail.loses_questions = True
    sends = [begin(nodes, sender, f"{number}") for number in range(5)]
    answers = await all_sent(*sends)
    assert [answer.dup for answer in answers] == [False] * 5
    assert await stored(nodes) == ["0", "1", "2", "3", "4"]
    assert count(nodes, "fallen_back") > 0
    assert count(nodes, "served", node="one") == 0


async def test_an_answer_that_is_lost_doubles_nothing_and_is_no_repetition(nodes, owner, sender):
    nodes.mail.loses_answers = True
    [sent] = await all_sent(begin(nodes, sender, "a"))
    await nodes.settle()
    assert await stored(nodes) == ["a"]
    assert (sent.seq, sent.dup) == (2, False), "its sender sent it once"
    assert count(nodes, "served", node="one") == 1


async def test_what_was_stored_by_a_node_that_told_nobody_is_told_by_who_finds_it(
    nodes, owner, sender
):
    nodes.mail.loses_answers = True
    nodes.one.committer.publish = lambda _run: None  # it dies between the commit and the hint
    await all_sent(begin(nodes, sender, "a"))
    await nodes.settle()
    assert peer_of(sender).seqs(CONV) == peer_of(owner).seqs(CONV) == [1, 2]


async def test_a_node_that_wakes_up_late_appends_nothing_new(nodes, owner, sender):
    nodes.mail.holds = True
    sends = [begin(nodes, sender, f"{number}") for number in range(5)]
    answers = await all_sent(*sends)
    after = await nodes.two.send(sender, CONV, cid="after")
    nodes.mail.deliver_held()
    await nodes.settle()
    assert await stored(nodes) == ["0", "1", "2", "3", "4", "after"]
    assert [*(answer.seq for answer in answers), after.seq] == [2, 3, 4, 5, 6, 7]


async def test_who_was_removed_meanwhile_gets_nothing_in_by_a_node_that_wakes_up_late(
    nodes, owner, sender
):
    nodes.mail.holds = nodes.bus.is_cut = False
    nodes.store.commits.shut = True
    nodes.mail.holds = True
    send = begin(nodes, sender, "late")
    await nodes.settle()
    removing = nodes.one.spawn(nodes.one.groups.remove(owner, CONV, ["r2"]), "removing")
    nodes.store.commits.open()
    await removing
    answer = await send
    nodes.mail.deliver_held()
    await nodes.settle()
    cids = await stored(nodes)
    assert cids == (["late"] if isinstance(answer, Sent) else [])


async def test_after_a_change_of_members_that_was_not_heard_of_it_is_judged_again(
    nodes, owner, sender
):
    nodes.bus.mute.add(nodes.bus.routers[0])
    await nodes.one.store.enlist("r3")
    await nodes.one.groups.add(owner, CONV, ["r3"], role=Role.MEMBER)
    sends = [begin(nodes, sender, f"{number}") for number in range(3)]
    await all_sent(*sends)
    assert await stored(nodes) == ["0", "1", "2"]


async def test_who_was_removed_unheard_is_refused(nodes, owner, sender):
    nodes.bus.mute.add(nodes.bus.routers[0])
    await nodes.one.groups.remove(owner, CONV, ["r2"])
    answer = await begin(nodes, sender, "a")
    assert isinstance(answer, Error) and answer.code is ErrorCode.NOT_FOUND
    assert await stored(nodes) == []


async def test_a_cid_of_another_event_is_refused(nodes, owner, sender):
    await nodes.two.send(sender, CONV, "one thing", cid="a")
    answer = await begin(nodes, sender, "a", body="another")
    assert isinstance(answer, Error) and answer.code is ErrorCode.CONFLICT


async def test_a_robot_that_leaves_has_said_first_what_it_said_before(nodes, owner, sender):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, f"{number}") for number in range(3)]
    await nodes.settle()
    leaving = nodes.two.spawn(nodes.two.groups.leave(sender, CONV), "leaving")
    await nodes.settle()
    nodes.store.commits.open()
    answers = await all_sent(*sends)
    assert (await leaving).seq > max(answer.seq for answer in answers)
    record = await nodes.store.conversation(CONV)
    assert record is not None and list(record.members) == ["r1"]


async def test_a_store_that_the_preferred_node_cannot_reach_is_written_to_by_the_other(
    nodes, owner, sender
):
    nodes.store.fails.append(StoreUnavailable("not from there"))
    [sent] = await all_sent(begin(nodes, sender, "a"))
    assert sent.seq == 2 and not sent.dup
    assert count(nodes, "fallen_back") == 1


async def test_a_question_that_nobody_can_read_is_declined(nodes):
    answers: list[bytes] = []
    nodes.appending[0].service.on_asked(b"\xc1 of another version", answers.append)
    assert answers == [b"\x90"]


async def test_large_bodies_are_appended_here_in_their_place(nodes, owner, sender):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, "first"), begin(nodes, sender, "large", body="x" * 50_000)]
    sends.append(begin(nodes, sender, "last"))
    await nodes.settle()
    nodes.store.commits.open()
    await all_sent(*sends)
    assert await stored(nodes) == ["first", "large", "last"]
    assert count(nodes, "forwarded") == 1, "the first; the others went together"


async def test_a_direct_line_begins_where_its_first_event_came_in(nodes, owner, sender):
    line = next(
        conv
        for number in range(20)
        if preferred(conv := f"d/r2/s{number}", ["one", "two"]) == "one"
    )
    other = await nodes.two.session(line.rpartition("/")[2])
    await nodes.two.send(sender, line)
    await nodes.settle()
    assert nodes.mail.asked == 0
    await nodes.two.send(sender, line)
    await nodes.settle()
    assert nodes.mail.asked == 1
    assert peer_of(other).seqs(line) == [1, 2]


async def test_lanes_hold_no_more_than_their_share_and_refuse_who_floods(nodes, owner, sender):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, f"{number:03}", body="x" * 5_000) for number in range(100)]
    await nodes.settle()
    small = await nodes.two.session("r9")
    assert nodes.appending[1].forwarding._bytes <= 250_000
    nodes.store.commits.open()
    answers = [await send for send in sends]
    refused = [answer for answer in answers if isinstance(answer, Error)]
    assert refused and all(answer.code is ErrorCode.UNAVAILABLE for answer in refused)
    assert len(await stored(nodes)) == len(answers) - len(refused)
    assert small.robot == "r9"


async def test_a_node_that_drains_settles_its_lanes_and_declines(nodes, owner, sender):
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, f"{number}") for number in range(3)]
    await nodes.settle()
    draining = [nodes.one.spawn(each.drain(), "drain") for each in nodes.appending]
    await nodes.settle()
    assert not any(task.done() for task in draining)
    sends.append(begin(nodes, sender, "3"))
    await nodes.settle()
    nodes.store.commits.open()
    await all_sent(*sends)
    await asyncio.gather(*draining)
    asked = nodes.mail.asked
    await nodes.two.send(sender, CONV, cid="4")
    assert nodes.mail.asked == asked
    assert await stored(nodes) == ["0", "1", "2", "3", "4"]
    answers: list[bytes] = []
    question = question_of([replace(plain(CONV, "5", sender="r2"), known=1)])
    nodes.appending[0].service.on_asked(question, answers.append)
    await nodes.settle()
    assert answers == [answer_of([])], "it takes nothing from others"


async def test_a_node_that_drains_begins_no_lane_that_its_drain_would_wait_for(
    nodes, owner, sender
):
    forwarding = nodes.appending[1].forwarding
    await forwarding.drain()
    nodes.store.commits.shut = True
    sends = [begin(nodes, sender, f"{number}") for number in range(3)]
    await nodes.settle()
    assert len(forwarding) == 0
    nodes.store.commits.open()
    await all_sent(*sends)
    assert await stored(nodes) == ["0", "1", "2"]


async def test_whatever_is_lost_held_or_changed_each_sender_keeps_its_order(
    nodes, owner, sender, rng: random.Random
):
    second = await nodes.two.session("r2", device="other")
    sends: dict[str, list[tuple[str, asyncio.Task[Sent]]]] = {"a": [], "b": []}
    sessions = {"a": sender, "b": second}
    for number in range(300):
        which = rng.choice("ab")
        cid = f"{which}{number:03}"
        sends[which].append((cid, begin(nodes, sessions[which], cid)))
        if rng.random() < 0.3:
            await disturb(nodes, owner, rng, number)
    nodes.store.open_all()
    nodes.mail.holds = nodes.mail.loses_questions = nodes.mail.loses_answers = False
    nodes.bus.heal()
    answers = {cid: await send for each in sends.values() for cid, send in each}
    nodes.mail.deliver_held()
    await nodes.settle()
    cids = await stored(nodes)
    assert len(set(cids)) == len(cids)
    for each in sends.values():
        acked = [cid for cid, _ in each if isinstance(answers[cid], Sent)]
        assert [cid for cid in cids if cid in set(acked)] == acked
        assert [answers[cid].seq for cid in acked] == sorted(answers[cid].seq for cid in acked)
    assert len(cids) == 300, "nothing was refused"
    assert peer_of(owner).seqs(CONV) == list(range(1, peer_of(owner).seqs(CONV)[-1] + 1))


async def add(nodes: TwoNodes, owner: Session, robot: str) -> None:
    with contextlib.suppress(Refusal):  # of two that come at once, one has to look again
        await nodes.one.groups.add(owner, CONV, [robot], role=Role.MEMBER)


async def disturb(nodes: TwoNodes, owner: Session, rng: random.Random, number: int) -> None:
    mail, commits = nodes.mail, nodes.store.commits
    match rng.randrange(7):
        case 0:
            mail.holds = not mail.holds
        case 1:
            mail.loses_questions = not mail.loses_questions
        case 2:
            mail.loses_answers = not mail.loses_answers
        case 3:
            mail.deliver_held()
        case 4:
            commits.shut = not commits.shut
            if not commits.shut:
                commits.open()
        case 5:
            nodes.two.clock.s += rng.uniform(0, 2 * AVOIDED_S_MAX)
        case 6:
            robot = f"guest-{number}"
            await nodes.store.enlist(robot)
            nodes.one.spawn(add(nodes, owner, robot), "adding")
    for _ in range(rng.randrange(4)):
        await asyncio.sleep(0)
