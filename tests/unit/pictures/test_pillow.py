"""Pictures are made small in a process that ends, whatever becomes of who asked."""

import asyncio
import io
import signal
import subprocess
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from imserver.core.file_settings import FileSettings
from imserver.pictures import pillow
from imserver.pictures.pillow import PillowThumbnails


class Watched(PillowThumbnails):
    """Shows the process that it started."""

    def _start(self) -> subprocess.Popen[bytes]:
        self.process = super()._start()
        return self.process

    def assert_released(self) -> None:
        assert self.process.stdin is not None and self.process.stdin.closed
        assert self.process.stdout is not None and self.process.stdout.closed


class Endless:
    """A picture whose bytes come without an end, or after the first ones not at all."""

    def __init__(self, *, stalls: bool) -> None:
        self.stalls = stalls
        self.asked = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        yield bytes(65_536)
        self.asked.set()
        if self.stalls:
            await asyncio.Event().wait()
        while True:
            yield bytes(65_536)


async def test_a_picture_is_made_small() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        out = io.BytesIO()
        Image.effect_noise((1_000, 500), 100).save(out, "PNG")
        for start in range(0, len(out.getvalue()), 65_536):
            yield out.getvalue()[start : start + 65_536]

    pictures = Watched(FileSettings())
    small = await pictures.small(pieces())
    assert small is not None
    with Image.open(io.BytesIO(small)) as picture:
        assert picture.size == (320, 160)
    assert pictures.process.returncode == 0
    pictures.assert_released()


async def test_more_bytes_than_a_picture_may_have_are_not_waited_for() -> None:
    pictures = Watched(FileSettings(picture_bytes_max=1_000_000))
    assert await pictures.small(Endless(stalls=False).pieces()) is None
    assert pictures.process.returncode == 1
    pictures.assert_released()


async def test_the_process_ends_with_who_asked_for_it() -> None:
    pictures, picture = Watched(FileSettings()), Endless(stalls=True)
    asking = asyncio.create_task(pictures.small(picture.pieces()))
    await picture.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert pictures.process.returncode == -signal.SIGKILL
    pictures.assert_released()


async def test_the_process_ends_when_it_reads_nothing_and_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pillow, "_TIMEOUT_S", 0.2)
    pictures, picture = Watched(FileSettings()), Endless(stalls=False)
    asking = asyncio.create_task(pictures.small(picture.pieces()))
    await asyncio.sleep(0)
    pictures.process.send_signal(signal.SIGSTOP)
    assert await asking is None
    assert pictures.process.returncode == -signal.SIGKILL
    pictures.assert_released()
