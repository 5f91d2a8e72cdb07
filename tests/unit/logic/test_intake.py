"""Whatever becomes of the hints of other nodes, readers see the whole log once and in order."""

import random
from collections.abc import Callable, Sequence

import pytest

from imserver.core.errors import StoreCorrupt, StoreUnavailable
from imserver.core.model import Added, Append, Removed, Run, Stored
from imserver.logic.head_watch import HeadWatch
from imserver.logic.membership import body_of
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import MEMBERS_ADDED, MEMBERS_REMOVED, Event, Role
from imserver.protocol.names import ConversationName, RobotName
from imserver.protocol.server_frames import Error, Gap
from tests.unit.logic.logic_tier import LogicTier, peer_of, plain

CONV = ConversationName("g/a")


async def stored_elsewhere(tier: LogicTier, *appends: Append) -> list[Event]:
    """Store events as another node does that shares the store, without a hint of it here."""
    outcomes = await tier.store.append(list(appends))
    return [outcome.event for outcome in outcomes if isinstance(outcome, Stored)]


async def messages_elsewhere(tier: LogicTier, count: int) -> list[Event]:
    number = tier.ids.count = tier.ids.count + 1
    appends = [plain(CONV, f"e{number}-{place}", sender="boss") for place in range(count)]
    return await stored_elsewhere(tier, *appends)


def change(conv: ConversationName, what: Added | Removed) -> Append:
    return Append(
        conv=conv,
        ts=1,
        sender=RobotName("boss"),
        cid=f"@{what.robots}",
        kind=MEMBERS_ADDED if isinstance(what, Added) else MEMBERS_REMOVED,
        body=body_of(what, role_change=False),
        change=what,
    )


async def heads(tier: LogicTier, convs: Sequence[ConversationName]) -> dict[ConversationName, int]:
    records = [await tier.store.conversation(conv) for conv in convs]
    return {record.conv: record.head for record in records if record is not None}


@pytest.fixture
async def reader(tier: LogicTier) -> Session:
    await tier.group("a", "boss", "r1")
    reader = await tier.session("r1")
    await tier.settle()
    return reader


def hint(tier: LogicTier, *events: Event) -> None:
    tier.intake.on_committed(Run(CONV, tier.store._epoch, list(events)))


async def test_hints_of_other_nodes_are_delivered_at_once(tier: LogicTier, reader: Session) -> None:
    events = await messages_elsewhere(tier, 3)
    hint(tier, *events)
    assert peer_of(reader).seqs(CONV) == [1, 2, 3, 4]


async def test_a_lost_hint_is_read_from_the_store(tier: LogicTier, reader: Session) -> None:
    events = await messages_elsewhere(tier, 700)
    hint(tier, events[-1])
    assert peer_of(reader).seqs(CONV) == [1]
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == list(range(1, 702))


async def test_doubled_and_overlapping_hints_are_delivered_once(
    tier: LogicTier, reader: Session
) -> None:
    events = await messages_elsewhere(tier, 4)
    for first, last in ((0, 2), (0, 2), (1, 4), (0, 4)):
        hint(tier, *events[first:last])
    assert peer_of(reader).seqs(CONV) == [1, 2, 3, 4, 5]


async def test_hints_in_any_order_with_losses_bring_every_event_once(
    tier: LogicTier, reader: Session, rng: random.Random
) -> None:
    events = await messages_elsewhere(tier, 60)
    tier.store.pages.shut = True
    for _ in range(40):
        first = rng.randrange(59)
        hint(tier, *events[first : first + rng.randint(1, 5)])
        if rng.random() < 0.3:
            await tier.settle()
            if len(tier.store.pages):
                tier.store.pages.let_one()
    hint(tier, events[-1])
    tier.store.pages.open()
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == list(range(1, 62))


async def test_own_commits_behind_others_wait_for_what_is_between(
    tier: LogicTier, reader: Session
) -> None:
    boss = await tier.session("boss", auto=False)
    await messages_elsewhere(tier, 2)
    tier.store.pages.shut = True
    sent = await tier.send(boss, CONV)
    assert sent.seq == 4
    assert peer_of(reader).seqs(CONV) == [1]
    tier.store.pages.open()
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1, 2, 3, 4]


async def test_membership_that_changed_elsewhere_counts_here(
    tier: LogicTier, reader: Session
) -> None:
    await tier.store.enlist("r2")
    events = await stored_elsewhere(
        tier,
        change(CONV, Added((RobotName("r2"),), Role.MEMBER)),
        change(CONV, Removed((RobotName("r1"),))),
        plain(CONV, "after", sender="boss"),
    )
    new = await tier.session("r2")
    await tier.settle()
    hint(tier, events[-1])
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1, 2, 3], "up to its removal"
    assert peer_of(new).seqs(CONV) == [2, 3, 4], "from the event that added it"


def forget(tier: LogicTier) -> None:
    for _ in range(3):
        tier.conversations.sweep()


async def test_who_was_removed_elsewhere_while_it_came_in_receives_nothing_of_that(
    tier: LogicTier,
) -> None:
    await tier.group("a", "boss", "r1")
    forget(tier)
    tier.store.memberships_read.shut = True
    opening = tier.spawn(tier.session("r1"), "opening")
    await tier.settle()
    gone = await stored_elsewhere(tier, change(CONV, Removed((RobotName("r1"),))))
    await tier.conversations.load(CONV)  # held from here on, with the removal behind it
    tier.store.memberships_read.open()
    session = await opening
    hint(tier, *gone, *await messages_elsewhere(tier, 1))
    await tier.settle()
    assert peer_of(session).seqs(CONV) == []


