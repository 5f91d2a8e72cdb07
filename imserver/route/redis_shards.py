"""The carrier over a Redis Cluster: a line to each master, and each channel on the line that has its slot.

Sharded pub/sub (Redis 7): what is published goes to the servers of one slot and not to the whole cluster.
Which master has which slots is asked of any of them: at first, now and then, and whenever something does not
work: a master that cannot be reached, a slot that was moved away, a channel that its server has let go of.
Channels that have moved are subscribed to anew where they are now, and whoever listens is told, as after
every cut. One master that fails concerns its own channels only, until a replica takes over or it comes back.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from imserver.core.tasks import TaskScope, heed_cancellation
from imserver.route.backoff import Backoff
from imserver.route.carrier import ignore
from imserver.route.metrics import RouteMetrics
from imserver.route.redis_client import closing, connect_one, server_url, server_urls
from imserver.route.redis_line import RedisLine
from imserver.route.slots import PARTITIONS, partition_of, slot_of, tagged, untagged

_log = logging.getLogger("imserver.route")

LOOK_EVERY_S: Final = 30.0


class _Served(NamedTuple):
    """A line that is in use, and the task that leads its life."""

    line: RedisLine
    life: asyncio.Task[None]


class RedisShards:
    """A `Carrier` over a cluster.

    Args:
        url: redis+cluster://… or rediss+cluster://…, with some of its servers.
    """

    def __init__(self, url: str, *, dice: random.Random, metrics: RouteMetrics) -> None:
        self._url = url
        self._dice = dice
        self._metrics = metrics
        self._backoff = Backoff(dice)
        self._unsure = asyncio.Event()
        self._lines: dict[str, _Served] = {}
        self._table: list[RedisLine | None] = [None] * PARTITIONS
        self._homes: dict[str, RedisLine | None] = {}
        self._dropped: set[str] = set()
        self._has_lost = False
        self._asked = 0
        self.on_payload: Callable[[bytes], None] = ignore
        self.on_subscribed: Callable[[str], None] = ignore
        self.on_lost: Callable[[], None] = ignore
        self.on_again: Callable[[], None] = ignore

    @property
    def is_connected(self) -> bool:
        return None not in self._table and all(
            served.line.is_connected for served in self._lines.values()
        )

    def put(self, channel: str, payload: bytes) -> bool:
        line = self._table[partition_of(channel)]
        if line is None:
            self._has_lost = True
            self._metrics.dropped.inc()
            return False
        return line.put(tagged(channel), payload)

    def want(self, channel: str) -> None:
        line = self._homes[channel] = self._table[partition_of(channel)]
        if line is not None:
            line.want(tagged(channel))

    def unwant(self, channel: str) -> None:
        line = self._homes.pop(channel, None)
        self._dropped.discard(channel)
        if line is not None:
            line.unwant(tagged(channel))

    async def wait_written(self) -> None:
        for served in list(self._lines.values()):
            await served.line.wait_written()

    async def run(self) -> None:
        async with TaskScope() as scope:
            while True:
                heed_cancellation()
                self._unsure.clear()
                masters = await self._ask()
                if masters is not None:
                    self._fit(masters, scope)
                if masters is None or not self.is_connected:
                    await asyncio.sleep(self._backoff.next_s())
                    continue
                self._backoff.reset()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._unsure.wait()

    async def _ask(self) -> dict[int, str] | None:
        """Return the URL of the master of each slot, as one of the servers says; None if none does.

        Another one is asked first each time: one that is cut off from the rest does not know better.
        """
        known = list(dict.fromkeys([*self._lines, *server_urls(self._url)]))
        self._asked += 1
        for number in range(len(known)):
            heed_cancellation()
            url = known[(self._asked + number) % len(known)]
            try:
                async with closing(connect_one(url)) as redis:
                    shards = await redis.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
                return self._masters(shards, asked=url)
            except (RedisError, OSError) as exc:
                _log.info("route.cannot_ask_cluster", extra={"reason": str(exc)})
        return None

    def _masters(self, shards: Iterable[Any], *, asked: str) -> dict[int, str]:
        masters: dict[int, str] = {}
        for first, last, (host, port, *_), *_ in shards:
            # A server that does not know its own address gives none: it is the one that was asked.
            url = server_url(self._url, host.decode(), port) if host else asked
            masters |= dict.fromkeys(range(first, last + 1), url)
        return masters

    def _fit(self, masters: Mapping[int, str], scope: TaskScope) -> None:
        """Have a line to each master, and each channel on the line that has its slot."""
        urls = set(masters.values())
        for url in urls - self._lines.keys():
            self._lines[url] = self._begin(url, scope)
        self._table = [
            self._lines[masters[slot]].line if slot in masters else None
            for slot in map(slot_of, range(PARTITIONS))
        ]
        for channel, home in list(self._homes.items()):
            if home is not self._table[partition_of(channel)] or channel in self._dropped:
                if home is not None:
                    home.unwant(tagged(channel))
                self.want(channel)
        self._dropped.clear()
        for url in self._lines.keys() - urls:
            self._end(url)
        if self._has_lost and None not in self._table:
            self._has_lost = False
            self.on_again()

    def _begin(self, url: str, scope: TaskScope) -> _Served:
        line = RedisLine(connect_one(url), dice=self._dice, metrics=self._metrics, sharded=True)
        line.on_payload = self.on_payload
        line.on_subscribed = lambda channel: self.on_subscribed(untagged(channel))
        line.on_lost = self.on_lost
        line.on_again = self.on_again
        line.on_trouble = self._unsure.set
        line.on_dropped = self._on_dropped
        return _Served(line, scope.spawn(line.run(), name="route.line"))

    def _end(self, url: str) -> None:
        line, life = self._lines.pop(url)
        # What it had yet to publish is lost, and nobody else will say so.
        self._has_lost = True
        line.publisher.drop()
        life.cancel()

    def _on_dropped(self, channel: str) -> None:
        self._dropped.add(untagged(channel))
        self._unsure.set()
