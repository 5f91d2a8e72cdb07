"""What befalls the nodes of a run while its robots send: the node that most is brought to, and Redis."""

import asyncio
import os
import re
import signal
import urllib.request
from collections.abc import Sequence
from typing import Final

from tests.chaos.fleet import Fleet
from tests.e2e.server_process import ServerProcess
from tests.redis_server import RedisServer

FAULTS: Final = ("kill", "pause", "redis")
GOES_ON_S: Final = 15.0
"""Sends must go on so soon after a fault, and nodes must prefer one of them again so soon after its end."""
ENOUGH_ACKS: Final = 30


def count(node: ServerProcess, metric: str) -> int:
    """Return what a node has counted."""
    with urllib.request.urlopen(node.url + "/metrics") as answer:
        found = re.search(rf"^{re.escape(metric)} (\S+)$", answer.read().decode(), re.M)
    assert found is not None, f"a node counts {metric}"
    return int(float(found[1]))


class Faults:
    """Does them one by one, and finds out whether sends go on.

    Attributes:
        findings: where they did not.
    """

    def __init__(
        self, nodes: Sequence[ServerProcess], redis: RedisServer, fleet: Fleet, *, seconds: float
    ) -> None:
        self._nodes = nodes
        self._redis = redis
        self._fleet = fleet
        self._seconds = seconds
        self.findings: list[str] = []

    async def carry_out(self, name: str) -> None:
        """Do one, wait until it is over, and until nodes help each other again."""
        await self._until_forwarded(f"before {name}")
        match name:
            case "kill":
                await self._kill()
            case "pause":
                await self._pause()
            case "redis":
                await self._without_redis()
        await self._until_forwarded(f"after {name}")

    async def _kill(self) -> None:
        node = await self._most_asked()
        node.kill()
        await self._expect_acks("a node was killed")
        await asyncio.to_thread(node.start)
        await self._expect_acks("it was started again")

    async def _pause(self) -> None:
        node = await self._most_asked()
        os.kill(node.pid, signal.SIGSTOP)
        try:
            await self._expect_acks("a node stands still")
            await asyncio.sleep(self._seconds)
            await self._expect_acks("a node has stood still for long")
        finally:
            os.kill(node.pid, signal.SIGCONT)
        await self._expect_acks("it goes on")

    async def _without_redis(self) -> None:
        self._redis.kill()
        await self._expect_acks("Redis was killed")
        await asyncio.sleep(self._seconds)
        await self._expect_acks("Redis is gone for long")
        await asyncio.to_thread(self._redis.start)
        await self._expect_acks("Redis is back")

    async def _most_asked(self) -> ServerProcess:
        """Return the node that appends most for others."""

        def served(node: ServerProcess) -> int:
            return count(node, "imserver_appends_served_total")

        return await asyncio.to_thread(lambda: max(self._nodes, key=served))

    async def _until_forwarded(self, when: str) -> None:
        def forwarded() -> int:
            return sum(count(node, "imserver_appends_forwarded_total") for node in self._nodes)

        before = await asyncio.to_thread(forwarded)
        try:
            async with asyncio.timeout(GOES_ON_S):
                while await asyncio.to_thread(forwarded) <= before:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self.findings.append(f"{when} nothing was handed on for {GOES_ON_S:g} s")

    async def _expect_acks(self, what: str) -> None:
        if not await self._fleet.wait_acks(ENOUGH_ACKS, within_s=GOES_ON_S):
            self.findings.append(f"{what}: not {ENOUGH_ACKS} sends were acked in {GOES_ON_S:g} s")
