"""The ports of the data tier. One engine object implements them; callers ask for the one they need.

Promises common to all engines:

- What a write returned for is durable (on one machine: fsynced; in a cluster: majority and journal).
- Whether the failed write is known: `StoreUnavailable` means nothing was stored; `StoreFailed` means the
  outcome is unknown and the process must stop writing, restart and read the truth again. A failed commit
  is never tried again in the same process.
- Reads see every write that returned before they began.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from imserver.core.acts import Act, RecordedAct, Revoked, TokenRecord
from imserver.core.model import (
    Append,
    Boot,
    ConversationRecord,
    Cursor,
    Enrolment,
    GroupSummary,
    Keep,
    Membership,
    Outcome,
    RobotRecord,
)
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.packed_events import PackedEvents


class EventLog(Protocol):
    """The logs of all conversations."""

    async def append(self, events: Sequence[Append]) -> list[Outcome]:
        """Store events of any conversations, in one durable transaction.

        Outcomes come in the order of ``events``, and events of one conversation get consecutive seq in that
        order. Unique (conversation, seq) and unique (conversation, sender, cid) are enforced by the store: an
        event whose cid is stored already, or came earlier in the same call, is not stored again; the outcome
        is the first one, with ``dup`` set, or `Mismatch` if kind, ref or body differ. A `Created` change
        makes the group (or answers `Taken`); any other event of an unknown or ended group answers `Missing`.
        New events of a conversation that is halted (see `Cursors.note_loss`) answer `Halted`. A `Recall` is
        answered as the event would be if it is stored, and else `Missing`; it stores nothing. An engine that
        nodes share answers `Outdated` for an event that was judged without knowing a change of members before
        its place (``Append.known``), whichever node made that.
        A direct line exists from its first event, and its members never change. Membership changes, and
        references to files, take effect in the same transaction.

        Raises:
            StoreUnavailable: nothing was stored.
            StoreFailed: unknown outcome; every later call raises it too.
        """

    async def read_after(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        """Return the events that follow seq ``after``, in order and without gaps: at most ``limit``, and
        as many as fit in ``bytes_max`` of bodies, but at least one if there is one. Where those that follow
        were let go (see `trim`), the page begins at the floor. Where one is missing that was not, the page
        ends before it.

        Raises:
            EventMissing: the first of them.
            StoreCorrupt: one of them cannot be read.
        """

    async def read_page(
        self, conv: ConversationName, after: int, *, limit: int, bytes_max: int
    ) -> PackedEvents | None:
        """Return the same events as `read_after` in the form in which `deliver` carries them, for who passes
        them on and need not look at them; None if there are none."""

    async def read_before(
        self, conv: ConversationName, before: int, *, limit: int, bytes_max: int
    ) -> list[Event]:
        """Return the events that precede seq ``before``, in log order: the last ``limit`` of them, and as
        many as fit in ``bytes_max`` counted from the newest, but at least one if there is one.

        Raises:
            EventMissing, StoreCorrupt: as for `read_after`, the other way round.
        """

    async def read_one(self, conv: ConversationName, seq: int) -> Event | None:
        """Return the event at ``seq``, or None."""

    async def amendments(
        self, conv: ConversationName, seqs: Sequence[int], *, until: int
    ) -> dict[int, Event]:
        """Return, for each of ``seqs`` that was edited or redacted up to seq ``until``, the event that
        decides how it is shown there: its redaction if there is one, else its last edit."""

    async def first_kept(self, conv: ConversationName, keep: Keep) -> int:
        """Return the seq from which on ``keep`` keeps the log: not below its floor, not beyond its head; 0 if
        there is no such conversation. Takes time with the number of events looked at."""

    async def trim(self, conv: ConversationName, below: int, *, limit: int) -> int:
        """Let go of the oldest events, those below seq ``below``, and return the floor, the first seq kept.

        At most ``limit`` events go (with 0 it only tells), and few if they are large, so that it never takes
        long: call again until the floor is where it should be. The head stays always. The floor moves in the
        same transaction, and only upwards. A cid counts as used for as long as its event is kept. References
        to files go with their events; a file whose last one goes so expires at once.

        Raises:
            StoreUnavailable, StoreFailed: as for `append`.
        """


class Registry(Protocol):
    """Robots, conversations and who belongs to them."""

    async def register(
        self, robot: RobotRecord, *, enrolment: Enrolment, act: Act | None = None
    ) -> RobotRecord:
        """Store a robot, spend an enrolment token and record the act, all or nothing.

        A robot that is known without a key (it has only used bearer tokens, or was revoked) gets the key.

        Raises:
            Refusal: ``exists`` if the name is taken by a robot with a key; ``unauthenticated`` if the token
                was spent before or revoked, or is not younger than the robot's revocation.
            StoreUnavailable, StoreFailed: as for `EventLog.append`.
        """

    async def ensure_robot(self, robot: RobotRecord) -> RobotRecord:
        """Store a robot without a key unless the name is known; return the record that is stored."""

    async def robot(self, name: RobotName) -> RobotRecord | None:
        """Return a robot's record, or None."""

    async def known_robots(self, names: Sequence[RobotName]) -> set[RobotName]:
        """Return those of ``names`` that are registered."""

    async def robots(self, *, after: str, limit: int) -> list[RobotRecord]:
        """Return robots whose names follow ``after`` in byte order, at most ``limit``."""

    async def conversation(self, conv: ConversationName) -> ConversationRecord | None:
        """Return a conversation with its members, or None if it has never existed."""

    async def memberships(self, robot: RobotName, device: DeviceName) -> list[Membership]:
        """Return every conversation that ``robot`` is a member of, by name, with the device's cursors."""

    async def groups(
        self, *, member: RobotName | None, after: str, limit: int
    ) -> list[GroupSummary]:
        """Return groups that have not ended, whose conversation names follow ``after`` in byte order: those
        of ``member``, or all if it is None."""


