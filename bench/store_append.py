"""Measure what the embedded store costs: durable appends in batches of several sizes, and catching up.

Run it with ``python bench/store_append.py``; ``--help`` lists the knobs. One append is in flight at a time,
as the server's committer does it. Beside a busy event loop (``--busy``) it shows what the interpreter lock
costs the store's threads.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from imserver.core.key_ring import KeyRing, SealingKey
from imserver.core.model import Append, Created
from imserver.data.sqlite.store import SqliteStore
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, RobotName

SENDERS = 10
PAGE_EVENTS = 1_000


class Load:
    """Makes events: senders in turn, conversations in turn, cids in sequence or at random."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.body = b"\xc5" + (options.body - 3).to_bytes(2) + os.urandom(options.body - 3)
        self.convs = [ConversationName(f"g/bench-{number}") for number in range(options.convs)]
        self.random_cids = options.random_cids
        self.count = 0

    def created(self) -> list[Append]:
        owner = Created(members={RobotName("robot-0"): Role.OWNER}, open=False)
        return [self._event(conv, "group_created", owner) for conv in self.convs]

    def batch(self, size: int) -> list[Append]:
        convs = self.convs
        return [self._event(convs[(self.count + n) % len(convs)], "message") for n in range(size)]

    def _event(self, conv: ConversationName, kind: str, change: Created | None = None) -> Append:
        self.count += 1
        cid = os.urandom(16).hex() if self.random_cids else f"5f3a9c0e12d4b687-{self.count:012x}"
        sender = RobotName(f"robot-{self.count % SENDERS}")
        return Append(conv, 1_700_000_000_000, sender, cid, kind, self.body, change=change)


async def measure_appends(store: SqliteStore, load: Load, options: argparse.Namespace) -> None:
    """Print events a second and the latency of one append, for each batch size."""
    print(f"{'batch':>6} {'events/s':>10} {'appends/s':>10} {'p50 ms':>8} {'p99 ms':>8}")
    for size in options.batch:
        latencies = []
        deadline = time.perf_counter() + options.seconds
        while time.perf_counter() < deadline:
            batch = load.batch(size)
            begin = time.perf_counter()
            await store.append(batch)
            latencies.append(time.perf_counter() - begin)
        busy = sum(latencies)
        rate, p50 = len(latencies) / busy, statistics.median(latencies) * 1e3
        p99 = sorted(latencies)[len(latencies) * 99 // 100] * 1e3
        print(f"{size:>6} {rate * size:>10,.0f} {rate:>10,.0f} {p50:>8.2f} {p99:>8.2f}", flush=True)


async def measure_reads(store: SqliteStore, load: Load) -> None:
    """Print what an event costs in pages of a thousand, from the start of one log on."""
    events: list[Event] = []
    begin, count, after = time.perf_counter(), 0, 0
    while count < 100_000:
        events = await store.read_after(
            load.convs[0], after, limit=PAGE_EVENTS, bytes_max=64 * 1024 * 1024
        )
        if not events:
            break
        count, after = count + len(events), events[-1].seq
    cost_us = (time.perf_counter() - begin) / count * 1e6
    print(f"catching up: {cost_us:.2f} µs an event, {count:,} events in pages of {PAGE_EVENTS}")


async def keep_busy() -> None:
    """Take the interpreter in slices of about a millisecond, as a server under load does."""
    while True:
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def main(options: argparse.Namespace) -> None:
    """Measure on a store of its own, in a folder that is removed."""
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        key = SealingKey(os.urandom(32))
        ring = KeyRing([key], key.id, random_bytes=os.urandom) if options.sealed else None
        path = Path(folder) / "bench.db"
        store = await SqliteStore.open(path, durability=options.durability, ring=ring)
        load = Load(options)
        await store.append(load.created())
        async with asyncio.TaskGroup() as tasks:
            busy = tasks.create_task(keep_busy()) if options.busy else None
            await measure_appends(store, load, options)
            await measure_reads(store, load)
            if busy is not None:
                busy.cancel()
        await store.aclose()


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100, 500])
    parser.add_argument("--body", type=int, default=256, help="bytes of a body")
    parser.add_argument("--convs", type=int, default=1, help="conversations, taken in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each batch size")
    parser.add_argument("--durability", choices=["full", "os"], default="full")
    parser.add_argument("--random-cids", action="store_true", help="random, not in sequence")
    parser.add_argument("--sealed", action="store_true", help="seal the bodies")
    parser.add_argument("--busy", action="store_true", help="keep the event loop busy meanwhile")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the data goes")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parse()))
