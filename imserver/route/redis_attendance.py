"""Who is where, in Redis: a lease for each node, and the set of the robots it holds.

Keys, behind the deployment's prefix:

- ``node:<name>``: the node's record as JSON; expires unless the node renews it, which is its lease.
- ``nodes``: the names of all nodes that have not been seen dead, so that nobody has to search for leases.
- ``robots:<name>``: the robots that are online there.

A node writes its own keys only, once a beat, and puts them right from what it knows itself if they are not as
it left them (Redis was emptied, or another one took over). A lease that has run out is noticed by all the
others; the one that takes the name off ``nodes`` tells what became of the robots.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from imserver.core.tasks import heed_cancellation
from imserver.protocol.names import RobotName
from imserver.route.attendance import NodeRecord

_log = logging.getLogger("imserver.route")

BEAT_S: Final = 1.0
LEASE_S: Final = 6.0
LEAVE_S: Final = 1.0
CHUNK: Final = 1_000

_FAILURES: Final = (RedisError, OSError)


class RedisAttendance:
    """An `Attendance` over Redis. `run` leads its life.

    Args:
        redis: a client of its own with a deadline on every call; closed when `run` ends.
        prefix: begins every key, so that deployments can share a Redis.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        record: NodeRecord,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._record = record
        self._beat_s = beat_s
        self._lease_ms = int(lease_s * 1000)
        self._changed: set[RobotName] = set()
        self._written = 0
        self._is_true = False
        self._wake = asyncio.Event()
        self._others: list[str] = []
        self.here: Collection[RobotName] = ()
        self.on_lost: Callable[[list[RobotName]], None] = _ignore
        self.on_gone: Callable[[], None] = _ignore

    @property
    def others(self) -> list[str]:
        """The names of the other nodes that were there at the last beat."""
        return list(self._others)

    def came(self, robot: RobotName) -> None:
        self._changed.add(robot)
        self._wake.set()

    def went(self, robot: RobotName) -> None:
        self._changed.add(robot)
        self._wake.set()

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        if not robots or not self._others:
            return set()
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for node in self._others:
                    pipeline.smismember(self._robots_of(node), list(robots))
                answers = await pipeline.execute()
        except _FAILURES:
            return set()
        return {
            robot
            for present in answers
            for robot, is_there in zip(robots, present, strict=True)
            if is_there
        }

    async def nodes(self) -> list[NodeRecord]:
        try:
            names = sorted(_texts(await self._redis.smembers(self._nodes)))
            leases = (
                await self._redis.mget([self._lease_of(name) for name in names]) if names else []
            )
        except _FAILURES:
            return [self._own()]
        found = [msgspec.json.decode(lease, type=NodeRecord) for lease in leases if lease]
        others = [node for node in found if node.node != self._record.node]
        return sorted([*others, self._own()], key=lambda node: node.node)

    async def run(self) -> None:
        """Renew the lease and keep the records true until cancelled, then take them away."""
        try:
            while True:
                heed_cancellation()
                try:
                    await self._beat()
                    await self._write_until_next_beat()
                except _FAILURES as exc:
                    _log.warning("route.no_attendance", extra={"reason": str(exc)})
                    self._is_true = False
                    await asyncio.sleep(self._beat_s)
        finally:
            await self._leave()

    async def _write_until_next_beat(self) -> None:
        """Write who comes and goes, as it happens."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._beat_s
        while loop.time() < until_s:
            heed_cancellation()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until_s):
                    await self._wake.wait()
            if self._wake.is_set():  # what comes while this is written is written together
                await self._write_changes()

    async def _beat(self) -> None:
        own = self._own()
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(self._lease_of(own.node), msgspec.json.encode(own), px=self._lease_ms)
            pipeline.sadd(self._nodes, own.node)
            pipeline.scard(self._robots_of(own.node))
            pipeline.smembers(self._nodes)
            _, _, count, names = await pipeline.execute()
        if not self._is_true or count != self._written:
            await self._write_all()
        await self._look_at_others([name for name in _texts(names) if name != own.node])

    async def _look_at_others(self, names: list[str]) -> None:
        leases = await self._redis.mget([self._lease_of(name) for name in names]) if names else []
        alive = [name for name, lease in zip(names, leases, strict=True) if lease is not None]
        before, self._others = self._others, alive
        for name in set(names) - set(alive):
            if await self._redis.srem(self._nodes, name):
                await self._bury(name)
        if not set(before) <= set(alive):
            self.on_gone()

    async def _bury(self, node: str) -> None:
        """Tell what a dead node held; done by the one node that has taken its name off the list."""
        robots = [
            RobotName(name) for name in _texts(await self._redis.smembers(self._robots_of(node)))
        ]
        await self._redis.delete(self._robots_of(node))
        _log.warning("route.node_gone", extra={"node": node, "robots": len(robots)})
        if robots:
            self.on_lost(robots)

    async def _write_all(self) -> None:
        key = self._robots_of(self._record.node)
        robots = list(self.here)
        self._changed.clear()
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            for start in range(0, len(robots), CHUNK):
                pipeline.sadd(key, *robots[start : start + CHUNK])
            await pipeline.execute()
        self._written = len(robots)
        self._is_true = True

    async def _write_changes(self) -> None:
        self._wake.clear()
        changed, self._changed = self._changed, set()
        here = {robot for robot in changed if robot in self.here}
        key = self._robots_of(self._record.node)
        self._is_true = False  # until it is written, whoever cancels this
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.scard(key)
            if here:
                pipeline.sadd(key, *here)
            if changed - here:
                pipeline.srem(key, *(changed - here))
            pipeline.scard(key)
            counts = await pipeline.execute()
        self._is_true = counts[0] == self._written
        self._written = counts[-1]

    async def _leave(self) -> None:
        """Take the node off the list, unless Redis does not answer: then its lease runs out."""
        own = self._record.node
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._redis.srem(self._nodes, own)
                await self._redis.delete(self._lease_of(own), self._robots_of(own))
        except (*_FAILURES, TimeoutError) as exc:
            _log.info("route.left_without_word", extra={"reason": str(exc)})
        finally:
            await self._redis.aclose()

    def _own(self) -> NodeRecord:
        return structs.replace(self._record, robots=len(self.here))

    @property
    def _nodes(self) -> str:
        return f"{self._prefix}:nodes"

    def _lease_of(self, node: str) -> str:
        return f"{self._prefix}:node:{node}"

    def _robots_of(self, node: str) -> str:
        return f"{self._prefix}:robots:{node}"


def _texts(values: Iterable[bytes | str]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in values]


def _ignore(*_: object) -> None:
    """Stand in until somebody wants to know."""