class Cursors(Protocol):
    """How far robots have come."""

    async def move_cursors(self, cursors: Sequence[Cursor]) -> None:
        """Move cursors forwards, durably.

        A cursor that would move backwards, or beyond the head, is ignored; so is one of an unknown
        conversation.

        Raises:
            StoreUnavailable: not all of them may have moved; moving them again does no harm.
            StoreFailed: as for `EventLog.append`.
        """

    async def note_loss(self, conv: ConversationName, seen: int) -> bool:
        """Take note that a robot has seen ``seen``, which is beyond the head: acked events are lost.

        If the store was not closed in good order before it was opened this time, the conversation is halted,
        durably: until an operator accepts the loss, `EventLog.append` answers `Halted` for its new events, so
        that no seq gets a second value. After a good end nothing can be lost that way, and the word of one
        robot halts nothing. Returns whether the conversation is halted now.

        Raises:
            StoreUnavailable, StoreFailed: as for `EventLog.append`.
        """

    async def acked(self, conv: ConversationName) -> dict[RobotName, int]:
        """Return, for each robot that ever acked in ``conv``, the furthest cursor of its devices."""


class Administration(Protocol):
    """Administrative acts: what they change, and the record of them."""

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        """Carry out acts, in order, and record each with what it changes: in one durable transaction.

        An act that was performed before is not performed again. Tells of each whether it is in effect: False
        for a `KeyReplaced` whose old key is not the robot's, which then has no effect and no record.

        Raises:
            StoreUnavailable, StoreFailed: as for `EventLog.append`.
        """

    async def acts(self, *, before: int | None, limit: int) -> list[RecordedAct]:
        """Return at most ``limit`` acts, newest first: those before the one with that number, or the last."""

    async def forget(self, *, acts_before_ms: int, acts_max: int, now_ms: int) -> None:
        """Let go of acts that are older than a time or more than so many, the oldest first, and of tokens
        that have expired by ``now_ms``.

        Raises:
            StoreUnavailable, StoreFailed: as for `EventLog.append`.
        """

    async def tokens(self, *, robot: RobotName | None, after: str, limit: int) -> list[TokenRecord]:
        """Return tokens on record whose ids follow ``after`` in byte order, of one robot or of all."""

    async def token(self, token_id: str) -> TokenRecord | None:
        """Return a token on record, or None."""

    async def revoked(self) -> Revoked:
        """Return all that is good no more."""


class Boots(Protocol):
    """The starts of robots' programs, by which two of them with one identity are told apart."""

    async def last_boot(self, robot: RobotName, device: DeviceName) -> Boot | None:
        """Return the last start of a device that was noted, or None."""

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        """Take note of a device's start, durably. A robot's `BOOTS_MAX` devices noted last are kept.

        Raises:
            StoreUnavailable, StoreFailed: as for `EventLog.append`.
        """


BOOTS_MAX: Final = 32
"""Devices of one robot whose starts are kept."""


class Store(EventLog, Registry, Cursors, Protocol):
    """Everything that is stored, and the store's own life.

    Attributes:
        administration, boots: the ports of these names, of the same store.
    """

    administration: Administration
    boots: Boots

    async def probe(self) -> None:
        """Return if the store can be read and takes writes.

        Raises:
            StoreUnavailable, StoreFailed: it does not, and why.
        """

    async def aclose(self) -> None:
        """Finish what was begun, make it durable and release the store. Idempotent."""


class SharedLog(Protocol):
    """What the nodes ask that share a store, each of which sees only its own commits come and go.

    Attributes:
        on_overtaken: told a conversation to which another node appended just when this one was about to, so
            that an append had to be tried again; must not wait.
    """

    on_overtaken: Callable[[ConversationName], None]

    def note_head(self, conv: ConversationName, seq: int) -> None:
        """Take in that another node is said to have appended up to ``seq``: it spares the next append here to
        find that out by being overtaken. Whether it is true makes no other difference."""

    async def heads(self, convs: Sequence[ConversationName]) -> dict[ConversationName, int]:
        """Return the head of each of ``convs`` that exists; one that has ended included."""


class Bounds(NamedTuple):
    """Which log a conversation has, and from where on it is kept: as in `ConversationRecord`."""

    epoch: str
    floor: int


class BoundsOfLogs(Protocol):
    """What is asked of a shared store by who has events from elsewhere: whether it still keeps them."""

    async def bounds(self, convs: Sequence[ConversationName]) -> dict[ConversationName, Bounds]:
        """Return what the records of ``convs`` say of their logs, without those that have no record yet.

        One small read, however long the logs are.

        Raises:
            StoreUnavailable: they could not be asked for.
        """
