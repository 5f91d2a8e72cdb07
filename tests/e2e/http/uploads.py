"""Uploads by tus, some of which are cut: over httpx, or over a bare socket that dies at a chosen byte."""

import asyncio
import base64
import contextlib
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from tests.e2e.http.robot_over_http import HttpRobot

LOCKED = 423
TUS: Final = {"Tus-Resumable": "1.0.0"}
BYTES: Final = "application/offset+octet-stream"


class Cut(NamedTuple):
    """Where a run begins, and at which byte its connection dies."""

    begin: int
    end: int


def metadata(**said: str) -> str:
    """Return what is said of a file, as tus writes it."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in said.items())


async def upload(robot: HttpRobot, size: int, **said: str) -> str:
    """Begin an upload; return its id."""
    headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": metadata(**said)}
    answer = await robot.ask("POST", "/files", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"].rpartition("/")[2]


async def offset_of(robot: HttpRobot, file: str) -> int:
    """Return how far an upload came."""
    head = await robot.ask("HEAD", f"/files/{file}", headers=TUS)
    assert head.status_code == 200, head.status_code
    return int(head.headers["Upload-Offset"])


async def send_a_part(robot: HttpRobot, file: str, content: bytes, cut: Cut) -> None:
    """Send an upload that was meant to go to the end, and die in its middle."""
    part = content[cut.begin : cut.end]
    async with Stalled(robot, file, cut.begin, part, announced=len(content) - cut.begin):
        pass


async def upload_through_cuts(robot: HttpRobot, content: bytes, cuts: Iterable[int]) -> str:
    """Upload a file over connections that die at these bytes of it; return its id."""
    file = await upload(robot, len(content))
    for cut in cuts:
        offset = await offset_of(robot, file)
        assert offset <= cut
        await send_a_part(robot, file, content, Cut(offset, cut))
    answer = None
    # The server comes to hear of the last cut late.
    while answer is None or answer.status_code == LOCKED:
        offset = await offset_of(robot, file)
        headers = TUS | {"Upload-Offset": str(offset), "Content-Type": BYTES}
        rest = content[offset:]
        answer = await robot.ask("PATCH", f"/files/{file}", content=rest, headers=headers)
    assert answer.status_code == 204, answer.text
    return file


class Stalled:
    """A run whose body does not go on by itself: its head, and what comes first of it."""

    def __init__(
        self, robot: HttpRobot, file: str, offset: int, part: bytes, *, announced: int
    ) -> None:
        head = (
            f"PATCH /v1/files/{file} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {robot.authorization}\r\n"
            f"Tus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\nContent-Type: {BYTES}\r\n"
            f"Content-Length: {announced}\r\n\r\n"
        )
        self._first = head.encode() + part
        self._port = robot.port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        await self.send(self._first)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def send(self, part: bytes) -> None:
        """Send more of it."""
        self._writer.write(part)
        await self._writer.drain()

    async def status(self) -> int:
        """Wait for the answer; return its status."""
        return int((await self._reader.readline()).split()[1])
