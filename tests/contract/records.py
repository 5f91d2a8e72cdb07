"""Short words for what the contract suites store and ask."""

from collections.abc import Iterable, Sequence

from msgspec import structs

from imserver.core.model import (
    Added,
    Append,
    Created,
    Cursor,
    Deleted,
    Enrolment,
    MembershipChange,
    Mismatch,
    Outcome,
    Recall,
    Removed,
    RobotRecord,
    Stored,
)
from imserver.data.store import Store
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, DeviceName, RobotName

DOCK = ConversationName("g/dock")
YARD = ConversationName("g/yard")
LINE = ConversationName("d/r1/r2")
R1, R2, R3 = RobotName("r1"), RobotName("r2"), RobotName("r3")
MAIN, SPARE = DeviceName("main"), DeviceName("spare")
BODY = b"\xa5hello"
KEY = bytes(range(32))
EVERYTHING = 2**40


def body_of(size: int, fill: bytes = b"x") -> bytes:
    """Return a body of ``size`` bytes, at least 1."""
    if size == 1:
        return b"\xc0"
    if size <= 32:
        return bytes((0xA0 | (size - 1),)) + fill * (size - 1)
    return b"\xc6" + (size - 5).to_bytes(4) + (fill * size)[: size - 5]


def event(
    cid: str,
    conv: ConversationName = DOCK,
    *,
    sender: RobotName = R1,
    kind: str = "message",
    body: bytes = BODY,
    ref: int | None = None,
) -> Append:
    return Append(conv, 1_700_000_000_000, sender, cid, kind, body, ref)


def events(count: int, conv: ConversationName = DOCK, *, prefix: str = "c") -> list[Append]:
    return [event(f"{prefix}{number}", conv) for number in range(count)]


def change(
    cid: str, what: MembershipChange, conv: ConversationName = DOCK, *, sender: RobotName = R1
) -> Append:
    return Append(conv, 1_700_000_000_000, sender, cid, "membership", BODY, change=what)


def created(
    conv: ConversationName = DOCK, *, members: Iterable[str] = ("r1",), is_open: bool = False
) -> Append:
    roles = {RobotName(name): Role.MEMBER for name in members}
    return change("created", Created(members=roles | {R1: Role.OWNER}, open=is_open), conv)


def added(cid: str, *robots: RobotName, role: Role = Role.MEMBER) -> Append:
    return change(cid, Added(robots=robots, role=role))


def removed(cid: str, *robots: RobotName) -> Append:
    return change(cid, Removed(robots=robots))


def recalled(cid: str, conv: ConversationName = DOCK) -> Append:
    return structs.replace(event(cid, conv), change=Recall())


def deleted(cid: str, conv: ConversationName = DOCK) -> Append:
    return change(cid, Deleted(), conv)


def cursor(
    seq: int,
    conv: ConversationName = DOCK,
    *,
    robot: RobotName = R1,
    device: DeviceName = MAIN,
) -> Cursor:
    return Cursor(robot, device, conv, seq)


def robot(name: str, *, key: bytes | None = KEY, at: int = 1) -> RobotRecord:
    return RobotRecord(RobotName(name), key, at)


def enrolment(token_id: str, *, issued: int = 5, expires: int = 99) -> Enrolment:
    return Enrolment(token_id, issued, expires)


async def store_all(store: Store, asked: Sequence[Append]) -> list[Event]:
    """Append events that must all be new, and return them as stored."""
    outcomes = await store.append(asked)
    assert all(isinstance(outcome, Stored) and not outcome.dup for outcome in outcomes)
    return [stored(outcome).event for outcome in outcomes]


def stored(outcome: Outcome) -> Stored:
    assert isinstance(outcome, Stored), outcome
    return outcome


def seqs(found: Iterable[Event | Outcome]) -> list[int]:
    return [item.seq if isinstance(item, Event) else stored(item).event.seq for item in found]


async def whole_log(store: Store, conv: ConversationName = DOCK) -> list[Event]:
    return await store.read_after(conv, 0, limit=1_000_000, bytes_max=EVERYTHING)


async def members(store: Store, conv: ConversationName = DOCK) -> dict[RobotName, tuple[Role, int]]:
    record = await store.conversation(conv)
    assert record is not None
    return {name: (member.role, member.since) for name, member in record.members.items()}


def content_of(entry: Event) -> tuple[int, str, str, str, int | None, bytes]:
    """Return an event without its time."""
    return entry.seq, entry.sender, entry.cid, entry.kind, entry.ref, bytes(entry.body)


def seen_in(outcome: object) -> tuple[type, int | None, bool]:
    """Return the kind of an outcome, its seq, and whether it is a repeat."""
    match outcome:
        case Stored():
            return Stored, outcome.event.seq, outcome.dup
        case Mismatch():
            return Mismatch, outcome.seq, False
    return type(outcome), None, False
