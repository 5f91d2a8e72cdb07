"""Groups, members and roles over HTTP."""

import pytest

from tests.unit.access.http.api_in_memory import Api

DOCK = "/v1/groups/dock"


async def members(api: Api, group: str = DOCK) -> dict[str, str]:
    """Return the members of a group and their roles, as an admin sees them."""
    answer = await api.ask("GET", f"{group}/members", robot="boss", admin=True)
    return {member["robot"]: member["role"] for member in answer.json["members"]}


async def test_a_group_is_created_with_its_members(api: Api):
    body = {"name": "bay", "members": ["r2"], "open": True}
    answer = await api.ask("POST", "/v1/groups", robot="r1", body=body)
    assert (answer.status, answer.json) == (201, {"seq": 1, "conv": "g/bay"})
    assert await members(api, "/v1/groups/bay") == {"r1": "owner", "r2": "member"}


async def test_the_name_of_a_group_is_taken_once(api: Api):
    answer = await api.ask("POST", "/v1/groups", robot="r2", body={"name": "dock"})
    assert (answer.status, answer.code) == (409, "exists")


@pytest.mark.parametrize("name", ["", "a b", "g/dock", "x" * 65])
async def test_a_name_that_breaks_the_rule_is_refused(api: Api, name: str):
    answer = await api.ask("POST", "/v1/groups", robot="r2", body={"name": name})
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_group_of_robots_that_nobody_knows_is_refused(api: Api):
    body = {"name": "bay", "members": ["nobody"]}
    answer = await api.ask("POST", "/v1/groups", robot="r1", body=body)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_robot_lists_its_own_groups_page_by_page(api: Api):
    await api.ask("POST", "/v1/groups", robot="r1", body={"name": "bay"})
    await api.ask("POST", "/v1/groups", robot="r3", body={"name": "attic"})
    first = await api.ask("GET", "/v1/groups?limit=1", robot="r1")
    rest = await api.ask("GET", "/v1/groups?after=g/bay", robot="r1")
    assert first.json == {"groups": [{"conv": "g/bay", "role": "owner", "members": 1, "seq": 1}]}
    assert [group["conv"] for group in rest.json["groups"]] == ["g/dock"]


async def test_an_admin_lists_all_groups(api: Api):
    answer = await api.ask("GET", "/v1/groups", robot="boss", admin=True)
    assert answer.json == {"groups": [{"conv": "g/dock", "role": None, "members": 2, "seq": 1}]}


async def test_a_member_sees_a_group_and_a_stranger_does_not(api: Api):
    seen = await api.ask("GET", DOCK, robot="r2")
    hidden = await api.ask("GET", DOCK, robot="r3")
    assert seen.json == {"conv": "g/dock", "role": "member", "members": 2, "seq": 1}
    assert hidden.code == "not_found"


async def test_robots_are_added_given_a_role_and_removed(api: Api):
    added = await api.ask("POST", f"{DOCK}/members", robot="r1", body={"robots": ["r3"]})
    raised = await api.ask("PUT", f"{DOCK}/members/r3", robot="r1", body={"role": "admin"})
    roles = await members(api)
    removed = await api.ask("DELETE", f"{DOCK}/members/r2", robot="r3")
    assert [answer.json["seq"] for answer in (added, raised, removed)] == [2, 3, 4]
    assert roles == {"r1": "owner", "r2": "member", "r3": "admin"}
    assert await members(api) == {"r1": "owner", "r3": "admin"}


async def test_several_robots_are_removed_by_one_event(api: Api):
    await api.ask("POST", f"{DOCK}/members", robot="r1", body={"robots": ["r3"]})
    removed = await api.ask("DELETE", f"{DOCK}/members?robot=r2&robot=r3", robot="r1")
    assert (removed.status, removed.json) == (200, {"seq": 3})
    assert await members(api) == {"r1": "owner"}


async def test_a_removal_of_nobody_is_refused(api: Api):
    answer = await api.ask("DELETE", f"{DOCK}/members", robot="r1")
    assert (answer.status, answer.code) == (400, "bad_frame")
    assert await members(api) == {"r1": "owner", "r2": "member"}


async def test_a_member_may_not_change_the_group(api: Api):
    add = await api.ask("POST", f"{DOCK}/members", robot="r2", body={"robots": ["r3"]})
    role = await api.ask("PUT", f"{DOCK}/members/r2", robot="r2", body={"role": "owner"})
    remove = await api.ask("DELETE", f"{DOCK}/members/r1", robot="r2")
    end = await api.ask("DELETE", DOCK, robot="r2")
    assert {answer.code for answer in (add, role, remove, end)} == {"forbidden"}


@pytest.mark.parametrize("body", [{}, {"robots": []}, {"robots": ["r3"], "role": "king"}])
async def test_an_addition_that_breaks_the_protocol_is_refused(api: Api, body: object):
    answer = await api.ask("POST", f"{DOCK}/members", robot="r1", body=body)
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_robot_joins_an_open_group_and_leaves_it(api: Api):
    await api.ask("POST", "/v1/groups", robot="r1", body={"name": "bay", "open": True})
    joined = await api.ask("POST", "/v1/groups/bay/join", robot="r3")
    inside = await members(api, "/v1/groups/bay")
    left = await api.ask("POST", "/v1/groups/bay/leave", robot="r3")
    assert (joined.status, left.status) == (200, 200)
    assert inside == {"r1": "owner", "r3": "member"}
    assert await members(api, "/v1/groups/bay") == {"r1": "owner"}


async def test_a_closed_group_cannot_be_joined(api: Api):
    answer = await api.ask("POST", f"{DOCK}/join", robot="r3")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_who_removes_itself_leaves(api: Api):
    answer = await api.ask("DELETE", f"{DOCK}/members/r2", robot="r2")
    assert answer.status == 200
    assert await members(api) == {"r1": "owner"}


async def test_the_last_owner_stays(api: Api):
    answer = await api.ask("POST", f"{DOCK}/leave", robot="r1")
    assert (answer.status, answer.code) == (409, "conflict")


async def test_a_group_that_ended_is_gone(api: Api):
    ended = await api.ask("DELETE", DOCK, robot="r1")
    after = await api.ask("GET", DOCK, robot="r1")
    assert (ended.status, ended.json) == (200, {"seq": 2})
    assert after.code == "not_found"


async def test_the_members_of_a_direct_line_are_listed(api: Api):
    await api.send("r1", "/v1/direct/r1/r2", "hi", key="c1")
    answer = await api.ask("GET", "/v1/direct/r1/r2/members?limit=1", robot="r2")
    expected = {"robot": "r1", "role": "member", "online": False, "since": 1, "acked": 0}
    assert answer.json == {"members": [expected]}
