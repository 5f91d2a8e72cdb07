"""A made-up life of a server and its clients: what each client wrote down, and the log it left behind.

The server of a story keeps every promise. Tests then break one, in the history or in the log, and look
whether the checker notices. Records are plain JSON objects, as a client in another language would write them.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from imserver.verify.body_hash import body_sha
from imserver.verify.logs import Logs
from imserver.verify.raw_log import read_log_file
from imserver.verify.report import Report
from imserver.verify.verifier import verify

Fields: TypeAlias = dict[str, Any]
EPOCH = "epoch-1"
GROUP = "g/dock"
ROBOTS = ("r1", "r2", "r3")
LEAVER = "r3"
"""The robot that leaves the group and comes back."""


class Client:
    """A robot with its history, its place in each conversation and its cursors."""

    def __init__(self, story: "Story", name: str) -> None:
        self.name = name
        self.records: list[Fields] = []
        self.lives = 0
        self.place: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.unknown: list[Fields] = []
        self._story = story
        self._cids = 0

    def note(self, op: str, **fields: Any) -> Fields:
        record = {
            "op": op,
            "t": self._story.tick(),
            "client": self.name,
            "session": f"{self.name}-{self.lives}",
            **fields,
        }
        self.records.append(record)
        return record

    def open(self) -> None:
        self.lives += 1
        self.place = dict(self.acked)
        self.note("session_open", device="main", clock="host")

    def close(self, *, drained: bool) -> None:
        self.note("session_close", drained=drained)

    def invoke(self, conv: str) -> Fields:
        self._cids += 1
        cid = f"{self.name}-{self._cids}"
        body = {"n": self._cids, "of": self.name}
        sha = body_sha(body)
        return self.note("send", type="invoke", conv=conv, cid=cid, body_sha=sha, note=body)

    def stored(self, invoked: Fields, seq: int, **more: Any) -> Fields:
        names = {"conv": invoked["conv"], "cid": invoked["cid"]}
        return self.note("send", type="ok", epoch=EPOCH, seq=seq, **names, **more)

    def send(self, conv: str, **more: Any) -> Fields:
        invoked = self.invoke(conv)
        seq = self._story.append_sent(self.name, invoked)
        return self.stored(invoked, seq, **more)

    def shown(self, conv: str, seq: int, *, op: str = "receive") -> Fields:
        event = self._story.logs[conv][seq - 1]
        seen = {name: event[name] for name in ("conv", "epoch", "seq", "sender", "cid", "kind")}
        return self.note(op, **seen, body_sha=body_sha(event["body"]))

    def receive(self, conv: str, count: int = 1_000_000) -> None:
        """Be shown the next events, as far as there are some for this robot."""
        span = self._story.span(conv, self.name)
        start = max(self.place.get(conv, 0), span[0] - 1)
        end = min(start + count, span[1], len(self._story.logs[conv]))
        for seq in range(start + 1, end + 1):
            self.shown(conv, seq)
            self.place[conv] = seq

    def ack(self, conv: str) -> None:
        seq = self.place.get(conv, 0)
        if seq > self.acked.get(conv, 0):
            self.note("ack", conv=conv, seq=seq)
            self.acked[conv] = seq


class Story:
    """Clients and logs. A new one is empty; see `full_story`."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.now_s = 100.0
        self.logs: dict[str, list[Fields]] = {GROUP: []}
        self.cursors: dict[tuple[str, str, str], int] | None = None
        self.clients = {name: Client(self, name) for name in ROBOTS}
        self._spans: dict[tuple[str, str], tuple[int, int]] = {}

    def __getitem__(self, name: str) -> Client:
        return self.clients[name]

    def tick(self) -> float:
        self.now_s += self.rng.choice((0.001, 0.01, 0.5))
        return round(self.now_s, 6)

    def append(self, conv: str, sender: str, *, cid: str, kind: str, body: Any) -> int:
        log = self.logs.setdefault(conv, [])
        event = {"conv": conv, "epoch": EPOCH, "seq": len(log) + 1, "ts": 1, "sender": sender}
        log.append({**event, "cid": cid, "kind": kind, "ref": None, "body": body})
        return len(log)

    def append_sent(self, sender: str, invoked: Fields) -> int:
        return self.append(
            invoked["conv"], sender, cid=invoked["cid"], kind="message", body=invoked["note"]
        )

    def append_change(self, kind: str, sender: str, body: Any) -> int:
        return self.append(GROUP, sender, cid=f"@{len(self.logs[GROUP])}", kind=kind, body=body)

    def create_group(self) -> None:
        body = {"members": {"r1": "owner", "r2": "member", "r3": "member"}, "open": True}
        self["r1"].note("change", type="invoke", conv=GROUP, kind="group_created")
        self.append_change("group_created", "r1", body)
        self["r1"].note("change", type="ok", conv=GROUP, kind="group_created", seq=1)

    def leave(self, client: Client) -> int:
        client.note("leave", type="invoke", conv=GROUP)
        seq = self.append_change("members_removed", client.name, {"robots": [client.name]})
        client.note("leave", type="ok", conv=GROUP, seq=seq)
        self._spans[GROUP, client.name] = (self.span(GROUP, client.name)[0], seq)
        return seq

    def join(self, client: Client) -> int:
        client.note("join", type="invoke", conv=GROUP)
        body = {"robots": [client.name], "role": "member"}
        seq = self.append_change("members_added", client.name, body)
        client.note("join", type="ok", conv=GROUP, seq=seq)
        self._spans[GROUP, client.name] = (seq, 10**9)
        return seq

    def span(self, conv: str, robot: str) -> tuple[int, int]:
        return self._spans.get((conv, robot), (1, 10**9))

    def is_member(self, robot: str) -> bool:
        return self.span(GROUP, robot)[1] == 10**9

    def all_records(self) -> list[Fields]:
        return [record for client in self.clients.values() for record in client.records]

    def pick(self, want: Callable[[Fields], Any]) -> Fields:
        """Return one of the records that are wanted, by the story's dice."""
        return self.rng.choice([record for record in self.all_records() if want(record)])

    def list_of(self, record: Fields) -> list[Fields]:
        return self.clients[record["client"]].records

    def judge(self, folder: Path, *, raw: bool = True) -> Report:
        """Write everything down and let it be judged, with the raw log or without."""
        folder.mkdir(parents=True, exist_ok=True)
        histories = folder / "histories"
        histories.mkdir(exist_ok=True)
        for name, client in self.clients.items():
            (histories / f"{name}.jsonl").write_bytes(as_lines(client.records))
        log_path = folder / "log.jsonl"
        log_path.write_bytes(as_lines([event for log in self.logs.values() for event in log]))
        logs: Logs | None = read_log_file(log_path) if raw else None
        if logs is not None:
            logs.cursors = self.cursors
        return verify([histories], logs)


