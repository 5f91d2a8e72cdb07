"""Who talks where: the robots of a run, their groups, and what the server keeps of them.

Besides the groups in which all that was acked must stay, there are groups whose old events go, groups whose
members come and go, and groups that end soon after they were made. Every second robot has a memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.chaos.orders import RobotOrder

PROCESSES: Final = 4
GROUP_MEMBERS: Final = 3
CHANGING_GROUPS: Final = 3
CHANGING: Final = "changing-"
GUESTS: Final = 3
MAKERS_ONE_IN: Final = 6
"""So few of the robots make groups that soon end."""

SHORT_GROUPS: Final = ("short-events", "short-bytes", "short-age")
SERVER_CONFIG: Final = """
[retention]
interval_s = 2.0

[retention.groups]
"g/short-events" = { events = 300 }
"g/short-bytes" = { body_bytes = 50_000 }
"g/short-age" = { age_s = 15 }
"""
"""Rules so narrow that a robot which was away for seconds has missed something for good."""


def cast(
    robots: int, groups: int, *, folder: Path, enroll: Callable[[str], str]
) -> list[RobotOrder]:
    """Return the orders of so many robots, in so many groups besides those that change."""
    names = [f"robot-{number:02}" for number in range(robots)]
    convs: dict[str, list[str]] = {name: [] for name in names}
    creates: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in names}
    changes: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in names}
    lasting = [f"group-{number:02}" for number in range(groups)]
    for number, group in enumerate([*lasting, *SHORT_GROUPS]):
        members = [names[(number * 2 + step * 5) % robots] for step in range(GROUP_MEMBERS)]
        creates[members[0]][group] = tuple(members[1:])
        for member in members:
            convs[member].append(f"g/{group}")
    for number in range(min(CHANGING_GROUPS, robots - GUESTS)):
        group = f"{CHANGING}{number}"
        owner, *guests = (names[(number * 4 + step) % robots] for step in range(1 + GUESTS))
        changes[owner][group] = tuple(guests)
        for member in (owner, *guests):
            convs[member].append(f"g/{group}")
    for one, other in zip(names[::2], names[1::2], strict=False):
        for name in (one, other):
            convs[name].append(f"d/{one}/{other}")
    return [
        RobotOrder(
            name,
            enroll(name),
            str(folder / "keys" / f"{name}.key"),
            tuple(convs[name]),
            creates[name],
            changes[name],
            guests=_guests(names, number) if number % MAKERS_ONE_IN == 0 else (),
            memory=str(folder / "memories" / f"{name}.db") if number % 2 else None,
        )
        for number, name in enumerate(names)
    ]


def _guests(names: list[str], host: int) -> tuple[str, ...]:
    guests = dict.fromkeys(names[(host + step) % len(names)] for step in (1, 7))
    return tuple(name for name in guests if name != names[host])
