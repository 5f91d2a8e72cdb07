"""Measure what other layouts of a log in MongoDB would cost: bare inserts into a replica set of three.

Run it with ``python -m bench.store_layouts``; ``--help`` lists the knobs. *documents* is the store's own
layout: one for each event. *runs* puts all events of a conversation in a batch into one document, numbered so
that the unique index still decides between nodes. Writes wait for a majority and its journal. CPU is that of
the three mongods, by the kernel's count; layouts take turns, so that a disturbance hits all alike.
"""

import argparse
import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from pymongo import AsyncMongoClient, IndexModel
from pymongo.write_concern import WriteConcern

from tests.mongo_server import MongoSet

BODY: Final = os.urandom(256)
SENDERS: Final = 30
_CID: Final = IndexModel([("_id.c", 1), ("sender", 1), ("cid", 1)], unique=True)
_RUN_CIDS: Final = IndexModel([("_id.c", 1), ("e.sender", 1), ("e.cid", 1)], unique=True)
_BY_SEQ: Final = IndexModel([("_id.c", 1), ("s", 1)])


class Layout(NamedTuple):
    """A way to store events: how documents are made, its indexes, and whether they lie by their ids."""

    name: str
    make: Callable[["Heads", int, int], list[dict[str, Any]]]
    indexes: Sequence[IndexModel]
    clustered: bool = False


class Heads:
    """The numbers that come next, in a collection of its own."""

    def __init__(self) -> None:
        self._heads: defaultdict[str, int] = defaultdict(int)
        self._numbers = count(1)

    def next_of(self, conv: str) -> int:
        """Return the next place in a conversation."""
        self._heads[conv] += 1
        return self._heads[conv]

    def event(self) -> dict[str, Any]:
        """Return an event that was not there before."""
        number = next(self._numbers)
        sender = f"s{number % SENDERS}"
        cid = f"{number:016x}-{sender}"
        return {"ts": number, "sender": sender, "cid": cid, "kind": "message", "body": BODY}


def documents(heads: Heads, size: int, convs: int) -> list[dict[str, Any]]:
    """Return a document for each event."""
    names = [f"g/group{number % convs}" for number in range(size)]
    return [{"_id": {"c": conv, "s": heads.next_of(conv)}, **heads.event()} for conv in names]


def runs(heads: Heads, size: int, convs: int) -> list[dict[str, Any]]:
    """Return a document for each conversation's run of events."""
    return [
        {
            "_id": {"c": conv, "b": (block := heads.next_of(conv))},
            "s": block * size,
            "e": [heads.event() for _ in range(size // convs)],
        }
        for conv in (f"g/group{number}" for number in range(convs))
    ]


LAYOUTS: Final = (
    Layout("documents", documents, [_CID]),
    Layout("documents, clustered", documents, [_CID], clustered=True),
    Layout("documents, no index of cids", documents, []),
    Layout("runs", runs, [_BY_SEQ, _RUN_CIDS]),
    Layout("runs, no index of cids", runs, [_BY_SEQ]),
)


async def measure(servers: MongoSet, options: argparse.Namespace) -> None:
    """Insert in each layout in turn, and print what that cost."""
    majority = WriteConcern(w="majority", j=True)
    async with AsyncMongoClient[dict[str, Any]](servers.url("layouts")) as client:
        database = client.get_database("layouts", write_concern=majority)
        heads = {layout.name: Heads() for layout in LAYOUTS}
        for layout in LAYOUTS:
            how: Any = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}}
            await database.create_collection(layout.name, **(how if layout.clustered else {}))
            if layout.indexes:
                await database[layout.name].create_indexes(list(layout.indexes))
        print(f"{'':28} {'batch':>6} {'events/s':>9} {'µs of all mongods an event':>27}")
        for size in options.batch:
            for layout in LAYOUTS * options.rounds:
                began, used, events = time.perf_counter(), servers.cpu_s(), 0
                while time.perf_counter() < began + options.seconds:
                    batch = layout.make(heads[layout.name], size, options.convs)
                    await database[layout.name].insert_many(batch, ordered=True)
                    events += size
                rate = events / (time.perf_counter() - began)
                cost = (servers.cpu_s() - used) / events * 1e6
                print(f"{layout.name:28} {size:>6} {rate:>9,.0f} {cost:>27.1f}", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[300, 3_000])
    parser.add_argument("--convs", type=int, default=10, help="conversations in each batch")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    servers = MongoSet(3).start()
    try:
        asyncio.run(measure(servers, options))
    finally:
        servers.stop()


if __name__ == "__main__":
    main()
