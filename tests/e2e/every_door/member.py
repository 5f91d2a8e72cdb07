"""What every door has in common for who comes in by it: the wire's operations, and the log that it reads.

A member is led by one task at a time. An operation is named as its frame is, with the frame's fields; how a
door carries it is the door's business.
"""

import secrets
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeAlias

from examples.wire_client import Refused
from tests.e2e.every_door.site import Site

Event: TypeAlias = dict[str, Any]
Log: TypeAlias = list[Event]
Signal: TypeAlias = dict[str, Any]

TIMEOUT_S = 20
"""No step of a scenario takes so long, and nothing is asserted about it: it is there so that none hangs."""


class Member(ABC):
    """A robot at one door, on one of its devices.

    Attributes:
        name: the robot's name.
        logs: the events it was given, by conversation; each is checked to follow the one before.
        signals: the signals it was told.
        acking: whether reading acks what was read.
        is_in: whether it has come in.
        hears_signals: whether its door brings signals.
        has_bytes: whether its door carries bytes as they are, and not as base64.
    """

    hears_signals: ClassVar[bool] = True
    has_bytes: ClassVar[bool] = False

    def __init__(self, name: str, site: Site, address: str) -> None:
        self.name = name
        self.site = site
        self.address = address
        self.acking = True
        self.is_in = False
        self.logs: dict[str, Log] = defaultdict(list)
        self.signals: list[Signal] = []

    # What each door does in its own way.

    @abstractmethod
    async def register(self) -> None:
        """Register the robot's key with an enrolment token."""

    @abstractmethod
    async def enter(self) -> None:
        """Come in with a bearer token; behind what it has, it goes on."""

    @abstractmethod
    async def lose(self) -> None:
        """Lose the connection without a word."""

    @abstractmethod
    async def ask(self, t: str, **fields: Any) -> Any:
        """Do what the frame ``t`` does, and return its result.

        Raises:
            Refused: the server refuses.
        """

    @abstractmethod
    async def ack(self, conv: str, seq: int) -> None:
        """Say that everything up to ``seq`` is processed."""

    @abstractmethod
    async def signal(self, conv: str, key: str, body: Any) -> None:
        """Tell the others a value."""

    @abstractmethod
    async def acked(self, conv: str) -> int:
        """Return how far the server knows this robot to be."""

    @abstractmethod
    async def read(self, conv: str) -> None:
        """Take in what comes next of a conversation, or of another one: an event, a signal, an end.

        Raises:
            Refused: the conversation cannot be read any more.
        """

    # What follows from it.

    async def come(self) -> None:
        """Come in, or back again."""
        await self.enter()
        self.is_in = True

    async def vanish(self) -> None:
        """Be cut off, and keep what was read."""
        self.is_in = False
        await self.lose()

    def forget(self) -> None:
        """Lose its memory with the connection: where it was, only the server knows."""
        self.logs.clear()

    async def until(self, conv: str, seq: int) -> Log:
        """Read until the log is at ``seq``, and return it."""
        log = self.logs[conv]
        while not log or log[-1]["seq"] < seq:
            await self.read(conv)
        if self.acking:
            await self.ack(conv, log[-1]["seq"])
        return log

    async def until_signal(self, conv: str, matches: Callable[[Signal], object]) -> Signal:
        """Read until a signal of a conversation has come that ``matches``, and return it."""
        while True:
            for signal in reversed(self.signals):
                if signal["conv"] == conv and matches(signal):
                    return signal
            await self.read(conv)

    async def until_gone(self, conv: str) -> Log:
        """Read until the conversation is not the robot's any more, and return what it was given of it."""
        try:
            while not self.logs[conv] or not self._is_end(self.logs[conv][-1]):
                await self.read(conv)
        except Refused as refused:
            if refused.code != "not_found":
                raise
        return self.logs[conv]

    async def send(self, conv: str, body: Any, **fields: Any) -> dict[str, Any]:
        """Send an event and return its place."""
        cid = fields.pop("cid", None) or secrets.token_hex(8)
        sent: dict[str, Any] = await self.ask("send", conv=conv, cid=cid, body=body, **fields)
        return sent

    async def send_all(self, conv: str, bodies: Iterable[Any]) -> None:
        """Send so many events, without waiting for one before the next."""
        for body in bodies:
            await self.send(conv, body)

    async def refused_with(self, t: str, **fields: Any) -> str:
        """Ask for what must be refused, and return the error's code."""
        try:
            answer = await self.ask(t, **fields)
        except Refused as refused:
            return refused.code
        raise AssertionError(f"{t} was accepted: {answer}")

    def keep(self, conv: str, events: list[Event]) -> None:
        """Take in events, which must go on where the log is."""
        log = self.logs[conv]
        for event in events:
            assert not log or event["seq"] == log[-1]["seq"] + 1, (
                f"{self.name} got {event['seq']} after {log[-1]['seq']} in {conv}"
            )
            log.append(event)

    def last(self, conv: str) -> int | None:
        """Return the last seq it was given, or None."""
        return int(self.logs[conv][-1]["seq"]) if self.logs[conv] else None

    def _is_end(self, event: Event) -> bool:
        removed = event["kind"] == "members_removed" and self.name in event["body"]["robots"]
        return removed or event["kind"] == "group_deleted"
