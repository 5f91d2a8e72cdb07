"""A process with an embedded store, to be killed or starved: ``python -m tests.contract.store_process``.

It appends batches to one direct line and prints a line of JSON for each batch that is acknowledged, and one
for each error. Who started it compares that with what is in the file afterwards.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys
from pathlib import Path

from imserver.core.errors import ImserverError, StoreUnavailable
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.sqlite.store import SqliteStore
from imserver.protocol.names import ConversationName
from tests.contract.records import LINE, body_of, created, cursor, event, seqs, whole_log

BATCH = 20
BALLAST_BYTES = 1024 * 1024
FILE_BYTES_MAX = 512 * 1024


async def append_forever(path: Path) -> None:
    """Append until killed."""
    store = await SqliteStore.open(path)
    number = 0
    while True:
        await _append(store, number)
        number += 1


async def outgrow_a_limit(path: Path, *, in_transaction: bool) -> None:
    """Append until the kernel refuses to let a file grow; try again, and read."""
    store = await SqliteStore.open(path)
    await _append(store, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, resource.RLIM_INFINITY))
    number = 1
    while await _append(store, number, in_transaction=in_transaction):
        number += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await _append(store, number)
    try:
        await store.conversation(LINE)
    except ImserverError as exc:
        _say(error=type(exc).__name__, text=str(exc))
    await store.aclose()


async def fill_the_disk(path: Path, *, in_transaction: bool) -> None:
    """Append until the disk is full, make room, and append again."""
    ballast = path.with_name("ballast")
    ballast.write_bytes(bytes(BALLAST_BYTES))
    store = await SqliteStore.open(path)
    number = moved = 0
    while await _append(store, number, in_transaction=in_transaction):
        number += 1
        with contextlib.suppress(StoreUnavailable):
            await store.move_cursors([cursor(number * BATCH, LINE)])
            moved = number * BATCH
    ballast.unlink()
    await _append(store, number)
    await store.probe()
    await store.aclose()
    again = await SqliteStore.open(path)
    _say(log=seqs(await whole_log(again, LINE)), moved=moved, acked=await again.acked(LINE))
    await again.aclose()


async def reseal(path: Path, keys: Path) -> None:
    """Bring all bodies under the current key of a ring, until killed."""
    store = await SqliteStore.open(path, ring=KeyRingFile(keys, random_bytes=os.urandom).load())
    _say(began=True)
    await store.sealing.run()


async def _append(store: SqliteStore, number: int, *, in_transaction: bool = False) -> bool:
    batch = [event(f"{number}-{n}", LINE, body=body_of(1000)) for n in range(BATCH)]
    if in_transaction:
        # A batch with a change takes more than the one statement that commits by itself.
        batch.append(created(ConversationName(f"g/{number}")))
    try:
        outcomes = await store.append(batch)
    except ImserverError as exc:
        _say(error=type(exc).__name__, text=str(exc))
        return False
    _say(batch=number, seqs=seqs(outcomes[:BATCH]))
    return True


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


SCENARIOS = {
    "append": append_forever,
    "limit": lambda path: outgrow_a_limit(path, in_transaction=False),
    "limit-in-a-transaction": lambda path: outgrow_a_limit(path, in_transaction=True),
    "full": lambda path: fill_the_disk(path, in_transaction=False),
    "full-in-a-transaction": lambda path: fill_the_disk(path, in_transaction=True),
    "reseal": lambda path: reseal(path, Path(sys.argv[3])),
}

if __name__ == "__main__":
    asyncio.run(SCENARIOS[sys.argv[1]](Path(sys.argv[2])))
