"""A robot that changes groups under chaos: it lets members come and go, and makes groups that soon end.

Whatever becomes of a change, its step is in the history: acked, refused, or unknown. What the members are is
judged by the log itself.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from client_sdk import NoAnswer, OutcomeUnknown, Refused, Robot
from imserver.protocol.events import (
    GROUP_CREATED,
    GROUP_DELETED,
    MEMBERS_ADDED,
    MEMBERS_REMOVED,
)
from imserver.verify import HistoryWriter, records

MEMBERS_PAUSE_S = 1.0
GROUPS_PAUSE_S = 4.0
WORDS = 3
"""So many events are sent into a group before it ends."""


class Changes:
    """The changes that one robot makes.

    Attributes:
        under_way: how many have begun and not ended.
        acked: how many were.
    """

    def __init__(
        self, robot: Robot, history: HistoryWriter, *, session: str, dice: random.Random
    ) -> None:
        self.under_way = 0
        self.acked = 0
        self._robot = robot
        self._history = history
        self._session = session
        self._dice = dice

    async def come_and_go(
        self, conv: str, robots: tuple[str, ...], *, until: Callable[[], bool]
    ) -> None:
        """Add robots to a group and remove them again."""
        inside = dict.fromkeys(robots, False)
        while await self._pause(MEMBERS_PAUSE_S, until):
            robot = self._dice.choice(robots)
            if inside[robot]:
                work, kind = self._robot.remove_members(conv, [robot]), MEMBERS_REMOVED
            else:
                work, kind = self._robot.add_members(conv, [robot]), MEMBERS_ADDED
            if await self._try(conv, kind, work):
                inside[robot] = kind == MEMBERS_ADDED
            else:
                inside[robot] = self._dice.random() < 0.5  # it may be so or not: try either

    async def make_and_end_groups(
        self,
        members: tuple[str, ...],
        *,
        say: Callable[[str], Awaitable[None]],
        until: Callable[[], bool],
    ) -> None:
        """Make groups, ``say`` something in each, and end them."""
        count = 0
        while await self._pause(GROUPS_PAUSE_S, until):
            count += 1
            name = f"short-lived-{self._session}-{count}"
            conv = f"g/{name}"
            if not await self.create(name, members):
                continue
            for _ in range(WORDS):
                await say(conv)
            await self._try(conv, GROUP_DELETED, self._robot.delete_group(conv))

    async def create(self, name: str, members: tuple[str, ...]) -> bool:
        """Make a group; return whether it was acked."""
        return await self._try(
            f"g/{name}", GROUP_CREATED, self._first(self._robot.create_group(name, members))
        )

    async def _pause(self, mean_s: float, until: Callable[[], bool]) -> bool:
        """Wait a while, and return whether there is more to do."""
        await asyncio.sleep(self._dice.expovariate(1 / mean_s))
        return not until()

    async def _first(self, creating: Awaitable[str]) -> int:
        await creating
        return 1

    async def _try(self, conv: str, kind: str, work: Awaitable[int]) -> bool:
        self._note(conv, kind, "invoke")
        self.under_way += 1
        try:
            seq = await work
        except Refused as refusal:
            self._note(conv, kind, "fail", code=refusal.code)
            return False
        except (OutcomeUnknown, NoAnswer):
            self._note(conv, kind, "unknown")
            return False
        finally:
            self.under_way -= 1
        self._note(conv, kind, "ok", seq=seq)
        self.acked += 1
        return True

    def _note(self, conv: str, kind: str, step: Any, **fields: Any) -> None:
        self._history.write(
            records.Change(
                t=time.monotonic(),
                client=self._robot.name,
                session=self._session,
                type=step,
                conv=conv,
                kind=kind,
                **fields,
            )
        )
