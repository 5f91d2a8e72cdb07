"""Those who stay at work while a storm goes on: robots that send at a fixed rate, whatever the server does.

The load is open: a message's latency counts from when it was due, so a server that stalls cannot hide it.
"""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final

from examples.wire_client import Frame, WireClient

BODY: Final = {"at": "dock 7", "battery": 0.83, "note": "x" * 180}
IN_FLIGHT_MAX: Final = 100


class Sender(WireClient):
    """One robot that owns some groups and speaks to them in turn."""

    name: str
    groups: Sequence[str]

    async def backlog(self, messages: int) -> None:
        """Send ``messages`` to each group, and return when all are stored."""
        waiting: list[int] = []
        for number, conv in itertools.product(range(messages), self.groups):
            waiting.append(await self._say(conv, f"backlog-{number}"))
            if len(waiting) == IN_FLIGHT_MAX:
                await self.answer(waiting.pop(0))
        for request_id in waiting:
            await self.answer(request_id)

    async def work(self, per_s: float, latencies: list[float], name: str) -> None:
        """Send ``per_s`` messages a second until cancelled, and record how long each took to be stored."""
        loop = asyncio.get_running_loop()
        due: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak(per_s, due, name))
            while True:
                answer = await self.read()
                if answer["t"] == "error":
                    raise RuntimeError(f"a send was refused: {answer}")
                if answer["t"] == "sent":
                    latencies.append(loop.time() - due.pop(answer["id"]))

    async def _speak(self, per_s: float, due: dict[int, float], name: str) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for number, conv in enumerate(itertools.cycle(self.groups)):
            at_s = began_s + number / per_s
            await asyncio.sleep(at_s - loop.time())
            due[await self._say(conv, f"{name}-{number}")] = at_s

    async def _say(self, conv: str, cid: str) -> int:
        return await self.post("send", conv=conv, cid=cid, body=BODY)


class Staff:
    """The senders of one storm; they come back when the server does."""

    def __init__(self, groups: Sequence[str], senders: int) -> None:
        self._portions: Final = [
            groups[number::senders] for number in range(min(senders, len(groups)))
        ]
        self._senders: list[Sender] = []
        self._phase = 0

    @property
    def names(self) -> list[str]:
        """The robots' names."""
        return [f"sender{number}" for number in range(len(self._portions))]

    async def open(self, url: str, tokens: Sequence[str]) -> None:
        """Connect all, each with its bearer token."""
        self._senders = []
        for name, token, groups in zip(self.names, tokens, self._portions, strict=True):
            sender = await Sender.open(url)
            await sender.hello(name, key=None, token=token, auto=False)
            sender.name, sender.groups = name, [f"g/{group}" for group in groups]
            self._senders.append(sender)

    async def create(self, members: dict[str, list[str]]) -> None:
        """Have each sender create its groups."""
        for sender, groups in zip(self._senders, self._portions, strict=True):
            for group in groups:
                await sender.create_group(group, members[group])

    async def backlog(self, messages: int) -> None:
        """Have ``messages`` stored in each group."""
        async with asyncio.TaskGroup() as group:
            for sender in self._senders:
                group.create_task(sender.backlog(messages))

    async def work(self, per_s: float, latencies: list[float]) -> None:
        """Send ``per_s`` messages a second together, until cancelled."""
        self._phase += 1
        async with asyncio.TaskGroup() as group:
            for sender in self._senders:
                share = per_s / len(self._senders)
                group.create_task(sender.work(share, latencies, f"phase{self._phase}"))

    async def heads(self) -> dict[str, int]:
        """Return the last seq of every group."""
        heads: dict[str, int] = {}
        for sender in self._senders:
            answer: Frame = await sender.request("list_groups", limit=1_000)
            heads |= {row["conv"]: row["seq"] for row in answer["result"]}
        return heads

    async def aclose(self) -> None:
        """Leave."""
        for sender in self._senders:
            await sender.close()
