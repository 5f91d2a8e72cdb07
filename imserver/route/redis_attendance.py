"""Who is where, in Redis: a lease for each node, and the set of the robots it holds.

Keys, behind the deployment's prefix:

- ``node:<name>``: the node's record as JSON; expires unless the node renews it, which is its lease.
- ``nodes``: the names of all nodes that have not been seen dead, so that nobody has to search for leases.
- ``stamp``: the last stamp that was given out (`redis_stamps`).
- ``robots:<name>``: the robots that are online there; expires a day after the node's last beat.

A node writes its own keys only, once a beat, and puts them right from what it knows itself if they are not as
it left them (Redis was emptied, or another one took over). A lease that is not there is noticed by all the
others, and one of them tells what became of the robots (`redis_burials`). A node that leaves has said goodbye
to its robots; should some be left, it takes only its lease away, and the others notice at their next beat.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from imserver.core.clock import Clock
from imserver.core.tasks import TaskScope, heed_cancellation
from imserver.protocol.names import RobotName
from imserver.route.attendance import NodeRecord, ignore, nobody_tells, unknown_node
from imserver.route.redis_burials import Burials, Keys
from imserver.route.redis_client import FAILURES, Client
from imserver.route.redis_stamps import Stamps
from imserver.route.redis_time import RedisTime
from imserver.route.roster import Roster

_log = logging.getLogger("imserver.route")

BEAT_S: Final = 1.0
LEASE_S: Final = 6.0
LEAVE_S: Final = 1.0
CHUNK: Final = 1_000
KEPT_S: Final = 86_400


class RedisAttendance:
    """An `Attendance` over Redis. `run` leads its life.

    Args:
        redis: a client of its own with a deadline on every call; closed when `run` ends.
        node: this node's name, unique among those that share ``prefix``.
        prefix: begins every key, so that deployments can share a Redis.
    """

    def __init__(
        self,
        redis: Client,
        *,
        node: str,
        prefix: str,
        clock: Clock,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._redis = redis
        self._node = node
        self._keys = Keys(prefix)
        self._time = RedisTime(clock)
        self._stamps = Stamps(redis, self._keys.stamp, self._time)
        self._beat_s = beat_s
        self._lease_ms = int(lease_s * 1000)
        self._changed: set[RobotName] = set()
        self._written = 0
        self._is_true = False
        self._wake = asyncio.Event()
        self._has_tried = False
        self._changes = 1  # that the node is there
        self._shown = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._others: list[str] = []
        self._names: frozenset[str] = frozenset()
        self._burials = Burials(
            redis, self._keys, node=node, claim_ms=self._lease_ms, tell=self._tell_lost
        )
        self._roster = Roster()
        self.here: Collection[RobotName] = ()
        self.about: Callable[[], NodeRecord] = unknown_node
        self.on_lost: Callable[[list[RobotName]], Awaitable[bool]] = nobody_tells
        self.on_gone: Callable[[], None] = ignore

    @property
    def others(self) -> list[str]:
        """The names of the other nodes that were there at the last beat."""
        return list(self._others)

    def came(self, robot: RobotName) -> None:
        self._note(robot)

    def went(self, robot: RobotName) -> None:
        self._note(robot)

    def _note(self, robot: RobotName) -> None:
        self._changed.add(robot)
        self._changes += 1
        self._wake.set()

    async def settled(self) -> None:
        if (self._stamps.answers or not self._has_tried) and self._shown < self._changes:
            shown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._changes, shown))
            await shown

    async def stamp(self) -> int:
        return await self._stamps.next()

    async def elsewhere(self, robots: Sequence[RobotName]) -> set[RobotName]:
        answers = await self._present(robots) if robots else {}
        return {
            robot
            for present in answers.values()
            for robot, is_there in zip(robots, present, strict=True)
            if is_there
        }

    async def holders(self, robot: RobotName) -> list[str]:
        answers = await self._present([robot])
        return [node for node, [is_there] in answers.items() if is_there]

    async def _present(self, robots: Sequence[RobotName]) -> dict[str, list[bool]]:
        """Return, of each other node, also of one that has come since the last beat, whether it holds each
        robot in turn; empty if Redis does not answer."""
        nodes, known = self._others, self._names
        try:
            names, answers = await self._ask_of(nodes, robots)
            new = [name for name in names if name != self._node and name not in known]
            if new:
                nodes, answers = [*nodes, *new], [*answers, *(await self._ask_of(new, robots))[1]]
        except FAILURES:
            return {}
        return dict(zip(nodes, answers, strict=True))

    async def _ask_of(
        self, nodes: Sequence[str], robots: Sequence[RobotName]
    ) -> tuple[list[str], list[list[bool]]]:
        """Return the names of all nodes, and of each of ``nodes`` whether it holds each robot in turn."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.smembers(self._keys.nodes)
            for node in nodes:
                pipeline.smismember(self._keys.robots_of(node), list(robots))
            names, *answers = await pipeline.execute()
        return _texts(names), answers

    async def nodes(self) -> list[NodeRecord]:
        try:
            names = sorted(_texts(await self._redis.smembers(self._keys.nodes)))
            leases = (
                await self._redis.mget([self._keys.lease_of(name) for name in names])
                if names
                else []
            )
        except FAILURES:
            return [self.about()]
        found = [msgspec.json.decode(lease, type=NodeRecord) for lease in leases if lease]
        others = [node for node in found if node.node != self._node]
        return sorted([*others, self.about()], key=lambda node: node.node)

    def neighbours(self) -> frozenset[str]:
        return self._roster.others

    async def run(self) -> None:
        """Renew the lease and keep the records true until cancelled, then take them away."""
        try:
            async with TaskScope() as scope:
                while True:
                    heed_cancellation()
                    await self._keep(scope)
        finally:
            await self._leave()

    async def _keep(self, scope: TaskScope) -> None:
        """Beat once, and write who comes and goes until the next beat is due."""
        try:
            await self._beat(scope)
            self._has_tried = True
            await self._write_until_next_beat()
        except FAILURES as exc:
            _log.warning("route.no_attendance", extra={"reason": str(exc)})
            self._has_tried = True
            self._is_true = self._stamps.answers = False
            self._show(self._changes)
            await asyncio.sleep(self._beat_s)

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

    async def _beat(self, scope: TaskScope) -> None:
        own = msgspec.json.encode(self.about())
        robots, asked_s = self._keys.robots_of(self._node), self._time.stopwatch_s()
        async with self._redis.pipeline(transaction=False) as pipeline:
            # With a key, so that a cluster knows where: the server that has the rest of it.
            pipeline.eval("return redis.call('TIME')", 1, self._keys.nodes)
            pipeline.set(self._keys.lease_of(self._node), own, px=self._lease_ms)
            pipeline.sadd(self._keys.nodes, self._node)
            pipeline.scard(robots)
            pipeline.expire(robots, KEPT_S)
            pipeline.smembers(self._keys.nodes)
            (seconds, micros), _, _, count, _, names = await pipeline.execute()
        self._time.measured(int(seconds) + int(micros) / 1_000_000, asked_s=asked_s)
        self._stamps.answers = True
        if not self._is_true or count != self._written:
            await self._write_all()
        await self._look_at_others([n for n in _texts(names) if n != self._node], scope)

    async def _look_at_others(self, names: list[str], scope: TaskScope) -> None:
        leases = (
            await self._redis.mget([self._keys.lease_of(name) for name in names]) if names else []
        )
        alive = [name for name, lease in zip(names, leases, strict=True) if lease is not None]
        before, self._others, self._names = self._others, alive, frozenset(names)
        self._roster.look(alive, asyncio.get_running_loop().time())
        for name in set(names) - set(alive):
            if self._burials.may_begin(name):
                scope.spawn(self._burials.bury(name), name="attendance.burial")
        if not set(before) <= set(alive):
            self.on_gone()

    async def _tell_lost(self, robots: list[RobotName]) -> bool:
        return await self.on_lost(robots)

    async def _write_all(self) -> None:
        key = self._keys.robots_of(self._node)
        robots, changes = list(self.here), self._changes
        self._changed.clear()
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            for start in range(0, len(robots), CHUNK):
                pipeline.sadd(key, *robots[start : start + CHUNK])
            await pipeline.execute()
        self._written = len(robots)
        self._is_true = True
        self._show(changes)

    async def _write_changes(self) -> None:
        self._wake.clear()
        changed, self._changed = self._changed, set()
        changes = self._changes
        here = {robot for robot in changed if robot in self.here}
        key = self._keys.robots_of(self._node)
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
        self._show(changes)

    def _show(self, changes: int) -> None:
        """Wake those who wait for changes up to this one to be seen, or to be given up."""
        self._shown = changes
        waiting, self._waiting = self._waiting, []
        for number, shown in waiting:
            if number > changes:
                self._waiting.append((number, shown))
            elif not shown.done():
                shown.set_result(None)

    async def _leave(self) -> None:
        """Take the lease away, and the name if there is nobody left to tell of; if Redis does not answer, the
        lease runs out."""
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._write_changes()
                if not self._written:
                    await self._redis.srem(self._keys.nodes, self._node)
                await self._redis.delete(self._keys.lease_of(self._node))
        except (*FAILURES, TimeoutError) as exc:
            _log.info("route.left_without_word", extra={"reason": str(exc)})
        finally:
            self._show(self._changes)
            await self._redis.aclose()


def _texts(values: Iterable[bytes | str]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in values]
