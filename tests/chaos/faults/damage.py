"""Faults of what lies on the disk while the server is off: bits are flipped, the log is cut short or gone.

The server must refuse to start and say why, unless what was damaged was not in use. If it starts all the
same, the run goes on with it: events that have gone silently are then found lost by the judges. A refusal
is healed by putting back what was there.
"""

import asyncio
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from imserver.data.directory import DATABASE_NAME
from tests.chaos.fault import Fault
from tests.chaos.world import World

Undo: TypeAlias = Callable[[], object]


async def flipped_bit(world: World, dice: random.Random) -> None:
    await world.server.kill()
    file = dice.choice([_wal(world), world.server.data / DATABASE_NAME])
    if file.stat().st_size == 0:
        file = (
            world.server.data / DATABASE_NAME
        )  # a WAL that has just been emptied has no bit to flip
    at, bit = dice.randrange(file.stat().st_size), dice.randrange(8)
    world.fault("flipped bit", file=file.name, at=at, bit=bit)
    await asyncio.to_thread(flip, file, at, bit)
    await _expect_noticed(world, "flipped bit", partial(flip, file, at, bit))


async def short_log(world: World, dice: random.Random) -> None:
    """Cut the end of the write-ahead log off, or remove it."""
    await world.server.kill()
    wal = _wal(world)
    size, is_gone = wal.stat().st_size, dice.random() < 0.3
    cut = size if is_gone else min(size, dice.choice([1, 1_000, 100_000]))
    world.fault("log cut short", bytes=cut, removed=is_gone)
    whole = await asyncio.to_thread(wal.read_bytes)
    await asyncio.to_thread(wal.unlink if is_gone else partial(os.truncate, wal, size - cut))
    await _expect_noticed(world, "log cut short", partial(wal.write_bytes, whole))


async def _expect_noticed(world: World, name: str, undo: Undo) -> None:
    """Start the server on what was damaged; put things right if it refuses, and start it for good."""
    status, words = await world.server.attempt()
    if status == 0 or (status is not None and str(world.server.data) not in words):
        world.finding(name, f"it is not said what is wrong, status {status}: {words[-1_000:]}")
    if status is None:
        world.journal.note("note", name, "it was served: what was damaged was not in use")
    else:
        world.journal.note("note", name, f"it was refused: {words.splitlines()[-1][:300]}")
        await asyncio.to_thread(undo)
    for copy in world.server.data.glob("*.damaged-*"):
        copy.unlink()
    await world.restart(name)


def flip(file: Path, at: int, bit: int) -> None:
    """Flip a bit of a file; the same again puts it back."""
    with file.open("r+b") as content:
        content.seek(at)
        byte = content.read(1)
        content.seek(at)
        content.write(bytes([byte[0] ^ 1 << bit]))


def _wal(world: World) -> Path:
    return world.server.data / f"{DATABASE_NAME}-wal"


FAULTS = (
    Fault(
        "flipped bit",
        "a bit of the WAL or the database flips while the server is off: it is noticed, or was not in use",
        flipped_bit,
        often=3,
    ),
    Fault(
        "log cut short",
        "the WAL loses its end, or is removed, while the server is off: the same",
        short_log,
    ),
)
