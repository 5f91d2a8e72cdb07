"""A second, independent judge of a run: plain JSON, plain SQL and no line of `imserver.verify`.

It counts what a run must not have: acked sends that are not in the store, or not where they were acked;
cids that stand there twice; gaps; logs whose order contradicts real time; sessions that were not shown
every event once and in order. Two judges that were written apart and agree are worth more than one.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import apsw

Place: TypeAlias = tuple[str, int]

_LOG = """
SELECT c.name, e.seq, e.sender, e.cid FROM events e JOIN conversations c ON c.id = e.conv ORDER BY e.key
"""


class Opinion(NamedTuple):
    """The counts, and the first witnesses of each that is not as it should be."""

    acked: int
    stored: int
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


class Judge:
    """Takes in the records of a history, and then the store."""

    def __init__(self) -> None:
        self._acked: dict[tuple[str, str, str], int] = {}
        self._open: set[tuple[str, str, str]] = set()
        self._shown: dict[tuple[str, str], int] = {}
        self._drained: set[str] = set()
        self._sends: dict[str, list[tuple[float, float, int]]] = {}
        self._invoked: dict[tuple[str, str, str], float] = {}
        self._counts = dict.fromkeys(("lost", "doubled", "reordered", "gaps", "undelivered"), 0)
        self.witnesses: list[str] = []
        self.ok_times: list[float] = []

    def take(self, record: dict[str, Any]) -> None:
        """Take in a record, in the order of its file."""
        match record["op"]:
            case "send":
                self._take_send(record)
            case "receive":
                self._take_receive(record)
            case "session_close" if record.get("drained"):
                self._drained.add(record["session"])

    def judge(self, data: Path) -> Opinion:
        """Compare everything with the store in a data directory."""
        heads, stored = self._read_store(data)
        for (client, conv, cid), seq in self._acked.items():
            if stored.get((conv, client, cid)) != seq:
                there = stored.get((conv, client, cid))
                self._wrong(
                    "lost", f"{client} {cid} was acked at {conv} {seq}; the log has {there}"
                )
        for conv, sends in self._sends.items():
            self._check_real_time(conv, sends)
        for (session, conv), seq in self._shown.items():
            if session in self._drained and seq != heads.get(conv, 0):
                self._wrong("undelivered", f"{session} was shown {conv} to {seq} of {heads[conv]}")
        for client, conv, cid in sorted(self._open)[:3]:
            self.witnesses.append(f"unresolved: {client} {conv} {cid} has no outcome")
        return Opinion(
            acked=len(self._acked),
            stored=len(stored),
            unresolved=len(self._open),
            witnesses=self.witnesses,
            **self._counts,
        )

    def _take_send(self, record: dict[str, Any]) -> None:
        key = (record["client"], record["conv"], record["cid"])
        match record["type"]:
            case "invoke":
                self._open.add(key)
                self._invoked.setdefault(key, record["t"])
            case "fail":
                self._open.discard(key)
            case "ok":
                self._open.discard(key)
                self._take_ok(key, record)

    def _take_ok(self, key: tuple[str, str, str], record: dict[str, Any]) -> None:
        seq, t = record["seq"], record["t"]
        if self._acked.setdefault(key, seq) != seq:
            self._wrong("doubled", f"{key} was acked at {self._acked[key]} and at {seq}")
        self.ok_times.append(t)
        self._sends.setdefault(key[1], []).append((self._invoked[key], t, seq))

    def _take_receive(self, record: dict[str, Any]) -> None:
        key = (record["session"], record["conv"])
        seq, before = record["seq"], self._shown.get(key)
        if before is not None and seq != before + 1:
            self._wrong("reordered", f"{key} was shown {seq} after {before}")
        self._shown[key] = seq

    def _read_store(self, data: Path) -> tuple[dict[str, int], dict[tuple[str, str, str], int]]:
        heads: dict[str, int] = {}
        stored: dict[tuple[str, str, str], int] = {}
        db = apsw.Connection(str(data / "imserver.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            for conv, seq, sender, cid in db.execute(_LOG):
                if seq != heads.get(conv, 0) + 1:
                    self._wrong("gaps", f"{conv}: {seq} follows {heads.get(conv, 0)}")
                heads[conv] = seq
                if stored.setdefault((conv, sender, cid), seq) != seq:
                    self._wrong("doubled", f"{conv}: {sender} {cid} stands there twice")
        finally:
            db.close()
        return heads, stored

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


def read_histories(files: Iterable[Path]) -> Judge:
    """Return a judge that has taken in the histories of a run."""
    judge = Judge()
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    judge.take(json.loads(line))
    return judge
