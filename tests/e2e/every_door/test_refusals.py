"""What is refused by one door is refused by every other, with the same code."""

from typing import Any

from tests.e2e.every_door.company import Company, agree, pages_of
from tests.e2e.every_door.member import Member

REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("bad_frame", "send", {"conv": "{dock}", "cid": "c", "body": 0, "kind": "no kind"}),
    ("bad_frame", "send", {"conv": "{dock}", "cid": "x" * 65, "body": 0}),
    ("bad_frame", "send", {"conv": "{dock}", "cid": "c", "body": 0, "ref": -1}),
    ("bad_frame", "send", {"conv": "{dock}", "cid": "c", "body": 0, "kind": "edit"}),
    ("bad_frame", "send", {"conv": "g/no name", "cid": "c", "body": 0}),
    ("forbidden", "send", {"conv": "{dock}", "cid": "c", "body": 0, "kind": "members_added"}),
    ("forbidden", "send", {"conv": "{dock}", "cid": "c", "body": 0, "kind": "edit", "ref": 1}),
    ("not_found", "send", {"conv": "{dock}", "cid": "c", "body": 0, "kind": "edit", "ref": 99}),
    ("not_found", "send", {"conv": "g/missing", "cid": "c", "body": 0}),
    ("not_found", "send", {"conv": "d/{me}/zz.nobody", "cid": "c", "body": 0}),
    ("conflict", "send", {"conv": "{dock}", "cid": "used", "body": "other"}),
    ("unsupported", "send", {"conv": "{dock}", "cid": "c", "body": 0, "require": "all"}),
    ("bad_frame", "history", {"conv": "{dock}", "after": 1, "before": 2}),
    ("bad_frame", "history", {"conv": "{dock}", "limit": 0}),
    ("bad_frame", "history", {"conv": "{dock}", "view": "pictures"}),
    ("too_large", "history", {"conv": "{dock}", "limit": 1_001}),
    ("not_found", "history", {"conv": "g/missing"}),
    ("exists", "create_group", {"name": "{name}"}),
    ("bad_frame", "create_group", {"name": "no name"}),
    ("not_found", "create_group", {"name": "{name}.2", "members": ["nobody.here"]}),
    ("exists", "add_members", {"conv": "{dock}", "robots": ["{me}"]}),
    ("not_found", "add_members", {"conv": "{dock}", "robots": ["nobody.here"]}),
    ("bad_frame", "add_members", {"conv": "{dock}", "robots": []}),
    ("bad_frame", "add_members", {"conv": "{dock}", "robots": ["{me}"], "role": "king"}),
    ("not_found", "remove_members", {"conv": "{dock}", "robots": ["nobody.here"]}),
    ("not_found", "set_role", {"conv": "{dock}", "robot": "nobody.here", "role": "admin"}),
    ("bad_frame", "set_role", {"conv": "{dock}", "robot": "{me}", "role": "king"}),
    ("not_found", "join", {"conv": "g/missing"}),
    ("not_found", "leave", {"conv": "g/missing"}),
    ("conflict", "leave", {"conv": "{dock}"}),
    ("not_found", "delete_group", {"conv": "g/missing"}),
    ("not_found", "list_members", {"conv": "g/missing"}),
    ("too_large", "list_groups", {"limit": 1_001}),
    ("too_large", "list_robots", {"limit": 1_001}),
]


async def test_what_is_wrong_is_refused_with_the_same_code_by_every_door(company: Company) -> None:
    robots = await company.one_by_each_door()
    found: dict[Member, list[str]] = {}
    for robot in robots:
        conv = await company.group(robot, name=f"dock.{robots.index(robot)}")
        await robot.send(conv, "first", cid="used")
        known = {"{dock}": conv, "{me}": robot.name, "{name}": conv.removeprefix("g/")}
        found[robot] = []
        for _, t, fields in REFUSED:
            found[robot].append(await robot.refused_with(t, **filled(fields, known)))
            if found[robot][-1] == "bad_frame":
                await robot.vanish()  # the third offence of a connection ends it
                await robot.come()
        assert len(await pages_of(robot, conv)) == 2, "a refused request left an event"
        await agree(conv, robot)
    for codes in found.values():
        wrong = [
            (code, *asked) for code, asked in zip(codes, REFUSED, strict=True) if code != asked[0]
        ]
        assert not wrong


def filled(value: Any, known: dict[str, str]) -> Any:
    """Return a value with the names that are known by now."""
    if isinstance(value, str):
        for name, text in known.items():
            value = value.replace(name, text)
        return value
    if isinstance(value, dict):
        return {name: filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    return value
