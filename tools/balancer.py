"""A load balancer for development: passes TCP connections on to the node that is ready and has the fewest.

usage: python -m tools.balancer --listen HOST:PORT --node HOST:PORT [--node HOST:PORT …]

It stands where docker/ has haproxy, and does what that is told to do there: it asks each node for `/readyz`,
so that one that drains gets nobody new, and tries the next one if a node cannot be reached. It prints
"ready" when it listens.
"""

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Sequence
from typing import Final

CHECK_EVERY_S: Final = 0.5
CHECK_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 2.0
PIECE_BYTES: Final = 64 * 1024
_CHECK: Final = b"GET /readyz HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"


class Node:
    """A node, and what is known of it."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.host = host
        self.port = int(port)
        self.is_ready = False
        self.connections = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to it.

        Raises:
            OSError, TimeoutError: that cannot be done.
        """
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(self.host, self.port)

    async def check(self) -> bool:
        """Return whether it says that it is ready."""
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(_CHECK)
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in answer


class Balancer:
    """Passes connections on."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes

    async def watch(self) -> None:
        """Look which nodes are ready until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_EVERY_S)

    async def look(self) -> None:
        """Look once which nodes are ready."""
        async with asyncio.TaskGroup() as group:
            checks = [(node, group.create_task(node.check())) for node in self._nodes]
        for node, check in checks:
            node.is_ready = check.result()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead the life of one connection."""
        with contextlib.closing(writer):
            for node in sorted(self._nodes, key=lambda each: (not each.is_ready, each.connections)):
                try:
                    upstream = await node.connect()
                except (OSError, TimeoutError):
                    node.is_ready = False
                    continue
                node.connections += 1
                try:
                    await _join((reader, writer), upstream)
                finally:
                    node.connections -= 1
                return


async def _join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Carry what each side says to the other until both have said everything, or one is gone."""
    with contextlib.closing(other[1]):
        async with asyncio.TaskGroup() as group:
            group.create_task(_carry(one[0], other[1]))
            group.create_task(_carry(other[0], one[1]))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:  # one of the two is gone: so is the connection
        writer.transport.abort()


async def balance(listen: str, nodes: Sequence[str]) -> None:
    """Balance until SIGTERM or SIGINT.

    Raises:
        OSError: the address cannot be listened on.
    """
    balancer, ended = Balancer([Node(address) for address in nodes]), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await balancer.look()
    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(balancer.pass_on, host, int(port), backlog=1_024)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(balancer.watch())
        print(f"ready {listen}", flush=True)
        await ended.wait()
        watching.cancel()
    server.close()


def main() -> None:
    """Read the command line and balance."""
    parser = argparse.ArgumentParser(prog="python -m tools.balancer")
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--node", action="append", required=True, metavar="HOST:PORT")
    given = parser.parse_args()
    asyncio.run(balance(given.listen, given.node))


if __name__ == "__main__":
    main()
