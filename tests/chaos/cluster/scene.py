"""What the faults of a cluster act on: nodes, a MongoDB set, two Redis servers, the network between them."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from imserver.verify.logs import Logs
from tests.chaos.cluster.network import Network
from tests.chaos.cluster.presence import online_by
from tests.chaos.cluster.raw_mongo import read_mongo, read_mongo_logs
from tests.chaos.cluster.redis_pair import RedisPair
from tests.chaos.raw_store import RawStore
from tests.chaos.scene import ACK_LIMIT_S, Scene
from tests.chaos.server import ChaosServer
from tests.mongo_server import MongoSet

T = TypeVar("T")
EXIT_LIMIT_S = 20.0
PRESENCE_LIMIT_S = 15.0
HEALTH_LIMIT_S = 90.0
DATABASE = "imserver"


@dataclass(kw_only=True)
class Cluster(Scene):
    """Three nodes, three mongods, Redis and its replica, each in a namespace of its own, and robots.

    Attributes:
        nodes: by the names of their namespaces.
        mongo: the replica set; its members are numbered.
        redis: the two Redis servers.
        robots: names of all robots.
        robot_places: names of the namespaces that they run in.
        token: of an admin.
    """

    network: Network
    nodes: dict[str, ChaosServer]
    mongo: MongoSet
    redis: RedisPair
    robots: frozenset[str] = frozenset()
    robot_places: Sequence[str] = ()
    token: str = ""

    @property
    def mongods(self) -> list[str]:
        """The names of the members' namespaces."""
        return [mongod_name(member) for member in range(len(self.mongo.ports))]

    def starts(self) -> int:
        return sum(node.starts for node in self.nodes.values())

    def fault(self, name: str, **facts: Any) -> None:
        """Note that something is broken now; each robot and each conversation has to go on all the same."""
        limit_s = self.allowed_s(ACK_LIMIT_S)
        self.journal.note("fault", name, facts=facts, limit_s=limit_s, each=True)

    def outage(self, name: str, **facts: Any) -> None:
        """Note that something is broken which leaves no way to go on until it is `restored`."""
        self.journal.note("fault", name, facts=facts)

    def restored(self, name: str, text: str = "") -> None:
        """Note that what was an `outage` is over: from now on each robot has to go on."""
        limit_s = self.allowed_s(ACK_LIMIT_S)
        self.journal.note("healed", name, text, limit_s=limit_s, each=True)

    async def start_node(self, name: str) -> None:
        """Start a node again."""
        began_s = time.monotonic()
        await self.nodes[name].start()
        took_s = round(time.monotonic() - began_s, 2)
        self.journal.note("note", name, facts={"node": name, "ready_s": took_s})

    async def primary(self) -> int:
        """Return which member is the primary; waits for one."""
        return await asyncio.to_thread(self.mongo.wait_for_primary)

    async def wait_sound(self, name: str) -> None:
        """Return when every mongod is primary or secondary; note a finding if that takes too long."""
        if not await self.wait_until(self.mongo.is_sound, within_s=HEALTH_LIMIT_S):
            self.finding(name, f"the set is not whole again after {HEALTH_LIMIT_S:g} s")

    async def wait_until(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Ask, off the loop, until something holds; return whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.allowed_s(within_s)):
                while not await asyncio.to_thread(condition):
                    await asyncio.sleep(0.1)
                return True
        return False

    async def expect_running(self, name: str) -> None:
        for node, server in self.nodes.items():
            if not server.running:
                self.finding(name, f"{node} has ended: {server.last_words()}")
                await self.start_node(node)

    async def expect_going(self, name: str) -> None:
        await self.expect_running(name)
        silent = await self.fleet.wait_each_acked(
            self.lines, since_s=time.monotonic(), within_s=self.allowed_s(ACK_LIMIT_S)
        )
        if silent:
            where = ", ".join(silent)
            self.finding(name, f"no ack in {ACK_LIMIT_S:g} s afterwards: {where}")
        await self._expect_presence(name, self.robots)

    async def heal(self) -> None:
        await super().heal()
        await self.wait_sound("the end")

    async def end(self) -> None:
        await self._expect_presence("the end", frozenset())
        for name, server in self.nodes.items():
            for line in server.tracebacks():
                self.finding(name, line)
        for name, server in self.nodes.items():
            server.signal(signal.SIGTERM)
            status = await server.wait_exit(within_s=self.allowed_s(EXIT_LIMIT_S))
            if status != 0:
                self.finding("the end", f"{name} ended with status {status}, not 0")

    async def _expect_presence(self, name: str, robots: frozenset[str]) -> None:
        """Note a finding unless each node says before long that exactly these robots are online."""
        began_s = time.monotonic()
        for node, server in self.nodes.items():
            url = server.url.replace("ws://", "http://", 1)
            seen: list[frozenset[str]] = []

            def is_so(url: str = url, seen: list[frozenset[str]] = seen) -> bool:
                seen[:] = [online_by(url, self.token)]
                return seen == [robots]

            if not await self.wait_until(is_so, within_s=PRESENCE_LIMIT_S):
                wrong = sorted(seen[0] ^ robots) if seen else "no answer"
                self.finding(name, f"{node} is wrong about who is online: {wrong}")
        took_s = round(time.monotonic() - began_s, 2)
        self.journal.note("note", name, facts={"presence_s": took_s})

    def raw_store(self) -> RawStore:
        return read_mongo(self.mongo.url(DATABASE))

    def raw_logs(self) -> Logs:
        return read_mongo_logs(self.mongo.url(DATABASE))


def mongod_name(member: int) -> str:
    """Return the name of a member's namespace."""
    return f"mongo-{member + 1}"


def names(what: str, count: int) -> Sequence[str]:
    """Return the names of so many namespaces."""
    return [f"{what}-{number}" for number in range(1, count + 1)]
