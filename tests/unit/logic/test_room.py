"""What one robot may have: devices online, groups of its making, conversations on a connection."""

import asyncio

import pytest

from imserver.core.errors import Refusal
from imserver.logic import room
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.limits import Limits
from imserver.protocol.names import DeviceName, RobotName
from tests.unit.logic.logic_tier import LogicTier


async def test_a_robot_has_so_many_devices_online_and_any_of_them_may_come_again() -> None:
    async with LogicTier(limits=Limits(devices_max=2)) as tier:
        await tier.session("r1", "arm")
        leg = await tier.session("r1", "leg")
        await tier.session("r1", "arm")
        with pytest.raises(Refusal, match="2 devices") as refused:
            await tier.session("r1", "eye")
        assert refused.value.code is ErrorCode.TOO_LARGE
        await tier.session("r2", "eye")
        tier.sessions.close(leg, "clean")
        await tier.session("r1", "eye")


async def test_who_is_in_so_many_conversations_creates_and_joins_no_more() -> None:
    async with LogicTier(limits=Limits(groups_max=3)) as tier:
        await tier.group("of-another", "r2", "r1")
        await tier.group("a", "r1")
        await tier.group("b", "r1")
        with pytest.raises(Refusal, match="leave some") as refused:
            await tier.group("c", "r1")
        assert refused.value.code is ErrorCode.TOO_LARGE
        conv = await tier.group("open", "r2", is_open=True)
        session = await tier.session("r1")
        with pytest.raises(Refusal, match="leave some"):
            await tier.groups.join(session, conv)


async def test_who_creates_several_at_once_is_in_no_more_than_so_many() -> None:
    async with LogicTier(limits=Limits(groups_max=2)) as tier:
        await create_at_once(tier, "abcd", refused=2)


async def test_who_left_one_and_creates_several_at_once_is_in_no_more_than_so_many() -> None:
    async with LogicTier(limits=Limits(groups_max=2)) as tier:
        await tier.group("a", "r1")
        await tier.group("left", "r1", "r2")
        session = await tier.session("r1")
        await tier.groups.set_role(session, "g/left", "r2", role=Role.OWNER)
        await tier.groups.leave(session, "g/left")
        tier.clock.s += room.LOOK_EVERY_S
        await create_at_once(tier, "bcd", refused=2)


async def test_others_may_add_it_all_the_same() -> None:
    async with LogicTier(limits=Limits(groups_max=1)) as tier:
        await tier.group("a", "r1")
        await tier.group("b", "r2", "r1")


async def test_who_leaves_some_has_room_again() -> None:
    async with LogicTier(limits=Limits(groups_max=1)) as tier:
        conv = await tier.group("a", "r1", "r2")
        session = await tier.session("r1")
        await tier.groups.set_role(await tier.session("r1"), conv, "r2", role=Role.OWNER)
        with pytest.raises(Refusal):
            await tier.group("b", "r1")
        await tier.groups.leave(session, conv)
        tier.clock.s += room.LOOK_EVERY_S
        await tier.group("c", "r1")


async def test_a_refused_robot_that_asks_on_does_not_keep_the_store_busy() -> None:
    async with LogicTier(limits=Limits(groups_max=1)) as tier:
        await tier.group("a", "r1")
        looked = 0
        memberships = tier.store.memberships

        async def counting(*given):
            nonlocal looked
            looked += 1
            return await memberships(*given)

        tier.store.memberships = counting  # type: ignore[method-assign]
        tier.clock.s += room.LOOK_EVERY_S
        for number in range(20):
            with pytest.raises(Refusal):
                await tier.group(f"b{number}", "r1")
        assert looked == 1


def test_a_connection_follows_so_many_conversations_and_any_of_them_again() -> None:
    room.for_follow({"g/a": None}, "g/b", 2)
    room.for_follow({"g/a": None, "g/b": None}, "g/b", 2)
    with pytest.raises(Refusal, match="unfollow") as refused:
        room.for_follow({"g/a": None, "g/b": None}, "g/c", 2)
    assert refused.value.code is ErrorCode.TOO_LARGE


async def create_at_once(tier: LogicTier, names: str, *, refused: int) -> None:
    """Have r1 create groups while it is looked up how many it has, and see that it is in two then."""
    tier.store.memberships_read.shut = True
    creating = [tier.spawn(tier.group(name, "r1"), "create") for name in names]
    await tier.settle()
    tier.store.memberships_read.open()
    results = await asyncio.gather(*creating, return_exceptions=True)
    tier.tasks.difference_update(creating)
    assert [isinstance(result, Refusal) for result in results].count(True) == refused
    assert len(await tier.store.memberships(RobotName("r1"), DeviceName("main"))) == 2
