"""Sealed sessions that talk through a log in a list, which a test may tamper with."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from client_sdk import RobotKey
from client_sdk.memory import Place, Recollection
from client_sdk.records import Event
from client_sdk.sealed import envelope
from client_sdk.sealed.incoming import Incoming
from client_sdk.sealed.outgoing import Draft, Outgoing, Policy
from client_sdk.sealed.own_device import OwnDevice
from client_sdk.sealed.session import SealedSession
from client_sdk.sealed.trust import Trust
from imserver.protocol.events import Event as WireEvent

CONV = "g/dock"
EPOCH = "e1"
POLICY = Policy(messages_max=100, age_ms=86_400_000, device_age_ms=604_800_000)
_KEYS: dict[str, RobotKey] = {}


def key_of(robot: str) -> RobotKey:
    return _KEYS.setdefault(robot, RobotKey.generate())


class Log:
    """A conversation's log, as some server shows it."""

    def __init__(self, *members: str, conv: str = CONV) -> None:
        self.conv = conv
        self.events: list[WireEvent] = []
        self.append("group_created", members[0], {"members": dict.fromkeys(members, "member")})

    def append(
        self, kind: str, sender: str, body: Any, *, cid: str = "", ref: int | None = None
    ) -> int:
        seq = len(self.events) + 1
        raw = Raw(msgspec.msgpack.encode(body))
        self.events.append(WireEvent(seq, 1, sender, cid or f"c{seq}", kind, raw, ref))
        return seq

    def repeat(self, seq: int, **changes: Any) -> int:
        """Show an event again, changed."""
        again = msgspec.structs.replace(self.events[seq - 1], **changes, seq=len(self.events) + 1)
        self.events.append(again)
        return again.seq

    def replace(self, seq: int, **changes: Any) -> None:
        self.events[seq - 1] = msgspec.structs.replace(self.events[seq - 1], **changes)


class Party:
    """One device. ``shown`` is what its application sees, by seq."""

    def __init__(
        self, robot: str, device: str = "main", *, identity: RobotKey | None = None, **options: Any
    ) -> None:
        self.robot, self.device = robot, device
        self.identity = identity or key_of(robot)
        self.options = options
        self.dice = random.Random(f"{robot}/{device}")
        self.now_ms = 1_000_000
        self.durable: dict[str, bytes] = {}
        self.taken: dict[str, int] = {}
        self.shown: dict[int, Event] = {}
        self.begin()

    def begin(self) -> None:
        """Begin a process with what an earlier one kept."""
        options = self.options
        entropy: Callable[[int], bytes] = self.dice.randbytes
        own = OwnDevice(self.robot, self.device, self.identity, entropy)
        self.policy = options.get("policy", POLICY)
        self.session = SealedSession(
            own,
            trusted=Trust(options.get("known", {}), first_use=options.get("first_use", True)),
            outgoing=Outgoing(own, entropy, self.policy),
            incoming=Incoming(keeps_used=options.get("keep_history", False)),
            decode=msgspec.msgpack.decode,
            clock_ms=lambda: self.now_ms,
            everything=options.get("everything", False),
        )
        self.session.recall(Recollection(None, [], [], dict(self.durable)))

    def crash(self, *, place: int, conv: str = CONV) -> None:
        """Kill the process; the application had processed events up to ``place``."""
        self.keep(self.session.take([Place(conv, EPOCH, place)]))
        self.taken[conv] = place
        self.begin()

    def keep(self, records: Any) -> None:
        for record in records:
            self.durable.pop(record.name, None)
            if record.value is not None:
                self.durable[record.name] = record.value

    def join(self, log: Log) -> None:
        """Seal a conversation and announce this device."""
        self.catch_up(log)
        self.session.roster(log.conv).progress.seal()
        self.keep(self.session.own.renew(self.now_ms, self.policy.device_age_ms))
        body = envelope.body_of(self.session.own.announcement(log.conv))
        log.append(envelope.DEVICE_KIND, self.robot, body)
        self.catch_up(log)

    def catch_up(self, log: Log) -> None:
        """Receive what the log has, without showing it."""
        roster = self.session.roster(log.conv)
        self.session.received(log.conv, EPOCH, log.events[roster.progress.known :])

    def send(
        self, log: Log, value: Any, *, cid: str = "", kind: str = "message", ref: int | None = None
    ) -> int:
        """Send a sealed message; return its seq."""
        self.catch_up(log)
        cid = cid or f"{self.robot}-{self.device}-{len(log.events)}"
        body = self.seal(log, value, cid=cid, kind=kind, ref=ref)
        seq = log.append(kind, self.robot, body, cid=cid, ref=ref)
        self.session.roster(log.conv).progress.hear(seq, self.now_ms)
        return seq

    def seal(
        self, log: Log, value: Any, *, cid: str, kind: str = "message", ref: int | None = None
    ) -> Any:
        """Seal a message as it would be sent now; give out a new key first if there has to be one."""
        roster, outgoing = self.session.roster(log.conv), self.session.outgoing
        if outgoing.needs_key(roster, self.now_ms):
            key, record = outgoing.make_key(roster, self.now_ms)
            self.keep([record])
            for content in outgoing.wraps(log.conv, key, roster.recipients()):
                log.append(envelope.KEY_KIND, self.robot, envelope.body_of(content))
            outgoing.use(log.conv, key)
            self.catch_up(log)
        draft = Draft(log.conv, cid, kind, ref, msgspec.msgpack.encode(value))
        self.last = outgoing.seal(draft, epoch=roster.progress.epoch, seen=roster.progress.heard)
        return envelope.body_of(self.last.content)

    def settle(self, log: Log) -> None:
        """Learn that what was sealed last is stored."""
        self.session.outgoing.settle(log.conv, self.last)

    def read(self, log: Log, *, until: int | None = None) -> dict[int, Event]:
        """Take what the log has as the application does; return all that it was shown."""
        self.catch_up(log)
        begin = self.taken.get(log.conv, 0)
        for event in log.events[begin:until]:
            self.shown[event.seq] = self.session.open(self.event(log, event))
            self.taken[log.conv] = event.seq
        return self.shown

    def look_up(self, log: Log, seq: int) -> Event:
        """See an event again, as `history` shows it."""
        return self.session.open(self.event(log, log.events[seq - 1]), keep=False)

    def body(self, log: Log, seq: int) -> Any:
        return self.read(log)[seq].body

    def why(self, log: Log, seq: int) -> str:
        """Return why an event was not opened."""
        return str(self.read(log)[seq].body.why)

    @staticmethod
    def event(log: Log, event: WireEvent) -> Event:
        body = msgspec.msgpack.decode(event.body)
        return Event(
            log.conv, EPOCH, event.seq, 1, event.sender, event.cid, event.kind, event.ref, body
        )


def dock(*robots: str, **options: Any) -> tuple[Log, list[Party]]:
    """Return a sealed group, and its members."""
    log = Log(*robots)
    parties = [Party(robot, **options) for robot in robots]
    for party in parties:
        party.join(log)
    return log, parties
