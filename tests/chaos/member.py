"""One robot under chaos: sends, reads, asks again for what is unknown, and writes all of it down."""

import asyncio
import random
from collections import deque
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from client_sdk import Event, Options, OutcomeUnknown, Refused, Robot, State
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import SEQ_MAX
from imserver.verify import HistoryReader, HistoryWriter
from imserver.verify.recorder import Recorder
from imserver.verify.records import Receive, Send
from tests.chaos.orders import ClientOrder, RobotOrder

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
_BIG_BODY_ONE_IN = 150
_BIG_BODY_CHARS = 20_000


class StuckError(Exception):
    """A robot does not get where it should be by now; the text tells where it is."""


class Outgoing(NamedTuple):
    """A send that is to end in stored or refused, however often it has to be asked for."""

    conv: str
    cid: str

    def body(self) -> object:
        """Return what is sent: it follows from the cid, so that it is the same in the robot's next life."""
        dice = random.Random(self.cid)
        is_big = dice.randrange(_BIG_BODY_ONE_IN) == 0
        chars = dice.randrange(_BIG_BODY_CHARS if is_big else 160)
        return {"n": chars, "text": "é" * (chars // 7) + "x" * chars}


class Past(Struct):
    """What a robot knows of its earlier lives: open sends, and how far it was shown each log."""

    unsettled: dict[Outgoing, None] = {}
    received_to: dict[str, int] = {}


def read_past(history: Path) -> dict[str, Past]:
    """Return what the robots of a history know, by name."""
    pasts: dict[str, Past] = {}
    if not history.exists():
        return pasts
    for _, record in HistoryReader(history):
        past = pasts.setdefault(record.client, Past())
        if isinstance(record, Send):
            outgoing = Outgoing(record.conv, record.cid)
            if record.type in {"ok", "fail"}:
                past.unsettled.pop(outgoing, None)
            else:
                past.unsettled[outgoing] = None
        elif isinstance(record, Receive):
            past.received_to[record.conv] = record.seq
    return pasts


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
        self._unknown = deque(past.unsettled)
        self._is_sending = False
        self._under_way = 0
        self.received_to = dict(past.received_to)
        self.acked = self.refused = self.received = 0
        self.robot = Robot(order.url, name=me.name, key=me.key, token=me.token, options=OPTIONS)
        self._recorder = Recorder(self.robot, history)

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

    async def read(self) -> None:
        """Take every event, written down before it is acked, until the robot is closed."""
        async for event in self._recorder.events():
            if isinstance(event, Event):
                self.received += 1
                self.received_to[event.conv] = event.seq

    async def send(self) -> None:
        """Send at the pace of the order until `settle` is called; ask again for what is unknown."""
        self._is_sending = True
        async with asyncio.TaskGroup() as group:
            while self._is_sending:
                await self._slots.acquire()
                group.create_task(self._send_one())
                await asyncio.sleep(self._dice.expovariate(self._order.rate))

    async def settle(self) -> None:
        """Begin nothing new, and ask for everything unknown until its outcome is known.

        Raises:
            StuckError: that took too long.
        """
        self._is_sending = False
        try:
            async with asyncio.timeout(self._order.patience_s):
                while self._unknown or self._under_way:
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
                heads = {conv: await self._head(conv) for conv in self._me.convs}
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

    async def _head(self, conv: str) -> int:
        try:
            newest = await self.robot.history(conv, before=SEQ_MAX, limit=1)
        except Refused as refusal:
            if refusal.code is ErrorCode.NOT_FOUND:
                return 0  # nobody has said anything on this direct line
            raise
        return newest[-1].seq

    async def _send_one(self) -> None:
        try:
            if self._unknown and (
                len(self._unknown) >= UNKNOWN_MAX or self.robot.state is State.ONLINE
            ):
                await self._ask(self._unknown.popleft())
                return
            self._count += 1
            cid = f"{self._recorder.session}-{self._count}"
            conv = self._dice.choice(self._me.convs)
            await self._ask(Outgoing(conv, cid))
        finally:
            self._slots.release()

    async def _ask(self, outgoing: Outgoing) -> None:
        self._under_way += 1
        try:
            await self._recorder.send(
                outgoing.conv,
                outgoing.body(),
                cid=outgoing.cid,
                timeout_s=self._order.deadline_s,
            )
            self.acked += 1
        except OutcomeUnknown:
            self._unknown.append(outgoing)
        except Refused:
            self.refused += 1
        finally:
            self._under_way -= 1
