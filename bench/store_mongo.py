"""Measure what the store on MongoDB costs: appends in batches of several sizes, beside the driver's inserts.

Run it with ``python -m bench.store_mongo``; ``--help`` lists the knobs. It starts a replica set of one member
on loopback (``--members 3`` for three), the same one as the tests. One append is in flight at a time, as the
server's committer does it. CPU is that of this process: what a batch costs a node beside its waiting.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.write_concern import WriteConcern

from imserver.core.model import Append, Created
from imserver.data.mongo.store import MongoStore
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName
from tests.mongo_server import MongoSet

BODY_BYTES: Final = 256
CONVS: Final = 100


async def measure(
    name: str, size: int, append: Callable[[], Awaitable[Any]], seconds: float
) -> None:
    """Print events a second, latency and CPU of ``append``, again and again for a while."""
    latencies = []
    cpu, deadline = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        begin = time.perf_counter()
        await append()
        latencies.append(time.perf_counter() - begin)
    cpu_us = (time.process_time() - cpu) / len(latencies) / size * 1e6
    rate, p50 = len(latencies) / sum(latencies), statistics.median(latencies) * 1e3
    p99 = sorted(latencies)[len(latencies) * 99 // 100] * 1e3
    print(
        f"{name:>8} {size:>6} {rate * size:>10,.0f} {p50:>8.2f} {p99:>8.2f} {cpu_us:>8.1f}",
        flush=True,
    )


async def run(servers: MongoSet, options: argparse.Namespace) -> None:
    """Measure the store and the driver in turn, for each batch size."""
    url = servers.url("bench")
    store = await MongoStore.open(url)
    client: AsyncMongoClient[Any] = AsyncMongoClient(url)
    majority = WriteConcern(w="majority", j=True)
    bare = client.get_database("bare", write_concern=majority).events
    await bare.create_index([("_id.c", 1), ("sender", 1), ("cid", 1)], unique=True)
    convs = [ConversationName(f"g/bench-{number}") for number in range(CONVS)]
    numbers, body = count(1), os.urandom(BODY_BYTES)
    owner = Created(members={RobotName("r1"): Role.OWNER}, open=False)

    def event(conv: ConversationName, change: Created | None = None) -> Append:
        cid = f"5f3a9c0e12d4b687-{next(numbers):012x}"
        return Append(conv, 1_700_000_000_000, RobotName("r1"), cid, "message", body, change=change)

    def row() -> dict[str, Any]:
        number = next(numbers)
        place = {"c": convs[number % CONVS], "s": number}
        return {
            "_id": place,
            "ts": 1,
            "sender": "r1",
            "cid": str(number),
            "kind": "m",
            "body": body,
        }

    await store.append([event(conv, owner) for conv in convs])
    print(f"{'':>8} {'batch':>6} {'events/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8}")
    for size in options.batch:

        async def append(size: int = size) -> None:
            await store.append([event(convs[n % CONVS]) for n in range(size)])

        async def insert(size: int = size) -> None:
            await bare.insert_many([row() for _ in range(size)], ordered=True)

        await measure("append()", size, append, options.seconds)
        await measure("driver", size, insert, options.seconds)
    await client.close()
    await store.aclose()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 10, 100, 1_000])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    parser.add_argument("--members", type=int, default=1, help="of the replica set")
    options = parser.parse_args()
    servers = MongoSet(options.members).start()
    try:
        asyncio.run(run(servers, options))
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
