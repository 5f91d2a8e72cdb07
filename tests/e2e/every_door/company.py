"""Who takes part in a scenario: members that come in by the doors of one cast, on the nodes of one site."""

import base64
import itertools
from collections.abc import Sequence
from typing import Any, Final

from tests.e2e.every_door.framed import TcpJson, TcpMsgpack, WebSocketJson, WebSocketMsgpack
from tests.e2e.every_door.member import Event, Log, Member
from tests.e2e.every_door.over_http import EventStreamMember, LinesMember, PollMember
from tests.e2e.every_door.site import Site
from tests.e2e.wire import together

DOORS: Final[dict[str, type[Member]]] = {
    "websocket-msgpack": WebSocketMsgpack,
    "http-poll": PollMember,
    "tcp-json": TcpJson,
    "http-stream": EventStreamMember,
    "tcp-msgpack": TcpMsgpack,
    "http-lines": LinesMember,
    "websocket-json": WebSocketJson,
}
"""In the order in which a mixed company comes in: neighbours differ as much as they can."""

CASTS: Final = {door: (door,) for door in DOORS} | {"one-of-each": tuple(DOORS)}

_SHOWN = ("seq", "ts", "sender", "cid", "kind", "ref", "body")


class Company:
    """The members of one scenario; the names of robots and groups are this scenario's own.

    Attributes:
        size: how many make a full company: one for each door of the cast, and three at least.
    """

    _tags = itertools.count(1)

    def __init__(self, site: Site, cast: Sequence[str]) -> None:
        self.site = site
        self.size = max(3, len(cast))
        self._doors_count = len(cast)
        self._doors = itertools.cycle(cast)
        self._turn = itertools.count()
        self._tag = f"{next(self._tags)}"
        self._members: list[Member] = []

    def name(self, name: str) -> str:
        """Return ``name`` as this scenario alone uses it."""
        return f"{name}.door{self._tag}"

    def newcomer(self, name: str) -> Member:
        """Return a member that has not come in yet."""
        door = next(self._doors)
        addresses = getattr(self.site, door.partition("-")[0])
        address = addresses[next(self._turn) % len(addresses)]
        member = DOORS[door](self.name(name), self.site, address)
        self._members.append(member)
        return member

    async def member(self, name: str) -> Member:
        """Return a member that is in."""
        member = self.newcomer(name)
        await member.come()
        return member

    async def everybody(self) -> list[Member]:
        """Return a full company."""
        return [await self.member(f"r{number}") for number in range(self.size)]

    async def one_by_each_door(self) -> list[Member]:
        """Return a member by each door of the cast."""
        return [await self.member(f"r{number}") for number in range(self._doors_count)]

    async def group(self, owner: Member, *others: Member, name: str = "dock", **more: Any) -> str:
        """Create a group of robots that are in, and return its conversation."""
        names = [other.name for other in others]
        made = await owner.ask("create_group", name=self.name(name), members=names, **more)
        return str(made["conv"])

    async def aclose(self) -> None:
        """Send everybody home."""
        for member in self._members:
            if member.is_in:
                await member.vanish()


async def agree(conv: str, *members: Member) -> list[tuple[Any, ...]]:
    """Let all read to the head; return the log, which is the same for all, live and in pages.

    A marker is sent so that the head is known; the first of the members sends it.
    """
    head = (await members[0].send(conv, "the end"))["seq"]
    logs = await together(*(member.until(conv, head) for member in members))
    pages = await together(*(pages_of(member, conv) for member in members))
    told = [[shown(event) for event in log] for log in (*logs, *pages)]
    assert [event[0] for event in told[-1]] == list(range(1, head + 1))
    for log in told:
        assert log == told[-1][-len(log) :]
    return told[-1]


async def pages_of(member: Member, conv: str) -> Log:
    """Return the whole log as pages of history bring it."""
    log: Log = []
    while page := await member.ask(
        "history", conv=conv, after=log[-1]["seq"] if log else 0, limit=400
    ):
        log += page
    return log


def shown(event: Event) -> tuple[Any, ...]:
    """Return an event without what is the codec's: left out keys, and base64 for bytes."""
    return tuple(plain(event.get(name)) for name in _SHOWN)


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value