async def test_what_was_let_go_unseen_is_told_as_a_gap(tier: LogicTier, reader: Session) -> None:
    events = await messages_elsewhere(tier, 9)
    await tier.store.trim(CONV, 8, limit=100)
    hint(tier, events[-1])
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1, 8, 9, 10]
    assert [(gap.from_, gap.to) for gap in peer_of(reader).of(Gap)] == [(2, 7)]


async def test_members_that_were_changed_in_what_was_let_go_unseen_are_changed_here(
    tier: LogicTier, reader: Session
) -> None:
    await tier.store.enlist("r2")
    new = await tier.session("r2")
    await stored_elsewhere(
        tier,
        change(CONV, Added((RobotName("r2"),), Role.MEMBER)),
        change(CONV, Removed((RobotName("r1"),))),
    )
    events = await messages_elsewhere(tier, 9)
    await tier.store.trim(CONV, 10, limit=100)
    hint(tier, events[-1])
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1], "what it had before it was removed"
    assert peer_of(new).seqs(CONV) == [10, 11, 12]


@pytest.mark.parametrize("how", ["load", "session"])
async def test_a_group_that_was_read_before_its_creation_is_published_reaches_its_members(
    tier: LogicTier, how: str
) -> None:
    await tier.store.enlist("boss", "r1", "r2")
    member = await tier.session("r1")
    tier.store.commits.shut = True
    creating = tier.spawn(tier.group("a", "boss", "r1", "r2"), "creating")
    await tier.settle()
    if how == "load":
        await tier.conversations.load(CONV)
    else:
        await tier.session("r2")
    tier.store.commits.open()
    await creating
    await tier.settle()
    assert peer_of(member).seqs(CONV) == [1]


async def test_what_is_held_anew_while_its_log_is_read_is_read_up_to_what_it_was_told(
    tier: LogicTier, reader: Session
) -> None:
    events = await messages_elsewhere(tier, 3)
    tier.store.pages.shut = True
    hint(tier, events[-1])
    await tier.settle()
    tier.sessions.close(reader, "clean")
    forget(tier)
    assert tier.conversations.known(CONV) is None
    again = await tier.session("r1")
    more = await messages_elsewhere(tier, 2)
    hint(tier, more[-1])
    tier.store.pages.open()
    await tier.settle()
    assert peer_of(again).seqs(CONV) == [1, 2, 3, 4, 5, 6]


async def test_a_store_that_cannot_be_read_is_asked_again_with_the_next_hint(
    tier: LogicTier, reader: Session
) -> None:
    events = await messages_elsewhere(tier, 3)
    tier.store.page_fails.append(StoreUnavailable("not now"))
    hint(tier, events[-1])
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1]
    hint(tier, events[-1])
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1, 2, 3, 4]


async def test_readers_of_a_log_that_is_damaged_where_a_hint_points_are_told_so(
    tier: LogicTier, reader: Session
) -> None:
    await tier.group("b", "boss", "r1")
    events = await messages_elsewhere(tier, 3)
    tier.store.page_fails.append(StoreCorrupt("event 2 is missing"))
    hint(tier, events[-1])
    await tier.settle()
    [told] = peer_of(reader).of(Error)
    assert told.code == ErrorCode.UNAVAILABLE
    assert CONV in told.message
    assert CONV not in reader.readers
    assert ConversationName("g/b") in reader.readers


class SharedHeads:
    """A `SharedLog` over the tier's store."""

    def __init__(self, tier: LogicTier) -> None:
        self._tier = tier
        self.asked: list[list[ConversationName]] = []
        self.fails = False
        self.on_overtaken: Callable[[ConversationName], None] = lambda _conv: None

    def note_head(self, conv: ConversationName, seq: int) -> None:
        """Nothing to do: it plans no places."""

    async def heads(self, convs: Sequence[ConversationName]) -> dict[ConversationName, int]:
        self.asked.append(list(convs))
        if self.fails:
            raise StoreUnavailable("not now")
        return await heads(self._tier, convs)


@pytest.fixture
def shared(tier: LogicTier) -> SharedHeads:
    return SharedHeads(tier)


@pytest.fixture
def watch(tier: LogicTier, shared: SharedHeads) -> HeadWatch:
    return HeadWatch(
        shared,
        tier.conversations,
        on_head=tier.intake.on_head,
        sees=lambda: False,
        spawn=tier._spawn_page,
        interval_s=0.01,
        blind_interval_s=0.01,
    )


async def test_what_no_hint_tells_is_found_by_looking(
    tier: LogicTier, reader: Session, watch: HeadWatch
) -> None:
    await messages_elsewhere(tier, 5)
    watch.look_at(CONV)
    await tier.settle()
    assert peer_of(reader).seqs(CONV) == [1, 2, 3, 4, 5, 6]


async def test_many_heads_are_asked_for_together(
    tier: LogicTier, reader: Session, watch: HeadWatch, shared: SharedHeads
) -> None:
    convs = [ConversationName(f"g/{number}") for number in range(1_500)]
    for conv in convs:
        watch.look_at(conv)
    await tier.settle()
    assert [len(asked) for asked in shared.asked] == [1_000, 500]


async def test_it_goes_on_looking_when_the_store_could_not_be_read(
    tier: LogicTier, reader: Session, watch: HeadWatch, shared: SharedHeads
) -> None:
    await messages_elsewhere(tier, 1)
    shared.fails = True
    watching = tier.spawn(watch.run(), "watch")
    while len(shared.asked) < 2:
        await tier.settle()
    shared.fails = False
    while peer_of(reader).seqs(CONV) != [1, 2]:
        await tier.settle()
    watching.cancel()
