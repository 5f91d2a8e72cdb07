"""A stranger does not fill the disk with lines of the log."""

import asyncio

import pytest

from tests.e2e.server_process import ServerProcess
from tests.until import PATIENCE_S

ROUNDS = 50
LINES_MAX = 5
HEAD = b"GET /v1/connect HTTP/1.1\r\nHost: robots\r\nConnection: Upgrade\r\n"


async def say(port: int, words: bytes) -> None:
    """Say something to the server and leave, without listening to the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(words)
    async with asyncio.timeout(PATIENCE_S):
        await reader.read(1)
    writer.transport.abort()


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60) + b"\r\n\r\n",
        b"who is there?\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        HEAD + b"Upgrade: h2c\r\n\r\n",
        HEAD + b"Upgrade: websocket\r\n\r\n",
    ],
    ids=["TLS", "no HTTP", "another version", "no host", "another protocol", "half a handshake"],
)
async def test_who_is_refused_writes_no_log(target: ServerProcess, words: bytes) -> None:
    before = len(lines_of(target))
    for _ in range(ROUNDS):
        await say(target.port, words)
    assert len(lines_of(target)) - before <= LINES_MAX


def lines_of(server: ServerProcess) -> list[str]:
    """Return the lines of its log, but for what the honest robots' messages make the store say meanwhile."""
    return [line for line in server.stderr().splitlines() if "store.checkpoint" not in line]
