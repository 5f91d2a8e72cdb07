"""One robot under chaos: sends, edits, reads, asks again for what is unknown, and writes all of it down."""

import asyncio
import random
import time
from collections import deque
from pathlib import Path

from client_sdk import Gap, Options, OutcomeUnknown, Refused, Robot, State
from client_sdk.memory import Owner
from client_sdk.sqlite_memory import SqliteMemory
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import EDIT, MESSAGE, REDACT, SEQ_MAX
from imserver.protocol.names import is_group
from imserver.verify import HistoryWriter
from imserver.verify.recorder import Recorder
from imserver.verify.records import Position
from tests.chaos.changes import Changes
from tests.chaos.orders import ClientOrder, RobotOrder
from tests.chaos.past import Outgoing, Past
from tests.chaos.rotation import Rotation

OPTIONS = Options(
    window=256,
    connect_timeout_s=60.0,
    open_timeout_s=3.0,
    ping_interval_s=2.0,
    backoff_base_s=0.1,
    backoff_cap_s=1.5,
)
UNKNOWN_MAX = 64
"""A robot begins nothing new while so many of its sends have no outcome."""
_EDIT_ONE_IN = 30
_REDACT_ONE_IN = 5  # of the edits
_AMENDABLE = 50


class StuckError(Exception):
    """A robot does not get where it should be by now; the text tells where it is."""


