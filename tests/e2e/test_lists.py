"""Lists: by name, a page at a time."""

import asyncio

from tests.e2e.wire import Fleet, Peer
from tests.until import PATIENCE_S


async def all_rows(peer: Peer, t: str, key: str, **fields: object) -> list[str]:
    """Read a list to its end, two rows at a time."""
    found: list[str] = []
    while True:
        after = {"after": found[-1]} if found else {}
        rows = (await peer.request(t, limit=2, **fields, **after))["result"]
        assert len(rows) <= 2
        if not rows:
            return found
        found += [row[key] for row in rows]


async def test_list_groups_pages_through_ones_own_groups_by_name(fleet: Fleet) -> None:
    robot, other = await fleet.online("r1"), await fleet.online("r2")
    names = ["b", "a", "e", "c", "d"]
    convs = [await fleet.group(robot, name=name) for name in names]
    await fleet.group(other, name="not-mine")
    assert await all_rows(robot, "list_groups", "conv") == sorted(convs)


async def test_a_row_of_list_groups_tells_role_members_and_head(fleet: Fleet) -> None:
    owner, member = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, member)
    sent = await owner.send(conv, "x")
    rows = (await member.request("list_groups"))["result"]
    assert rows == [{"conv": conv, "role": "member", "members": 2, "seq": sent["seq"]}]


async def test_a_group_that_one_left_is_listed_no_longer(fleet: Fleet) -> None:
    owner, member = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, member)
    await member.request("leave", conv=conv)
    assert (await member.request("list_groups"))["result"] == []


async def test_a_row_of_list_members_tells_role_presence_since_and_ack(fleet: Fleet) -> None:
    owner, member = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner)
    added = (await owner.request("add_members", conv=conv, robots=[member.robot]))["result"]
    await member.until_seq(conv, added["seq"])
    await member.settle()
    await member.close()

    async def row() -> dict[str, object]:
        rows = (await owner.request("list_members", conv=conv))["result"]
        found: dict[str, object] = next(r for r in rows if r["robot"] == member.robot)
        return found

    expected = {"robot": member.robot, "role": "member", "online": False}
    expected |= {"since": added["seq"], "acked": added["seq"]}
    async with asyncio.timeout(PATIENCE_S):  # acks are stored a second late at most
        while await row() != expected:
            await owner.settle()


async def test_list_robots_tells_who_is_registered_and_who_is_online(fleet: Fleet) -> None:
    await fleet.register("r2")
    robot = await fleet.online("r1")
    rows = (await robot.request("list_robots", after=robot.robot[:-1], limit=1000))["result"]
    found = {row["robot"]: row["online"] for row in rows}
    assert found[robot.robot] is True
    assert found[fleet.name("r2")] is False
    registered = {row["robot"]: row["registered"] for row in rows}
    assert 0 < registered[fleet.name("r2")] <= registered[robot.robot] <= robot.welcome["now"]


async def test_list_robots_pages_by_name(fleet: Fleet) -> None:
    for name in ("r3", "r1", "r2"):
        await fleet.register(name)
    robot = await fleet.online("r1")
    found = await all_rows(robot, "list_robots", "robot")
    assert found == sorted(found)
    assert {fleet.name(name) for name in ("r1", "r2", "r3")} <= set(found)


async def test_a_list_page_over_the_limit_is_refused(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    page_max = robot.welcome["limits"]["page_max"]
    error = await robot.refusal("list_groups", limit=page_max + 1)
    assert error["code"] == "too_large"
    assert str(page_max) in error["message"]