def as_lines(objects: list[Fields]) -> bytes:
    """Return objects as lines of JSON."""
    return b"".join(msgspec.json.encode(item) + b"\n" for item in objects)


def full_story(seed: int) -> Story:
    """Return a clean story in which everything happens that can happen, in an order by ``seed``."""
    story = Story(seed)
    for client in story.clients.values():
        client.open()
    story.create_group()
    direct = "d/r1/r2"
    story["r1"].send(direct)
    for client in story.clients.values():
        client.send(GROUP)
        client.receive(GROUP)
        client.ack(GROUP)
    steps = [_send, _send, _send, _pipeline, _lose_answer, _refuse, _receive, _receive, _ack, _die]
    steps *= 3
    steps += [_reopen, _read, _leave]
    story.rng.shuffle(steps)
    for step in steps:
        step(story, story.rng.choice(list(story.clients.values())))
    _leave(story, story[LEAVER])
    _send(story, story["r1"])
    _end(story, direct)
    return story


def _send(story: Story, client: Client) -> None:
    if story.is_member(client.name):
        client.send(GROUP)


def _pipeline(story: Story, client: Client) -> None:
    if story.is_member(client.name):
        invoked = [client.invoke(GROUP) for _ in range(3)]
        seqs = [story.append_sent(client.name, one) for one in invoked]
        for one, seq in zip(invoked, seqs, strict=True):
            client.stored(one, seq, connection=client.lives)


def _lose_answer(story: Story, client: Client) -> None:
    if story.is_member(client.name):
        invoked = client.invoke(GROUP)
        if story.rng.random() < 0.5:
            story.append_sent(client.name, invoked)
        client.note("send", type="unknown", conv=GROUP, cid=invoked["cid"])
        client.unknown.append(invoked)


def _refuse(_story: Story, client: Client) -> None:
    invoked = client.invoke(GROUP)
    code = "rate_limited"
    client.note("send", type="fail", conv=GROUP, cid=invoked["cid"], code=code)


def _receive(story: Story, client: Client) -> None:
    client.receive(GROUP, story.rng.randrange(1, 8))


def _ack(_story: Story, client: Client) -> None:
    client.ack(GROUP)


def _die(story: Story, client: Client) -> None:
    """Be killed in the middle of a send, and begin again from the stored cursor."""
    if story.is_member(client.name):
        client.invoke(GROUP)
        client.open()
        client.receive(GROUP, 3)


def _reopen(_story: Story, client: Client) -> None:
    client.ack(GROUP)
    client.close(drained=False)
    client.open()
    client.note("ack", type="ok", conv=GROUP, seq=client.acked.get(GROUP, 0))


def _read(story: Story, client: Client) -> None:
    if story.is_member(client.name):
        for seq in range(1, 4):
            client.shown(GROUP, seq, op="read")


def _leave(story: Story, client: Client) -> None:
    leaver = story[LEAVER]
    if client is leaver and story.is_member(LEAVER):
        for invoked in leaver.unknown:
            _ask_again(story, leaver, invoked)
        leaver.unknown.clear()
        story.leave(leaver)
        leaver.receive(GROUP)
        story["r1"].send(GROUP)
        story.join(leaver)
        leaver.receive(GROUP)
        leaver.ack(GROUP)


def _ask_again(story: Story, client: Client, invoked: Fields) -> None:
    fields = {name: invoked[name] for name in ("conv", "cid", "body_sha", "note")}
    again = client.note("send", type="invoke", **fields)
    stored = [e["seq"] for e in story.logs[GROUP] if e["cid"] == invoked["cid"]]
    seq = stored[0] if stored else story.append_sent(client.name, again)
    client.stored(again, seq, dup=bool(stored))


def _end(story: Story, direct: str) -> None:
    for client in story.clients.values():
        for invoked in client.unknown:
            _ask_again(story, client, invoked)
        client.unknown.clear()
    for client in story.clients.values():
        client.receive(GROUP)
        client.ack(GROUP)
        if client.name in direct:
            client.receive(direct)
        client.note("ack", type="ok", conv=GROUP, seq=client.acked.get(GROUP, 0))
        client.close(drained=True)
    story.cursors = {
        (client.name, "main", conv): seq
        for client in story.clients.values()
        for conv, seq in client.acked.items()
    }
