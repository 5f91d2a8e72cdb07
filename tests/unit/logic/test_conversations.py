"""What a node keeps of conversations: never staler than what was committed, and never for ever."""

import asyncio

from msgspec import structs

from imserver.core.model import Membership, Removed
from imserver.protocol.events import MEMBERS_REMOVED, Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from tests.unit.logic.logic_tier import LogicTier, peer_of, plain

G = ConversationName("g/a")
R1 = RobotName("r1")


def forget(tier: LogicTier) -> None:
    """Drop everything that is not in use, as two minutes of silence would."""
    for _ in range(3):
        tier.conversations.sweep()


async def membership_of(tier: LogicTier, robot: str) -> Membership:
    (found,) = await tier.store.memberships(RobotName(robot), DeviceName("main"))
    return found


async def test_a_conversation_that_does_not_exist_is_not_held(tier: LogicTier) -> None:
    assert await tier.conversations.load(G) is None
    assert len(tier.conversations) == 0


async def test_a_loaded_conversation_has_all_its_members(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    forget(tier)
    held = await tier.conversations.load(G)
    assert held is not None
    assert {robot: member.role for robot, member in held.members.items()} == {
        "r1": Role.OWNER,
        "r2": Role.MEMBER,
    }
    assert (held.head, held.epoch, held.deleted) == (1, "epoch-1", False)


async def test_two_loads_at_once_give_the_same_conversation(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    forget(tier)
    tier.store.conversations_read.shut = True
    loads = [tier.spawn(tier.conversations.load(G), "load") for _ in range(2)]
    await tier.settle()
    tier.store.conversations_read.open()
    one, other = await asyncio.gather(*loads)
    assert one is other is tier.conversations.peek(G)


async def test_a_load_that_was_overtaken_by_a_removal_reads_again(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    boss = await tier.session("boss", admin=True, auto=False)
    forget(tier)
    tier.store.conversations_read.shut = True
    slow = tier.spawn(tier.conversations.load(G), "slow")
    removing = tier.spawn(tier.groups.remove(boss, G, ["r2"]), "removing")
    await tier.settle()
    tier.store.conversations_read.let_one(1)  # the remover's read; the slow one has an old record
    await removing
    tier.store.conversations_read.open()
    held = await slow
    assert "r2" not in held.members


async def test_a_load_that_is_answered_late_does_not_bring_back_who_was_removed_elsewhere(
    tier: LogicTier,
) -> None:
    await tier.group("a", "r1", "r2")
    forget(tier)
    tier.store.conversations_read.shut = True
    slow = tier.spawn(tier.conversations.load(G), "slow")
    await tier.settle()
    removal = structs.replace(
        plain(G, "removal"), kind=MEMBERS_REMOVED, change=Removed((RobotName("r2"),))
    )
    await tier.store.append([removal])
    quick = tier.spawn(tier.conversations.load(G), "quick")
    await tier.settle()
    tier.store.conversations_read.let_one(1)
    held = await quick
    tier.store.conversations_read.open()
    assert await slow is held
    assert (held.head, set(held.members)) == (2, {"r1"})


async def test_a_membership_that_was_read_before_a_removal_is_not_adopted(
    tier: LogicTier,
) -> None:
    await tier.group("a", "r1", "r2")
    boss = await tier.session("boss", admin=True, auto=False)
    outdated = await membership_of(tier, "r2")
    await tier.groups.remove(boss, G, ["r2"])
    assert tier.conversations.adopt(outdated, RobotName("r2")) is None


async def test_a_membership_read_after_the_last_change_is_adopted(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    boss = await tier.session("boss", admin=True, auto=False)
    await tier.groups.set_role(boss, G, "r2", role=Role.OBSERVER)
    held = tier.conversations.adopt(await membership_of(tier, "r2"), RobotName("r2"))
    assert held is tier.conversations.peek(G)


async def test_messages_do_not_make_a_membership_outdated(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    before = await membership_of(tier, "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    await tier.send(boss, G)
    assert tier.conversations.adopt(before, R1) is not None


async def test_an_adopted_membership_brings_one_role_and_load_the_rest(tier: LogicTier) -> None:
    await tier.group("a", "r1", "r2")
    membership = await membership_of(tier, "r1")
    forget(tier)
    held = tier.conversations.adopt(membership, R1)
    assert held is not None and list(held.members) == ["r1"] and not held.members_complete
    await tier.conversations.load(G)
    assert set(held.members) == {"r1", "r2"} and held.members_complete


async def test_an_adopted_direct_line_knows_its_epoch_before_its_first_event_is_published(
    tier: LogicTier,
) -> None:
    sender = await tier.session("r1")
    await tier.store.enlist("r2")
    tier.store.commits.shut = True
    tier.spawn(tier.try_send(sender, "d/r1/r2"), "send")
    await tier.settle()
    reader = await tier.session("r2")
    (state,) = peer_of(reader).frames[0].conversations  # type: ignore[attr-defined]
    assert state.epoch == "epoch-1"
    tier.store.commits.open()
    await tier.settle()
    assert peer_of(reader).seqs("d/r1/r2") == [1]


async def test_what_has_readers_survives_every_sweep(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    await tier.session("r1")
    forget(tier)
    assert tier.conversations.peek(G) is not None


async def test_what_has_an_append_on_its_way_survives_every_sweep(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    tier.store.commits.shut = True
    sending = tier.spawn(tier.try_send(boss, G), "send")
    await tier.settle()
    forget(tier)
    assert tier.conversations.peek(G) is not None
    tier.store.commits.open()
    await sending


async def test_what_was_just_loaded_survives_one_sweep_however_late(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    forget(tier)
    forget(tier)
    await tier.conversations.load(G)
    tier.conversations.sweep()
    assert len(tier.conversations) == 1
    tier.conversations.sweep()
    assert len(tier.conversations) == 0


async def test_what_is_looked_at_survives(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    for _ in range(5):
        tier.conversations.sweep()
        assert tier.conversations.peek(G) is not None


async def test_a_conversation_that_was_dropped_is_loaded_as_it_is(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    boss = await tier.session("boss", admin=True, auto=False)
    await tier.send(boss, G)
    forget(tier)
    assert len(tier.conversations) == 0
    held = await tier.conversations.load(G)
    assert held is not None and held.head == 2


async def test_an_event_of_a_conversation_nobody_holds_is_let_go(tier: LogicTier) -> None:
    await tier.store.append([plain("d/r1/r2", "c")])
    await tier.committer.append(plain("d/r1/r2", "d"))
    assert len(tier.conversations) == 0