class Member:
    """A robot, its history and its counts."""

    def __init__(
        self, order: ClientOrder, me: RobotOrder, *, history: HistoryWriter, past: Past
    ) -> None:
        self._order = order
        self._me = me
        self._dice = random.Random(f"{order.seed} {me.name}")
        self._count = 0
        self._slots = asyncio.Semaphore(order.in_flight)
        self._unknown = deque(past.unsettled.values())
        self._own: deque[tuple[str, int]] = deque(maxlen=_AMENDABLE)
        self._is_sending = False
        self._under_way = 0
        self.received_to = dict(past.received_to)
        self.acked = self.refused = self.received = self.gaps = 0
        self.acked_at: dict[str, float] = {}
        self.robot = Robot(
            order.urls[0],
            name=me.name,
            key=me.key,
            token=me.token,
            memory=me.memory,
            options=OPTIONS,
            connector=Rotation(order.urls, OPTIONS, self._dice) if len(order.urls) > 1 else None,
        )
        self._recorder = Recorder(self.robot, history, resume=_remembered(me))
        session = self._recorder.session
        self.changes = Changes(self.robot, history, session=session, dice=self._dice)

    @property
    def unknown(self) -> int:
        """How many sends have no definite outcome and are not under way."""
        return len(self._unknown)

    async def connect(self) -> None:
        """Come online."""
        await self.robot.__aenter__()

    async def create(self) -> None:
        """Make the groups that are this robot's to make."""
        for name, members in self._me.creates.items():
            await self._recorder.create_group(name, list(members))
        for name in self._me.changes:
            await self._recorder.create_group(name, [])

    async def read(self) -> None:
        """Take every event, written down before it is acked, until the robot is closed."""
        async for item in self._recorder.events():
            if isinstance(item, Gap):
                self.gaps += 1
                self.received_to[item.conv] = item.after
            else:
                self.received += 1
                self.received_to[item.conv] = item.seq

    async def work(self) -> None:
        """Send, and change groups, until `settle` is called."""
        self._is_sending = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            for name, robots in self._me.changes.items():
                group.create_task(
                    self.changes.come_and_go(f"g/{name}", robots, until=self._is_over)
                )
            if self._me.guests:
                group.create_task(
                    self.changes.make_and_end_groups(
                        self._me.guests, say=self._say, until=self._is_over
                    )
                )

    async def settle(self) -> None:
        """Begin nothing new, and ask for everything unknown until its outcome is known.

        Raises:
            StuckError: that took too long.
        """
        self._is_sending = False
        try:
            async with asyncio.timeout(self._order.patience_s):
                while self._unknown or self._under_way or self.changes.under_way:
                    if self._unknown:
                        await self._ask(self._unknown.popleft())
                    else:
                        await asyncio.sleep(0.05)
        except TimeoutError:
            raise self._stuck("has sends without an outcome") from None

    async def drain(self) -> None:
        """Return once everything that is in the logs was received; nobody sends any more.

        Raises:
            StuckError: that took too long.
        """
        heads: dict[str, int] = {}
        try:
            async with asyncio.timeout(self._order.patience_s):
                heads = {row.conv: row.seq for row in await self.robot.groups()}
                heads |= {c: await self._head(c) for c in self._me.convs if not is_group(c)}
                while any(self.received_to.get(conv, 0) < seq for conv, seq in heads.items()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self._stuck(f"was shown {self.received_to} of {heads}") from None
        await self.robot.aclose()
        self._recorder.close(drained=True)

    def _stuck(self, what: str) -> StuckError:
        robot = self.robot
        return StuckError(
            f"{self._me.name} {what}: {robot.state.value}, {len(self._unknown)} unknown, "
            f"{self._under_way} under way, {robot.statistics()}"
        )

    def _is_over(self) -> bool:
        return not self._is_sending

    async def _head(self, conv: str) -> int:
        try:
            newest = await self.robot.history(conv, before=SEQ_MAX, limit=1)
        except Refused as refusal:
            if refusal.code is ErrorCode.NOT_FOUND:
                return 0  # nobody has said anything on this direct line
            raise
        return newest[-1].seq

    async def _send(self) -> None:
        async with asyncio.TaskGroup() as group:
            while self._is_sending:
                burst = self._dice.choice(self._order.bursts)
                for _ in range(burst):
                    await self._slots.acquire()
                    if self._is_over():  # that may have taken long
                        break
                    self._under_way += 1
                    group.create_task(self._send_one())
                await asyncio.sleep(self._dice.expovariate(self._order.rate / burst))

    async def _send_one(self) -> None:
        try:
            if self._unknown and (
                len(self._unknown) >= UNKNOWN_MAX or self.robot.state is State.ONLINE
            ):
                await self._ask(self._unknown.popleft())
            elif self._own and self._dice.randrange(_EDIT_ONE_IN) == 0:
                await self._amend()
            else:
                await self._say(self._dice.choice(self._me.convs))
        finally:
            self._under_way -= 1
            self._slots.release()

    async def _say(self, conv: str) -> None:
        await self._ask(Outgoing(conv, self._next_cid()))

    async def _amend(self) -> None:
        conv, seq = self._dice.choice(self._own)
        kind = REDACT if self._dice.randrange(_REDACT_ONE_IN) == 0 else EDIT
        await self._ask(Outgoing(conv, self._next_cid(), kind, seq))

    def _next_cid(self) -> str:
        self._count += 1
        return f"{self._recorder.session}-{self._count}"

    async def _ask(self, outgoing: Outgoing) -> None:
        self._under_way += 1
        try:
            sent = await self._recorder.send(
                outgoing.conv,
                outgoing.body(),
                kind=outgoing.kind,
                ref=outgoing.ref,
                cid=outgoing.cid,
                timeout_s=self._order.deadline_s,
            )
            self.acked += 1
            self.acked_at[self._me.name] = self.acked_at[outgoing.conv] = time.monotonic()
            if outgoing.kind == MESSAGE:
                self._own.append((sent.conv, sent.seq))
        except OutcomeUnknown:
            self._unknown.append(outgoing)
        except Refused:
            self.refused += 1
        finally:
            self._under_way -= 1


def _remembered(me: RobotOrder) -> dict[str, Position]:
    """Return from where this robot's memory, if it has one, says that it goes on: exactly from there."""
    if me.memory is None or not Path(me.memory).exists():
        return {}
    memory = SqliteMemory(Path(me.memory))
    try:
        places = memory.open(Owner(me.name, "main")).places
    finally:
        memory.close()
    return {place.conv: Position(place.epoch, place.seq) for place in places}
