"""What a simulated robot does besides sending: it looks back, changes groups, and signals."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from client_sdk import Robot, RobotError
from client_sdk.records import Event
from tests.simulation.history import Life, Page, Seen
from tests.simulation.society import BASE, BEAT, Society

GROUPS_MAX = 5
_ROLES = ("admin", "member", "observer", "owner")


class Asking:
    """The requests of one life of a robot's process."""

    def __init__(self, society: Society, life: Life, dice: random.Random) -> None:
        self._society = society
        self._life = life
        self._dice = dice

    async def look_back(self, robot: Robot) -> None:
        """Read a page of history, forwards or backwards, as it is or folded."""
        dice, society = self._dice, self._society
        conv = dice.choice(society.groups)
        known = self._life.done.get(conv)
        bound = dice.randrange((known.seq if known else 0) + 2)
        forwards = dice.random() < 0.5
        page = Page(
            robot=robot.name,
            conv=conv,
            began_s=society.timeline.now_s,
            after=bound if forwards else None,
            before=None if forwards or dice.random() < 0.5 else bound + 1,
            limit=dice.choice((1, 5, 100)),
            view=dice.choice(("events", "messages")),
        )
        society.history.pages.append(page)
        asked: dict[str, Any] = {"after": page.after, "before": page.before, "limit": page.limit}
        try:
            events = await robot.history(conv, view=page.view, **asked)  # type: ignore[arg-type]
        except RobotError:
            society.count("pages that were not given")
            return
        society.count(f"pages of {page.view}")
        page.ended_s = society.timeline.now_s
        page.events = [seen(event, page.ended_s) for event in events]

    def signal(self, robot: Robot, conv: str | None = None) -> None:
        """Tell the members of a group the next value of this life's signal, or a sign of life."""
        key = self._life.name.partition("/")[2]
        if conv is None:
            conv = self._dice.choice(self._society.groups)
        else:
            key = f"{key} {BEAT}"
        try:
            robot.signal(conv, key, {"n": self._society.next_beat()})
        except RobotError:
            return
        self._society.count("signals")

    async def change_groups(self, robot: Robot) -> None:
        """Change who belongs to a group, or which groups there are."""
        dice, society = self._dice, self._society
        conv, other = dice.choice(society.groups), dice.choice(society.robots)
        changes: list[tuple[str, Callable[[], Any]]] = [
            ("removals", lambda: robot.remove_members(conv, [other])),
            ("removals", lambda: robot.remove_members(conv, [other])),
            ("additions", lambda: robot.add_members(conv, [other])),
            ("additions", lambda: robot.add_members(conv, list(society.robots))),
            ("groups created", lambda: self._create(robot)),
            ("removals for a moment", lambda: self._remove_for_a_moment(robot, conv, other)),
            ("leaves", lambda: robot.leave(conv)),
            ("changes of role", lambda: robot.set_role(conv, other, dice.choice(_ROLES))),
            ("joins", lambda: robot.join(dice.choice(society.open_groups or [conv]))),
        ]
        if conv != BASE and dice.random() < 0.3:
            changes = [("groups deleted", lambda: robot.delete_group(conv))]
        what, change = dice.choice(changes)
        await self.do(what, change)

    async def do(self, what: str, change: Callable[[], Any]) -> None:
        """Make a change of groups, and count it if it was told as done."""
        try:
            await change()
        except RobotError as error:
            self._society.count(what, error)
        else:
            self._society.count(what)

    async def send_off(self, robot: Robot, other: str) -> None:
        """Remove another robot for a moment while it has much to say."""
        what = "removals in the middle of a flood"
        await self.do(what, lambda: self._remove_for_a_moment(robot, BASE, other))

    async def _remove_for_a_moment(self, robot: Robot, conv: str, other: str) -> None:
        await robot.remove_members(conv, [other])
        await asyncio.sleep(self._dice.choice((0.0, 0.05, 0.3)))
        await robot.add_members(conv, [other])

    async def _create(self, robot: Robot) -> None:
        society = self._society
        if len(society.groups) >= GROUPS_MAX:
            return
        society.names += 1
        name = f"{robot.name}{society.names}"
        is_open = self._dice.random() < 0.5
        members = [name for name in society.robots if self._dice.random() < 0.7 and not is_open]
        conv = await robot.create_group(name, members, open=is_open)
        society.groups.append(conv)
        if is_open:
            society.open_groups.append(conv)


def seen(event: Event, now_s: float) -> Seen:
    """Return an event as evidence."""
    return Seen(
        now_s,
        event.conv,
        event.epoch,
        event.seq,
        event.sender,
        event.cid,
        event.kind,
        event.body,
        event.ref,
    )
