"""Robots register, and belong to groups: the same by every door, and told in the same log."""

from tests.e2e.every_door.company import Company, agree, pages_of
from tests.e2e.every_door.member import Log
from tests.e2e.wire import together


async def test_a_robot_registers_its_key_by_its_own_door(company: Company) -> None:
    robots = [company.newcomer(f"r{number}") for number in range(company.size)]
    for robot in robots:
        await robot.register()
        await robot.come()
        assert (await robot.ask("whoami"))["robot"] == robot.name
    conv = await company.group(*robots)
    await agree(conv, *robots)
    found = await robots[0].ask("list_robots", after=robots[0].name[:-1], limit=1000)
    assert {robot.name for robot in robots} <= {row["robot"] for row in found}


async def test_roles_are_given_by_any_door_and_hold_at_every_other(company: Company) -> None:
    robots = await company.everybody()
    owner, admin, reader = robots[0], robots[1], robots[2]
    conv = await company.group(owner)
    for number, robot in enumerate(robots[1:], 2):
        added = await owner.ask("add_members", conv=conv, robots=[robot.name])
        assert added["seq"] == number
    await owner.ask("set_role", conv=conv, robot=admin.name, role="admin")
    await admin.ask("set_role", conv=conv, robot=reader.name, role="observer")
    refused = {"conv": conv, "cid": "x", "body": 0}
    assert await reader.refused_with("send", **refused) == "forbidden"
    for robot in robots[3:]:
        fields = {"conv": conv, "robot": reader.name, "role": "owner"}
        assert await robot.refused_with("set_role", **fields) == "forbidden"
    rows = [await robot.ask("list_members", conv=conv) for robot in robots]
    roles = {row["robot"]: row["role"] for row in rows[0]}
    assert roles == {robot.name: "member" for robot in robots} | {
        owner.name: "owner",
        admin.name: "admin",
        reader.name: "observer",
    }
    assert all({row["robot"]: row["role"] for row in each} == roles for each in rows)
    log = await agree(conv, *robots)
    kinds = [kind for _, _, _, _, kind, *_ in log]
    assert kinds[1:-1] == ["members_added"] * (len(robots) - 1) + ["role_changed"] * 2


async def test_who_is_removed_sees_its_removal_and_nothing_behind_it(company: Company) -> None:
    robots = await company.everybody()
    owner, *gone = robots
    stays = await company.member("stays")
    conv = await company.group(owner, stays, *gone)
    for robot in gone:
        await robot.until(conv, 1)
    names = [robot.name for robot in gone]

    async def remove() -> Log:
        await owner.send(conv, "still together")
        await owner.ask("remove_members", conv=conv, robots=names)
        await owner.send(conv, "secret")
        return []

    logs = (await together(*(robot.until_gone(conv) for robot in gone), remove()))[:-1]
    told = await agree(conv, owner, stays)
    assert [kind for _, _, _, _, kind, *_ in told[1:4]] == ["message", "members_removed", "message"]
    assert sorted(told[2][-1]["robots"]) == sorted(names), "one event removes them all"
    for robot, log in zip(gone, logs, strict=True):
        assert [event["seq"] for event in log] == list(range(1, log[-1]["seq"] + 1))
        assert log[-1]["seq"] <= 3
        assert await robot.refused_with("history", conv=conv) == "not_found"
        assert await robot.refused_with("send", conv=conv, cid="x", body=0) == "not_found"


async def test_an_open_group_is_joined_left_and_ended(company: Company) -> None:
    robots = await company.everybody()
    owner, guest, other, *_ = robots
    conv = await company.group(owner, open=True)
    joined = await guest.ask("join", conv=conv)
    assert (await guest.send(conv, "hi"))["seq"] == joined["seq"] + 1
    left = await guest.ask("leave", conv=conv)
    assert left["seq"] == joined["seq"] + 2
    await other.ask("join", conv=conv)
    assert [row["conv"] for row in await other.ask("list_groups")] == [conv]
    log = await agree(conv, owner, other)
    assert [kind for _, _, _, _, kind, *_ in log[:5]] == [
        "group_created",
        "members_added",
        "message",
        "members_removed",
        "members_added",
    ]
    await owner.ask("delete_group", conv=conv)
    for robot in (owner, guest, other):
        assert await robot.refused_with("send", conv=conv, cid="x", body=0) == "not_found"
    assert await other.ask("list_groups") == []


async def test_lists_are_paged_by_name(company: Company) -> None:
    robots = await company.everybody()
    conv = await company.group(*robots)
    names = sorted(robot.name for robot in robots)
    for robot in robots:
        found: list[str] = []
        while rows := await robot.ask(
            "list_members", conv=conv, limit=2, **({"after": found[-1]} if found else {})
        ):
            found += [row["robot"] for row in rows]
        assert found == names
        (group,) = await robot.ask("list_groups", limit=2)
        assert (group["conv"], group["members"], group["seq"]) == (conv, len(robots), 1)


async def test_a_new_member_may_read_the_whole_log(company: Company) -> None:
    owner, *late = await company.everybody()
    conv = await company.group(owner)
    for number in range(5):
        await owner.send(conv, number)
    added = await owner.ask("add_members", conv=conv, robots=[robot.name for robot in late])
    for robot in late:
        assert [event["seq"] for event in await pages_of(robot, conv)] == list(range(1, 8))
        log = await robot.until(conv, added["seq"])
        assert [event["seq"] for event in log] == [added["seq"]], "what comes, begins there"
    await agree(conv, owner, *late)
