"""An upload that is cut at random bytes and goes on, read back whole and in parts, with memory watched."""

import asyncio
import hashlib
import random
import threading
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.http.uploads import BYTES, TUS, Stalled, offset_of, upload
from tests.e2e.server_process import ServerProcess

MIB: Final = 1024 * 1024
GROWTH_MAX: Final = 16 * MIB
_PIECE: Final = 256 * 1024
_WATCH_S: Final = 0.005


class Seen(NamedTuple):
    """What was seen: how often it was cut, whether all arrived, and how far the server's memory grew."""

    size: int
    cuts: int
    same_digest: bool
    same_parts: bool
    growth_bytes: int

    @property
    def is_good(self) -> bool:
        """Whether all is as it must be."""
        return self.same_digest and self.same_parts and self.growth_bytes < GROWTH_MAX

    def __str__(self) -> str:
        return (
            f"{self.size / MIB:.0f} MiB cut {self.cuts} times: digest {_word(self.same_digest)}, "
            f"parts {_word(self.same_parts)}, resident memory grew by {self.growth_bytes / MIB:.1f} MiB"
        )


async def long_upload(
    server: ServerProcess, folder: Path, *, size: int, cuts: int, dice: random.Random
) -> Seen:
    """Upload a file of ``size`` random bytes over connections that die at ``cuts`` random bytes of it."""
    path = folder / "video.mp4"
    digest = await asyncio.to_thread(_make, path, size, dice)
    robot = HttpRobot(server, "r1")
    await _warm_up(robot)
    with _Watch(server) as watch, path.open("rb") as video:
        file = await upload(robot, size, filename="video.mp4", filetype="video/mp4")
        for cut in [*sorted(dice.randrange(size) for _ in range(cuts)), size]:
            offset = await offset_of(robot, file)
            video.seek(offset)
            async with Stalled(robot, file, offset, b"", announced=size - offset) as run:
                while offset < cut and (piece := video.read(min(_PIECE, cut - offset))):
                    await run.send(piece)
                    offset += len(piece)
                if cut == size:
                    assert await run.status() == 204
        head = await robot.ask("HEAD", f"/files/{file}")
        same = head.headers["ETag"] == f'"{digest}"'
        same_parts = all([await _same_part(robot, file, video, size, dice) for _ in range(20)])
    await robot.aclose()
    return Seen(size, cuts, same, same_parts, watch.growth)


async def _warm_up(robot: HttpRobot) -> None:
    """Have the server load what it loads once."""
    headers = TUS | {"Upload-Length": str(2 * MIB), "Content-Type": BYTES}
    answer = await robot.ask("POST", "/files", headers=headers, content=bytes(2 * MIB))
    assert answer.status_code == 201
    assert len((await robot.ask("GET", answer.headers["Location"][3:])).content) == 2 * MIB


async def _same_part(robot: HttpRobot, file: str, video, size: int, dice: random.Random) -> bool:
    begin = dice.randrange(size)
    end = min(begin + dice.randrange(1, MIB), size)
    part = await robot.ask("GET", f"/files/{file}", headers={"Range": f"bytes={begin}-{end - 1}"})
    video.seek(begin)
    return part.status_code == 206 and part.content == video.read(end - begin)


class _Watch:
    """Looks at the server's resident memory all the time; ``growth`` is how far it went up."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._before = server.rss()
        self.growth = 0

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_WATCH_S):
            self.growth = max(self.growth, self._server.rss() - self._before)


def _make(path: Path, size: int, dice: random.Random) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for begin in range(0, size, _PIECE):
            piece = dice.randbytes(min(_PIECE, size - begin))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _word(is_same: bool) -> str:
    return "equal" if is_same else "DIFFERENT"
