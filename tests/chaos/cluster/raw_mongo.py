"""What a MongoDB holds, read past the server: documents as they stand there.

An event below the floor of its log may be left of a server that died while it let events go. Nobody is shown
it, and the next retention removes it; so it counts as gone.

How documents stand there is written down here once more, and nothing of the server's engine on MongoDB is
used: a mistake in how it reads its own documents must not excuse what it wrote.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec import Raw
from pymongo import MongoClient

from imserver.data.sqlite.dump import LogHeader
from imserver.protocol.events import Event
from imserver.verify.logs import Logs
from imserver.verify.raw_log import logs_of
from tests.chaos.raw_store import CHANGES, RawStore


class _Documents(NamedTuple):
    records: list[Any]
    events: list[Any]
    cursors: list[Any]


def read_mongo(url: str) -> RawStore:
    """Read the store in a database."""
    records, events, _ = _read(url)
    return RawStore(
        floors={record["_id"]: record["floor"] for record in records},
        log=[(e["_id"]["c"], e["_id"]["s"], e["sender"], e["cid"]) for e in events],
        members={
            (record["_id"], member["r"]) for record in records for member in record["members"]
        },
        changes=[
            (e["_id"]["c"], e["_id"]["s"], e["kind"], e["body"])
            for e in events
            if e["kind"] in CHANGES
        ],
    )


def read_mongo_logs(url: str) -> Logs:
    """Return the same as `imserver.verify` takes it."""
    records, events, cursors = _read(url)
    numbers = {record["_id"]: number for number, record in enumerate(records)}
    headers = [LogHeader(numbers[r["_id"]], r["_id"], r["epoch"], r["floor"]) for r in records]
    logs = logs_of(url, headers, ((numbers[e["_id"]["c"]], _event(e)) for e in events))
    logs.cursors = {
        (cursor["_id"]["r"], cursor["_id"]["d"], cursor["_id"]["c"]): cursor["seq"]
        for cursor in cursors
    }
    return logs


def _read(url: str) -> _Documents:
    with MongoClient[Any](url) as client:
        database = client.get_default_database()
        records = list(database.conversations.find())
        floors = {record["_id"]: record["floor"] for record in records}
        events = list(_kept(database.events.find().sort("_id", 1), floors))
        return _Documents(records, events, list(database.cursors.find()))


def _kept(events: Any, floors: dict[str, int]) -> Iterator[Any]:
    for event in events:
        if event["_id"]["s"] >= floors[event["_id"]["c"]]:
            yield event


def _event(document: Any) -> Event:
    return Event(
        document["_id"]["s"],
        document["ts"],
        document["sender"],
        document["cid"],
        document["kind"],
        Raw(document["body"]),
        document.get("ref"),
    )
