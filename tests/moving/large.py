"""Fills a data directory, has ``imserver migrate`` take it to MongoDB and back, and compares what came
home."""

import asyncio
import hashlib
import itertools
import os
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from imserver.core.files import SEGMENT_BYTES, BlobId, FileId, FileQuota, FileRecord
from imserver.core.model import Append, Created, Cursor, Refers, RobotRecord
from imserver.core.sealing_settings import SealingSettings
from imserver.core.settings import Settings, StoreSettings
from imserver.data.directory import DataDirectory
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.sqlite.check import check
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.stores import OpenedStore, open_store
from tests.mongo_server import MongoSet

T = TypeVar("T")
_BATCH: Final = 1_000
_ROBOTS: Final = 100
_ROOMY: Final = FileQuota(size=2**50, files=10**9, unfinished=10**9)
_DIGEST: Final = re.compile(r"digest of both logs is ([0-9a-f]{64})")


class Plan(NamedTuple):
    """How large a deployment."""

    events: int = 1_000_000
    groups: int = 1_000
    body_bytes: int = 256
    files: int = 200
    file_bytes: int = 1_000_000
    sealed: bool = False


class Journey(NamedTuple):
    """What one way took: seconds, CPU seconds and peak memory (MiB) of the command, and what it said."""

    took_s: float
    cpu_s: float
    peak_mib: float
    digest: str
    said: str


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        there, back: the two ways.
        flaws: what ``imserver check`` finds at home again; and what is not as it was.
    """

    there: Journey
    back: Journey
    flaws: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether everything came home as it was."""
        return not self.flaws and self.there.digest == self.back.digest != ""


def run(plan: Plan, folder: Path) -> Outcome:
    """Do it in ``folder``, where nothing is."""
    home, back = DataDirectory(folder / "home"), DataDirectory(folder / "back")
    ring = KeyRingFile(home.key_ring_path, random_bytes=os.urandom) if plan.sealed else None
    if ring is not None:
        ring.create(now_ms=1)
    before = asyncio.run(_fill(plan, home, ring))
    servers = MongoSet().start()
    try:
        url = servers.url()
        keys = () if ring is None else ("--keys", str(ring.path))
        there = _migrate(home.path, url, *keys)
        again = _migrate(url, back.path, *keys)
    finally:
        servers.stop()
    flaws = []
    if again.digest:
        report = check(back.database_path, None if ring is None else ring.load())
        flaws += [f"{one.rule}: {one.count}, {one.witnesses}" for one in report.findings]
        if asyncio.run(_read(back, ring)) != before:
            flaws.append("a file is not what it was")
    return Outcome(there, again, flaws)


async def _fill(plan: Plan, home: DataDirectory, ring: KeyRingFile | None) -> dict[str, str]:
    """Store events and files; return the digests of the files' bytes, as they are read."""
    dice = random.Random(plan.events)
    robots = [RobotName(f"r{number}") for number in range(_ROBOTS)]
    groups = [ConversationName(f"g/group-{number}") for number in range(plan.groups)]
    here = await _opened(home, ring)
    try:
        for robot in robots:
            await here.store.ensure_robot(RobotRecord(robot, bytes(32), 1))
        members = dict.fromkeys(robots[:10], Role.MEMBER)
        for batch in _in_batches(groups):
            await here.store.append([_created(conv, members) for conv in batch])
        files = [await _upload(here, robots[0], number, plan, dice) for number in range(plan.files)]
        refer = [
            Append(groups[number % plan.groups], 1, robots[0], f"f{number}", "file", b"\xc0", None)
            for number in range(len(files))
        ]
        for event, file in zip(refer, files, strict=True):
            await here.store.append([_referring(event, file)])
        left = plan.events - len(groups) - len(files)
        bodies = [
            b"\xc5" + (plan.body_bytes).to_bytes(2, "big") + dice.randbytes(plan.body_bytes)
            for _ in range(100)
        ]
        for numbers in _in_batches(range(left)):
            await here.store.append(
                [
                    Append(
                        groups[number % plan.groups],
                        1_700_000_000_000 + number,
                        robots[number % 10],
                        f"c{number:09}",
                        "message",
                        bodies[number % 100],
                        None,
                    )
                    for number in numbers
                ],
            )
        device = DeviceName("main")
        cursors = [Cursor(robot, device, conv, 1) for conv in groups for robot in robots[:10]]
        for some in _in_batches(cursors):
            await here.store.move_cursors(list(some))
    finally:
        await here.aclose()
    return await _read(home, ring)


async def _opened(place: DataDirectory, ring: KeyRingFile | None) -> OpenedStore:
    sealing = SealingSettings(enabled=ring is not None, keys="" if ring is None else str(ring.path))
    return await open_store(Settings(store=StoreSettings(durability="os"), sealing=sealing), place)


def _created(conv: ConversationName, members: dict[RobotName, Role]) -> Append:
    change = Created(members=members, open=False)
    return Append(conv, 1, RobotName("r0"), "created", "group_created", b"\xc0", change=change)


def _referring(event: Append, file: FileRecord) -> Append:
    return Append(
        event.conv, 1, event.sender, event.cid, event.kind, event.body, change=Refers(file.id)
    )


async def _upload(
    here: OpenedStore, owner: RobotName, number: int, plan: Plan, dice: random.Random
) -> FileRecord:
    """Upload a file; each tenth one is not finished."""
    size = dice.randrange(1, 2 * plan.file_bytes)
    is_finished = number % 10 != 9
    blob = here.files.content.name(f"blob-{number:08}")
    offset = size if is_finished else size // 2
    file = FileRecord(FileId(f"file-{number:08}"), owner, BlobId(blob), size, 0, b"", 1, 2**50)
    assert await here.files.catalog.create(file, _ROOMY) is None
    digest = hashlib.sha256()
    for index in range(-(-offset // SEGMENT_BYTES)):
        part = dice.randbytes(min(SEGMENT_BYTES, offset - index * SEGMENT_BYTES))
        digest.update(part)
        await here.files.content.put(blob, index, part)
    await here.files.content.sync(blob)
    await here.files.catalog.move_offset(file.id, offset, expires_ms=2**50)
    if is_finished:
        await here.files.catalog.complete(file.id, digest.digest(), expires_ms=None)
    return file


async def _read(place: DataDirectory, ring: KeyRingFile | None) -> dict[str, str]:
    """Return the digest of what each file has, with what is known of it."""
    here = await _opened(place, ring)
    found: dict[str, str] = {}
    try:
        after = ""
        while files := await here.files.catalog.owned(RobotName("r0"), after=after, limit=100):
            for file in files:
                digest = hashlib.sha256(repr(file).encode())
                for index in range(-(-file.offset // SEGMENT_BYTES)):
                    digest.update(await here.files.content.get(file.blob, index) or b"")
                found[file.id] = digest.hexdigest()
            after = files[-1].id
    finally:
        await here.aclose()
    return found


def _in_batches(things: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Cut into batches of a commit."""
    some = iter(things)
    while batch := tuple(itertools.islice(some, _BATCH)):
        yield batch


def _migrate(source: object, target: object, *more: str) -> Journey:
    command = [sys.executable, "-m", "imserver", "migrate", "--from", str(source)]
    command += ["--to", str(target), *more]
    reading, writing = os.pipe()
    began_s = time.monotonic()
    process = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)],
    )
    os.close(writing)
    with os.fdopen(reading) as output:
        said = output.read()
    _, _, used = os.wait4(process, 0)
    found = _DIGEST.search(said)
    return Journey(
        time.monotonic() - began_s,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss / 1024,
        "" if found is None else found[1],
        said.strip(),
    )
