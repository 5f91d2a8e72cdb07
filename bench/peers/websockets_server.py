"""``python -m bench.peers.websockets_server PORT``: groups with the websockets library's ``broadcast()``.

A text message ``join GROUP`` enters a group, ``send GROUP TEXT`` is broadcast to it.
"""

import asyncio
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

GROUPS: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def handle(connection: ServerConnection) -> None:
    """Serve one connection."""
    try:
        async for message in connection:
            assert isinstance(message, str)
            word, group, *text = message.split(" ", 2)
            if word == "join":
                GROUPS[group].add(connection)
                await connection.send("joined")
            else:
                broadcast(GROUPS[group], text[0])
    except ConnectionClosed:
        pass
    finally:
        for members in GROUPS.values():
            members.discard(connection)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
