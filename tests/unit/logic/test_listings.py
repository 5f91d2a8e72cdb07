"""Lists: who sees what, by name, a page at a time."""

from typing import Any

import pytest

from imserver.core.errors import Refusal
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import GroupRow, MemberRow
from tests.unit.logic.logic_tier import LogicTier


async def convs(tier: LogicTier, session: Session, **fields: Any) -> list[str]:
    place: dict[str, Any] = {"after": None, "limit": 100} | fields
    return [row.conv for row in await tier.listings.groups(session, **place)]


async def members(
    tier: LogicTier, session: Session, conv: str, **fields: Any
) -> dict[str, MemberRow]:
    place: dict[str, Any] = {"after": None, "limit": 100} | fields
    return {row.robot: row for row in await tier.listings.members(session, conv, **place)}


async def test_a_robot_sees_its_own_groups_by_name(tier: LogicTier) -> None:
    for name in ("b", "a", "c"):
        await tier.group(name, "r1" if name != "c" else "r2")
    session = await tier.session("r1")
    assert await convs(tier, session) == ["g/a", "g/b"]


async def test_a_row_tells_role_size_and_head(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    session = await tier.session("r2")
    await tier.send(session, conv)
    found = await tier.listings.groups(session, after=None, limit=9)
    assert found == [GroupRow(conv, Role.MEMBER, 2, 2)]


async def test_an_admins_session_sees_every_group(tier: LogicTier) -> None:
    await tier.group("a", "r1")
    await tier.group("b", "r2")
    assert await convs(tier, await tier.session("boss", admin=True)) == ["g/a", "g/b"]


async def test_direct_lines_and_ended_groups_are_not_listed(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    session = await tier.session("r1")
    await tier.store.enlist("r2")
    await tier.send(session, "d/r1/r2")
    await tier.groups.delete(session, conv)
    assert await convs(tier, session) == []


async def test_pages_of_groups_join_without_a_seam(tier: LogicTier) -> None:
    for name in "edcba":
        await tier.group(name, "r1")
    session = await tier.session("r1")
    first = await convs(tier, session, limit=2)
    second = await convs(tier, session, after=first[-1], limit=2)
    third = await convs(tier, session, after=second[-1], limit=2)
    assert first + second + third == [f"g/{name}" for name in "abcde"]


async def test_members_are_told_with_role_presence_since_and_cursor(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1", "r2")
    owner, member = await tier.session("r1"), await tier.session("r2")
    await tier.store.enlist("r3")
    await tier.groups.add(owner, conv, ["r3"], role=Role.OBSERVER)
    await tier.settle()
    tier.sessions.ack(member, conv, 2)
    tier.committer._on_flush_due()
    await tier.settle()
    assert await members(tier, owner, conv) == {
        "r1": MemberRow("r1", Role.OWNER, online=True, since=1, acked=0),
        "r2": MemberRow("r2", Role.MEMBER, online=True, since=1, acked=2),
        "r3": MemberRow("r3", Role.OBSERVER, online=False, since=2, acked=0),
    }


async def test_pages_of_members_join_without_a_seam(tier: LogicTier) -> None:
    conv = await tier.group("a", "r3", "r1", "r4", "r2")
    session = await tier.session("r1")
    first = list(await members(tier, session, conv, limit=2))
    rest = list(await members(tier, session, conv, after=first[-1], limit=9))
    assert first + rest == ["r1", "r2", "r3", "r4"]


async def test_the_two_of_a_direct_line_are_its_members(tier: LogicTier) -> None:
    session = await tier.session("r1")
    await tier.store.enlist("r2")
    await tier.send(session, "d/r1/r2")
    assert list(await members(tier, session, "d/r1/r2")) == ["r1", "r2"]


async def test_only_members_list_members(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    stranger = await tier.session("r2")
    for name in (conv, "g/nowhere", "d/r1/r3"):
        with pytest.raises(Refusal) as caught:
            await members(tier, stranger, name)
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_who_is_removed_while_members_are_listed_sees_nothing_behind_the_removal(
    tier: LogicTier,
) -> None:
    conv = await tier.group("a", "r1", "r2")
    owner, gone = await tier.session("r1"), await tier.session("r2")
    await tier.store.enlist("r3")
    tier.store.cursors_before.shut = True
    listing = tier.spawn(members(tier, gone, conv), "list")
    await tier.settle()
    await tier.groups.remove(owner, conv, ["r2"])
    await tier.groups.add(owner, conv, ["r3"], role=Role.MEMBER)
    tier.sessions.ack(owner, conv, 3)
    tier.committer._on_flush_due()
    await tier.settle()
    tier.store.cursors_before.open()
    assert await listing == {
        "r1": MemberRow("r1", Role.OWNER, online=True, since=1, acked=1),
        "r2": MemberRow("r2", Role.MEMBER, online=True, since=1, acked=0),
    }


async def test_an_admins_session_lists_the_members_of_every_group(tier: LogicTier) -> None:
    conv = await tier.group("a", "r1")
    assert list(await members(tier, await tier.session("boss", admin=True), conv)) == ["r1"]


async def test_robots_are_listed_with_their_presence(tier: LogicTier) -> None:
    await tier.store.enlist("r2", "r1")
    session = await tier.session("r3")
    found = await tier.listings.robots(session, after=None, limit=9)
    assert [(row.robot, row.online) for row in found] == [
        ("r1", False),
        ("r2", False),
        ("r3", True),
    ]
    tier.sessions.close(session, "clean")
    (row,) = await tier.listings.robots(session, after="r2", limit=9)
    assert (row.robot, row.online) == ("r3", False)


async def test_more_than_a_page_holds_is_refused_with_the_limit() -> None:
    async with LogicTier(limits=Limits(page_max=5)) as tier:
        conv = await tier.group("a", "r1")
        session = await tier.session("r1")
        assert await convs(tier, session, limit=5)
        for work in (
            convs(tier, session, limit=6),
            members(tier, session, conv, limit=6),
            tier.listings.robots(session, after=None, limit=6),
        ):
            with pytest.raises(Refusal, match="5") as caught:
                await work
            assert caught.value.code is ErrorCode.TOO_LARGE
