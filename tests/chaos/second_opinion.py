"""A second, independent judge of a run: plain JSON, the raw store and no line of `imserver.verify`.

It counts what a run must not have: acked sends that are not in the store, or not where they were acked;
cids that stand there twice; gaps; logs whose order contradicts real time; sessions that were not shown
every event once and in order. Two judges that were written apart and agree are worth more than one.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from tests.chaos.raw_store import Change, RawStore

EVERYBODY = ""
"""Stands for the members of a group that has ended."""


class Store(NamedTuple):
    """What the store holds in the end.

    Attributes:
        heads, floors: the last and the first seq of each log.
        places: seq by conversation, sender and cid.
        members: conversation and robot, of those who are members.
        absences: for a conversation and a robot, from which removal to which return it was no member.
    """

    heads: dict[str, int]
    floors: dict[str, int]
    places: dict[tuple[str, str, str], int]
    members: set[tuple[str, str]]
    absences: dict[tuple[str, str], list[tuple[int, float]]]

    def is_return(self, conv: str, robot: str, *, last: int, seq: int) -> bool:
        """Tell whether a robot that was removed by one event goes on with that which added it again."""
        return (last, seq) in self.absences.get((conv, robot), [])

    def is_absent(self, conv: str, robot: str, *, first: int, last: int) -> bool:
        """Tell whether a robot was no member somewhere from one seq to another."""
        spans = self.absences.get((conv, robot), []) + self.absences.get((conv, EVERYBODY), [])
        return any(removed <= last + 1 and added >= first for removed, added in spans)


class Opinion(NamedTuple):
    """The counts, and the first witnesses of each that is not as it should be."""

    acked: int
    stored: int
    let_go: int
    lost: int
    doubled: int
    reordered: int
    gaps: int
    undelivered: int
    unresolved: int
    witnesses: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.witnesses


class Ack(NamedTuple):
    """An ack: when it came, and when what it answers was last asked for, by whom and where; and whether it
    says that the event had been stored before."""

    t: float
    asked_t: float
    client: str
    conv: str
    is_dup: bool = False


class Judge:
    """Takes in the records of a history, and then the store."""

    def __init__(self) -> None:
        self._acked: dict[tuple[str, str, str], int] = {}
        self._open: set[tuple[str, str, str]] = set()
        self._shown: dict[tuple[str, str, str], int] = {}
        self._jumps: list[tuple[str, str, int, int]] = []
        self._gone: list[tuple[str, str, int]] = []
        self._refused: list[tuple[str, str, int, int]] = []
        self._drained: set[str] = set()
        self._sends: dict[str, list[tuple[float, float, int]]] = {}
        self._invoked: dict[tuple[str, str, str], float] = {}
        self._counts = dict.fromkeys(("lost", "doubled", "reordered", "gaps", "undelivered"), 0)
        self._asked: dict[tuple[str, str, str], float] = {}
        self.witnesses: list[str] = []
        self.acks: list[Ack] = []
        self.shown: dict[str, list[float]] = {}

    def take(self, record: dict[str, Any]) -> None:
        """Take in a record, in the order of its file."""
        match record["op"]:
            case "send":
                self._take_send(record)
            case "receive":
                self._take_receive(record)
            case "gap":
                self._take_gap(record)
            case "session_close" if record.get("drained"):
                self._drained.add(record["session"])

    def judge(self, raw: RawStore) -> Opinion:
        """Compare everything with what the store holds."""
        store = self._read_store(raw)
        let_go = self._check_acked(store)
        for conv, sends in self._sends.items():
            self._check_real_time(conv, sends)
        for client, conv, before, seq in self._jumps:
            if not store.is_return(conv, client, last=before, seq=seq):
                self._wrong("reordered", f"{client} was shown {conv} {seq} after {before}")
        for client, conv, seq in self._gone:
            if seq >= store.floors.get(conv, 1):
                self._wrong("gaps", f"{client} was told that {conv} is gone up to {seq}; it is not")
        for client, conv, first, last in self._refused:
            if not store.is_absent(conv, client, first=first, last=last):
                self._wrong(
                    "gaps", f"{client}, a member, was told that {conv} {first}… is not for it"
                )
        for (client, session, conv), seq in self._shown.items():
            head = store.heads.get(conv, 0)
            if session in self._drained and seq != head and (conv, client) in store.members:
                self._wrong("undelivered", f"{client} was shown {conv} to {seq} of {head}")
        for client, conv, cid in sorted(self._open)[:3]:
            self.witnesses.append(f"unresolved: {client} {conv} {cid} has no outcome")
        return Opinion(
            acked=len(self._acked),
            stored=len(store.places),
            let_go=let_go,
            unresolved=len(self._open),
            witnesses=self.witnesses,
            **self._counts,
        )

    def _check_acked(self, store: Store) -> int:
        """Look for all that was acked; return how much of it retention has let go."""
        let_go = 0
        for (client, conv, cid), seq in self._acked.items():
            there = store.places.get((conv, client, cid))
            if there is None and seq < store.floors.get(conv, 1):
                let_go += 1
            elif there != seq:
                self._wrong(
                    "lost", f"{client} {cid} was acked at {conv} {seq}; the log has {there}"
                )
        return let_go

    def _take_send(self, record: dict[str, Any]) -> None:
        key = (record["client"], record["conv"], record["cid"])
        match record["type"]:
            case "invoke":
                self._open.add(key)
                self._invoked.setdefault(key, record["t"])
                self._asked[key] = record["t"]
            case "fail":
                self._open.discard(key)
            case "ok":
                self._open.discard(key)
                self._take_ok(key, record)

    def _take_ok(self, key: tuple[str, str, str], record: dict[str, Any]) -> None:
        seq, t = record["seq"], record["t"]
        if self._acked.setdefault(key, seq) != seq:
            self._wrong("doubled", f"{key} was acked at {self._acked[key]} and at {seq}")
        is_dup = record.get("dup", False)
        self.acks.append(Ack(t, self._asked.pop(key), key[0], key[1], is_dup))
        self._sends.setdefault(key[1], []).append((self._invoked[key], t, seq))

    def _take_receive(self, record: dict[str, Any]) -> None:
        client, conv, seq = record["client"], record["conv"], record["seq"]
        self.shown.setdefault(client, []).append(record["t"])
        key = (client, record["session"], conv)
        before = self._shown.get(key)
        if before is not None and seq != before + 1:
            self._jumps.append((client, conv, before, seq))
        self._shown[key] = seq

    def _take_gap(self, record: dict[str, Any]) -> None:
        client, conv, last = record["client"], record["conv"], record["to"]
        key = (client, record["session"], conv)
        before = self._shown.get(key)
        if before is not None and record["from"] != before + 1:
            self._wrong(
                "gaps", f"{client} was told of a gap that does not follow {before}: {record}"
            )
        if record["why"] == "retention":
            self._gone.append((client, conv, last))
        else:
            self._refused.append((client, conv, record["from"], last))
        self._shown[key] = last

    def _read_store(self, raw: RawStore) -> Store:
        heads = {conv: floor - 1 for conv, floor in raw.floors.items()}
        places: dict[tuple[str, str, str], int] = {}
        for conv, seq, sender, cid in raw.log:
            if seq != heads[conv] + 1:
                self._wrong("gaps", f"{conv}: {seq} follows {heads[conv]}")
            heads[conv] = seq
            if places.setdefault((conv, sender, cid), seq) != seq:
                self._wrong("doubled", f"{conv}: {sender} {cid} stands there twice")
        return Store(heads, raw.floors, places, raw.members, _absences(raw.changes))

    def _check_real_time(self, conv: str, sends: list[tuple[float, float, int]]) -> None:
        """What was acked before another was sent must stand before it."""
        by_ok = iter(sorted(sends, key=lambda send: send[1]))
        highest, acked = 0, next(by_ok, None)
        for invoked, _, seq in sorted(sends):
            while acked is not None and acked[1] < invoked:
                highest = max(highest, acked[2])
                acked = next(by_ok, None)
            if seq < highest:
                self._wrong("reordered", f"{conv}: {seq} was sent after {highest} was acked")

    def _wrong(self, what: str, text: str) -> None:
        self._counts[what] += 1
        if self._counts[what] <= 3:
            self.witnesses.append(f"{what}: {text}")


def _absences(changes: Iterable[Change]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for conv, seq, kind, body in changes:
        for robot in msgpack.unpackb(body).get("robots", (EVERYBODY,)):
            spans = found.setdefault((conv, robot), [])
            if kind != "members_added":
                spans.append((seq, math.inf))
            elif spans and spans[-1][1] == math.inf:
                spans[-1] = (spans[-1][0], seq)
    return found


def read_histories(files: Iterable[Path]) -> Judge:
    """Return a judge that has taken in the histories of a run."""
    judge = Judge()
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    judge.take(json.loads(line))
    return judge
