"""Faults by others at the server's side: a reader who stays long, a backup, and a crowd at the door."""

import asyncio
import contextlib
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw

from imserver.data.directory import DATABASE_NAME
from imserver.data.sqlite.file import open_for_reading
from tests.chaos.fault import Fault
from tests.chaos.world import World

CROWD = 400
COMMAND_LIMIT_S = 300
_REQUEST = (
    b"GET /v1/connect HTTP/1.1\r\nHost: chaos\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Y2hhb3MtY2hhb3MtY2hhbw==\r\n"
    b"Sec-WebSocket-Protocol: imserver.v1.msgpack\r\n\r\n"
)
_ALTERED = """
SELECT count(*) FROM events AS copy
JOIN conversations AS c ON c.id = copy.conv
LEFT JOIN live.conversations AS l ON l.name = c.name
LEFT JOIN live.events AS now ON now.key = (l.id << 38 | copy.seq)
WHERE copy.seq >= l.floor
AND (now.sender, now.cid, now.packed) IS NOT (copy.sender, copy.cid, copy.packed)
"""


async def long_reader(world: World, dice: random.Random) -> None:
    """Keep a view of the store open, so that its WAL cannot begin anew, and grows."""
    for_s = dice.uniform(4.0, 8.0)
    world.fault("long reader", for_s=round(for_s, 2))
    wal = world.server.data / f"{DATABASE_NAME}-wal"
    db = await asyncio.to_thread(open_for_reading, world.server.data / DATABASE_NAME)
    try:
        await asyncio.to_thread(_begin_to_read, db)
        await asyncio.sleep(for_s)
        grown = wal.stat().st_size
        if not await world.fleet.wait_acks(1, within_s=world.allowed_s(5.0)):
            world.finding("long reader", "nothing was acked while somebody read")
    finally:
        await asyncio.to_thread(db.close)
    world.healed("long reader", f"the WAL had grown to {grown:,} bytes", limit_s=5.0)
    await world.expect_running("long reader")


def _begin_to_read(db: apsw.Connection) -> None:
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM conversations").fetchall()


async def backup(world: World, _dice: random.Random) -> None:
    """Take a backup while everybody sends, restore it elsewhere, and compare it with the store."""
    world.fault("backup")
    copy, restored = world.folder / "backup", world.folder / "restored"
    try:
        problem = await asyncio.to_thread(_back_up, world.server.data, copy, restored)
    finally:
        for folder in (copy, restored):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if problem:
        world.finding("backup", problem)
    world.healed("backup", limit_s=5.0)
    await world.expect_running("backup")


def _back_up(data: Path, copy: Path, restored: Path) -> str | None:
    for command in (
        ("backup", str(copy), "--data", str(data)),
        ("restore", "--from", str(copy), "--data", str(restored)),
        ("check", "--data", str(restored)),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "imserver", *command],
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            return f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}"
    with contextlib.closing(open_for_reading(restored / DATABASE_NAME)) as db:
        db.execute("ATTACH ? AS live", (str(data / DATABASE_NAME),))
        altered = db.execute(_ALTERED).get
        if altered:
            return f"{altered} events of the backup are not what the store has in their place"
        if db.execute(
            "SELECT count(*) FROM conversations JOIN live.conversations USING (epoch)"
        ).get:
            return "the restored store goes on under the old epoch"
    return None


async def crowd(world: World, dice: random.Random) -> None:
    """Let many connect at once who then say nothing, and cut everybody else off at the same moment."""
    for_s = dice.uniform(1.0, 4.0)
    world.fault("crowd at the door", connections=CROWD, for_s=round(for_s, 2))
    with _many_descriptors():
        writers = [w for w in await _all_connect(world.server.port) if w is not None]
        world.proxy.reset_all()
        if not await world.fleet.wait_acks(20, within_s=world.allowed_s(for_s + 8.0)):
            world.finding("crowd at the door", "the robots were not served beside the crowd")
        await asyncio.sleep(for_s)
        for writer in writers:
            writer.transport.abort()
    world.healed("crowd at the door", f"{len(writers)} had come in", limit_s=8.0)
    await world.expect_running("crowd at the door")


async def _all_connect(port: int) -> list[asyncio.StreamWriter | None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_connect(port)) for _ in range(CROWD)]
    return [task.result() for task in tasks]


async def _connect(port: int) -> asyncio.StreamWriter | None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_REQUEST)
    except OSError:
        return None
    return writer


@contextlib.contextmanager
def _many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


FAULTS = (
    Fault(
        "long reader",
        "another process reads for seconds, so that the WAL cannot begin anew: acks go on",
        long_reader,
    ),
    Fault(
        "backup",
        "a backup in mid-load, restored elsewhere: sound, a part of the log as it is, and of a new epoch",
        backup,
    ),
    Fault(
        "crowd at the door",
        f"{CROWD} connect at once and say nothing, and the robots are cut off: they are served all the same",
        crowd,
    ),
)
