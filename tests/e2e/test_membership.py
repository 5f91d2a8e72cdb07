"""Who belongs to a group, and what each role may do."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.wire import Fleet, Frame, Peer

ROLES = ("owner", "admin", "member", "observer", "stranger")
YES, NO, HIDDEN = "ok", "forbidden", "not_found"


@dataclass
class Crew:
    """A group with a robot in each role, and a stranger."""

    conv: str
    robots: dict[str, Peer]
    recruit: str
    victim: str


@pytest.fixture
async def crew(fleet: Fleet) -> Crew:
    robots = {role: await fleet.online(role) for role in ROLES}
    for name in ("recruit", "victim"):
        await fleet.register(name)
    owner = robots["owner"]
    conv = await fleet.group(owner, robots["member"])
    for role in ("admin", "observer"):
        await owner.request("add_members", conv=conv, robots=[robots[role].robot], role=role)
    await owner.request("add_members", conv=conv, robots=[fleet.name("victim")])
    return Crew(conv, robots, fleet.name("recruit"), fleet.name("victim"))


def request(crew: Crew, operation: str) -> Frame:
    """Return the frame of an operation."""
    frames: dict[str, Frame] = {
        "send": {"t": "send", "cid": "c-1", "body": "x"},
        "history": {"t": "history"},
        "follow": {"t": "follow", "after": 0},
        "list_members": {"t": "list_members"},
        "add a member": {"t": "add_members", "robots": [crew.recruit]},
        "add an owner": {"t": "add_members", "robots": [crew.recruit], "role": "owner"},
        "remove a member": {"t": "remove_members", "robots": [crew.victim]},
        "remove the owner": {"t": "remove_members", "robots": [crew.robots["owner"].robot]},
        "promote to admin": {"t": "set_role", "robot": crew.victim, "role": "admin"},
        "promote to owner": {"t": "set_role", "robot": crew.victim, "role": "owner"},
        "demote the owner": {
            "t": "set_role",
            "robot": crew.robots["owner"].robot,
            "role": "member",
        },
        "delete_group": {"t": "delete_group"},
        "join": {"t": "join"},
        "leave": {"t": "leave"},
    }
    return {**frames[operation], "conv": crew.conv}


# An owner cannot leave a group alone (conflict); a member cannot join again (exists).
MATRIX = {
    "send": (YES, YES, YES, NO, HIDDEN),
    "history": (YES, YES, YES, YES, HIDDEN),
    "follow": (YES, YES, YES, YES, HIDDEN),
    "list_members": (YES, YES, YES, YES, HIDDEN),
    "add a member": (YES, YES, NO, NO, HIDDEN),
    "add an owner": (YES, NO, NO, NO, HIDDEN),
    "remove a member": (YES, YES, NO, NO, HIDDEN),
    "remove the owner": ("conflict", NO, NO, NO, HIDDEN),
    "promote to admin": (YES, YES, NO, NO, HIDDEN),
    "promote to owner": (YES, NO, NO, NO, HIDDEN),
    "demote the owner": ("conflict", NO, NO, NO, HIDDEN),
    "delete_group": (YES, NO, NO, NO, HIDDEN),
    "join": ("exists", "exists", "exists", "exists", HIDDEN),
    "leave": ("conflict", YES, YES, YES, HIDDEN),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("operation", MATRIX)
async def test_a_role_may_do_what_the_table_says_and_nothing_else(
    crew: Crew, operation: str, role: str
) -> None:
    expected = MATRIX[operation][ROLES.index(role)]
    peer = crew.robots[role]
    frame = request(crew, operation)
    before = len(await log_of(crew))
    await peer.write({**frame, "id": 900})
    await peer.until(lambda: 900 in peer.answers)
    answer = peer.answers.pop(900)
    assert answer.get("code", "ok") == expected, answer
    if expected != YES:
        assert len(await log_of(crew)) == before, "a refused request left an event"


@pytest.mark.parametrize("role", ["observer", "stranger"])
async def test_who_may_not_send_may_not_signal(crew: Crew, role: str) -> None:
    peer = crew.robots[role]
    await peer.write({"t": "signal", "conv": crew.conv, "key": "pose", "body": 1})
    await peer.until(lambda: peer.errors)
    assert peer.errors[0]["code"] == ("forbidden" if role == "observer" else "not_found")
    witness = crew.robots["owner"]
    await witness.settle()
    assert not [signal for signal in witness.signals if signal["key"] == "pose"]


async def log_of(crew: Crew) -> list[Frame]:
    if crew.robots["owner"].errors:
        return []
    events: list[Frame] = (
        await crew.robots["owner"].request("history", conv=crew.conv, after=0, limit=100)
    )["events"]
    return events


async def test_a_removed_member_that_is_behind_gets_what_was_before_its_removal_only(
    fleet: Fleet,
) -> None:
    owner, gone = await fleet.online("r1"), await fleet.online("r2", window=10)
    conv = await fleet.group(owner, gone)
    await owner.pipeline(conv, range(50))
    removed = (await owner.request("remove_members", conv=conv, robots=[gone.robot]))["result"]
    await owner.pipeline(conv, ["secret"] * 50)
    await gone.until_seq(conv, removed["seq"])
    await gone.settle()
    assert [event["seq"] for event in gone.logs[conv]] == list(range(1, removed["seq"] + 1))


async def test_a_removed_member_comes_back_to_no_conversation(fleet: Fleet) -> None:
    owner, gone = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, gone)
    await owner.request("remove_members", conv=conv, robots=[gone.robot])
    await gone.close()
    again = await fleet.online("r2")
    assert again.welcome["conversations"] == []


async def test_a_robot_added_while_online_receives_from_the_adding_event_on(fleet: Fleet) -> None:
    owner, late = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner)
    await owner.pipeline(conv, range(5))
    added = (await owner.request("add_members", conv=conv, robots=[late.robot]))["result"]
    await owner.send(conv, "welcome")
    log = await late.until_seq(conv, added["seq"] + 1)
    assert [(event["seq"], event["kind"]) for event in log] == [
        (added["seq"], "members_added"),
        (added["seq"] + 1, "message"),
    ]


async def test_a_robot_that_is_removed_and_added_again_goes_on_receiving(fleet: Fleet) -> None:
    owner, robot = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, robot)
    await robot.until_seq(conv, 1)
    for _ in range(3):
        gone = (await owner.request("remove_members", conv=conv, robots=[robot.robot]))["result"]
        await robot.until_seq(conv, gone["seq"])
        await owner.send(conv, "secret")
        robot.logs.pop(conv)
        back = (await owner.request("add_members", conv=conv, robots=[robot.robot]))["result"]
        log = await robot.until_seq(conv, back["seq"])
        assert [event["seq"] for event in log] == [back["seq"]]
    assert (await robot.send(conv, "here"))["seq"] == back["seq"] + 1


async def test_anyone_may_join_an_open_group_and_leave_it(fleet: Fleet) -> None:
    owner, guest = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, open=True)
    joined = (await guest.request("join", conv=conv))["result"]
    log = await guest.until_seq(conv, joined["seq"])
    assert (log[0]["kind"], log[0]["sender"]) == ("members_added", guest.robot)
    assert (await guest.send(conv, "hi"))["seq"] == joined["seq"] + 1
    left = (await guest.request("leave", conv=conv))["result"]
    assert left["seq"] == joined["seq"] + 2
    assert await guest.refused_with("send", conv=conv, cid="x", body=0) == "not_found"


async def test_a_closed_group_looks_missing_to_who_wants_to_join(fleet: Fleet) -> None:
    owner, guest = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner)
    closed = await guest.refusal("join", conv=conv)
    missing = await guest.refusal("join", conv="g/missing")
    assert closed["code"] == missing["code"] == "not_found"
    assert closed["message"].replace(conv, "") == missing["message"].replace("g/missing", "")


async def test_a_deleted_group_ends_for_all_and_its_name_stays_taken(fleet: Fleet) -> None:
    owner, member = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, member)
    deleted = (await owner.request("delete_group", conv=conv))["result"]
    log = await member.until_seq(conv, deleted["seq"])
    assert log[-1]["kind"] == "group_deleted"
    for peer in (owner, member):
        assert await peer.refused_with("send", conv=conv, cid="x", body=0) == "not_found"
    error = await owner.refusal("create_group", name=conv.removeprefix("g/"))
    assert error["code"] == "exists"


async def test_the_name_of_a_group_is_taken_once(fleet: Fleet) -> None:
    one, other = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(one)
    error = await other.refusal("create_group", name=conv.removeprefix("g/"))
    assert error["code"] == "exists"


async def test_an_unknown_robot_cannot_become_a_member(fleet: Fleet) -> None:
    owner = await fleet.online("r1")
    conv = await fleet.group(owner)
    error = await owner.refusal("add_members", conv=conv, robots=["nobody.here"])
    assert error["code"] == "not_found"
    assert "nobody.here" in error["message"]


async def test_a_member_made_observer_while_it_sends_is_stopped_at_that_event(
    fleet: Fleet,
) -> None:
    owner, member = await fleet.online("r1"), await fleet.online("r2")
    conv = await fleet.group(owner, member)
    ids = [await member.post("send", conv=conv, cid=f"c{n}", body=n) for n in range(100)]
    change = (await owner.request("set_role", conv=conv, robot=member.robot, role="observer"))[
        "result"
    ]
    ids += [await member.post("send", conv=conv, cid=f"d{n}", body=n) for n in range(100)]
    await member.until(lambda: all(request_id in member.answers for request_id in ids))
    answers: list[Any] = [member.answers[request_id] for request_id in ids]
    stored = [answer["seq"] for answer in answers if answer["t"] == "sent"]
    assert all(seq < change["seq"] for seq in stored)
    assert all(answer["t"] == "error" for answer in answers[100:])
    assert {a["code"] for a in answers if a["t"] == "error"} <= {"forbidden", "not_found"}
