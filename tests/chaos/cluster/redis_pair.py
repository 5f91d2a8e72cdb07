"""Two Redis servers behind one address: the replica takes it over when the primary fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.cluster.network import Network
from tests.redis_server import RedisServer

NAMES = ("redis-1", "redis-2")
ADDRESS = "10.77.0.100"
PORT = 6379
_ANSWER_S = 20.0


class RedisPair:
    """A primary, which nodes find under `ADDRESS`, and its replica.

    Attributes:
        primary: the name of the one that has the address.
    """

    def __init__(self, network: Network) -> None:
        self.primary, self.replica = NAMES
        self._network = network
        self._servers = {
            name: RedisServer(network.place(name), port=PORT, bind="0.0.0.0") for name in NAMES
        }

    @property
    def url(self) -> str:
        """Where nodes find it."""
        return f"redis://{ADDRESS}:{PORT}/0"

    @property
    def server(self) -> RedisServer:
        """The primary's process."""
        return self._servers[self.primary]

    async def start(self) -> None:
        """Start both."""
        for name in NAMES:
            await asyncio.to_thread(self._servers[name].start)
        await self._network.take_address(self.primary, ADDRESS)
        await self.follow()

    async def follow(self) -> None:
        """Let the replica follow the primary, and return when it does."""
        host = self._network.place(self.primary).host
        await self.ask(self.replica, "REPLICAOF", host, PORT)
        async with asyncio.timeout(_ANSWER_S):
            while not await self._follows():
                await asyncio.sleep(0.05)

    async def _follows(self) -> bool:
        told = await self.ask(self.replica, "INFO", "replication")
        return bool(told.get("master_link_status") == "up")

    async def promote(self) -> None:
        """Make the replica the primary, and give it the address."""
        await self.ask(self.replica, "REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        await self._network.take_address(self.primary, ADDRESS)

    async def ask(self, name: str, *command: Any) -> Any:
        """Send one of them a command."""
        async with self._client(name) as client:
            return await client.execute_command(*command)

    @contextlib.asynccontextmanager
    async def _client(self, name: str) -> AsyncIterator[Redis]:
        client = Redis(
            host=self._network.place(name).host,
            port=PORT,
            socket_timeout=5.0,
            decode_responses=True,
        )
        try:
            yield client
        finally:
            await client.aclose()

    async def answers(self) -> bool:
        """Tell whether the primary answers."""
        try:
            return bool(await self.ask(self.primary, "PING"))
        except (RedisError, OSError):
            return False

    def stop(self) -> None:
        """End both."""
        for server in self._servers.values():
            server.kill()
