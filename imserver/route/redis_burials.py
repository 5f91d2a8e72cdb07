"""What becomes of the robots of a node that is gone: one of the nodes that are left tells that they are.

The dead node's set of robots is the list of what is yet to be told, and its name stands among the nodes until
nothing is left of it. So whoever does this may die in the middle: the next node that looks goes on with it.
Who does it says so by a claim that expires, and robots are taken off the set only when they have been told:
each is told at least once. It ends as soon as the node is seen to live after all, which then writes its set
anew.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from imserver.protocol.names import RobotName
from imserver.route.redis_client import FAILURES, Client

_log = logging.getLogger("imserver.route")

CHUNK: Final = 500


class Keys(NamedTuple):
    """The keys of a deployment, behind its prefix."""

    prefix: str

    @property
    def nodes(self) -> str:
        """Names of the nodes."""
        return f"{self.prefix}:nodes"

    @property
    def stamp(self) -> str:
        """The last stamp that was given out."""
        return f"{self.prefix}:stamp"

    def lease_of(self, node: str) -> str:
        """A node's record, which expires."""
        return f"{self.prefix}:node:{node}"

    def robots_of(self, node: str) -> str:
        """The robots that are online on a node."""
        return f"{self.prefix}:robots:{node}"

    def burial_of(self, node: str) -> str:
        """Who tells what became of a dead node's robots; expires."""
        return f"{self.prefix}:burial:{node}"


class Burials:
    """Tells of the robots of dead nodes.

    Args:
        claim_ms: after so long without progress another node may go on with it.
        tell: tells some robots; returns whether it could.
    """

    def __init__(
        self,
        redis: Client,
        keys: Keys,
        *,
        node: str,
        claim_ms: int,
        tell: Callable[[list[RobotName]], Awaitable[bool]],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._node = node
        self._claim_ms = claim_ms
        self._tell = tell
        self._under_way: set[str] = set()

    def may_begin(self, node: str) -> bool:
        """Tell whether this node is not at it already, and note that it is from now on."""
        if node in self._under_way:
            return False
        self._under_way.add(node)
        return True

    async def bury(self, node: str) -> None:
        """Tell what a dead node held, unless another node does; never fails, whatever becomes of Redis."""
        try:
            claim = self._keys.burial_of(node)
            if await self._redis.set(claim, self._node, nx=True, px=self._claim_ms):
                await self._bury(node, claim)
        except FAILURES as exc:
            _log.warning("route.burial_broken_off", extra={"node": node, "reason": str(exc)})
        finally:
            self._under_way.discard(node)

    async def _bury(self, node: str, claim: str) -> None:
        key, count = self._keys.robots_of(node), 0
        while not await self._redis.exists(self._keys.lease_of(node)):
            robots: Any = await self._redis.srandmember(key, CHUNK)
            if not robots:
                await self._redis.srem(self._keys.nodes, node)
                _log.warning("route.node_gone", extra={"node": node, "robots": count})
                break
            if not await self._tell([RobotName(_text(robot)) for robot in robots]):
                return  # the claim runs out, and whoever sees the name then tries again
            await self._redis.srem(key, *robots)
            await self._redis.pexpire(claim, self._claim_ms)
            count += len(robots)
        await self._redis.delete(claim)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
