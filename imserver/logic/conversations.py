"""What a node knows of each conversation: head, members, readers, and the hot tail of its log.

Everything here is derived from the store and may be thrown away at any time; what is kept while somebody
reads or writes a conversation saves asking the store for each event. The members known here may be a part
of all (`members_complete`): a robot that came online brings its own role with it.

The rule that keeps this memory true: a node appends to a conversation only while it is held here, and every
commit passes through `delivery` before anything else is decided about it. A record that was read from the
store before a change of members was committed is recognised by `membership_seq` and read again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from imserver.core.model import ConversationRecord, Member, Membership, Run
from imserver.data.store import Registry
from imserver.logic.crowding import Crowding
from imserver.logic.last_values import LastValues
from imserver.logic.tail import Tail
from imserver.protocol.names import ConversationName, RobotName

if TYPE_CHECKING:
    from imserver.logic.delivery import Reader

_NOBODYS: Final = ConversationName("g/")
"""A name that no conversation can have."""


class Conversation:
    """A conversation as this node holds it.

    Attributes:
        head: seq of the last committed event; 0 for a direct line without one.
        floor: seq of the first event that the store keeps, as far as it is known here; it only rises.
        members: those that are known here; all of them if ``members_complete``.
        membership_seq: seq up to which every change of members is known here.
        revoking: robots whose removal or demotion is on its way into the log, each with the number of
            changes that do it (a removal, and the end of the group): they send no more.
        changing: the same of robots that are on their way to a role, as new members or from another one.
        appending: appends that are on their way into the store.
        readers: the local sessions that receive it, in the order they came.
        signals: the latest values of its signals; None as long as there was none.
        used: the last sweep at which it was in use.
        announced: the head at the last announcement of heads.
        is_crowded: it was beyond its rate when last something was committed to it.
    """

    __slots__ = (
        "announced",
        "appending",
        "changing",
        "deleted",
        "epoch",
        "floor",
        "head",
        "is_crowded",
        "members",
        "members_complete",
        "membership_seq",
        "name",
        "open",
        "readers",
        "revoking",
        "signals",
        "tail",
        "used",
    )

    def __init__(self, name: ConversationName, *, epoch: str, head: int) -> None:
        self.name = name
        self.epoch = epoch
        self.head = head
        self.floor = 1
        self.open = False
        self.deleted = False
        self.members: dict[RobotName, Member] = {}
        self.members_complete = False
        self.membership_seq = 0
        self.revoking: Counter[RobotName] = Counter()
        self.changing: Counter[RobotName] = Counter()
        self.appending = 0
        self.readers: dict[Reader, None] = {}
        self.tail: Tail | None = None
        self.signals: LastValues | None = None
        self.used = 0
        self.announced = head
        self.is_crowded = False


class Upkeep(Protocol):
    """Keeps what is held true while other nodes write to the same store."""

    def held(self, conv: ConversationName) -> None:
        """A conversation is held from now on."""

    def dropped(self, conv: ConversationName) -> None:
        """A conversation is held no longer."""

    def ahead(self, conv: ConversationName, head: int) -> None:
        """The store was seen to have more of a conversation than is known here."""

    async def level(self, conversation: Conversation) -> None:
        """Return when the conversation is known here as the store has it now, or as far as its log is whole.

        Raises:
            StoreUnavailable: that cannot be found out.
        """


class Alone:
    """The `Upkeep` of a node that has its store to itself: whatever is committed is heard of at once."""

    def held(self, conv: ConversationName) -> None:
        """Nothing to do."""

    def dropped(self, conv: ConversationName) -> None:
        """Nothing to do."""

    def ahead(self, conv: ConversationName, head: int) -> None:
        """Nothing to do: this node's own commit is on its way here."""

    async def level(self, conversation: Conversation) -> None:
        """Nothing to do."""


class Conversations:
    """The conversations that this node holds, loaded when asked for and dropped when long unused.

    Attributes:
        crowding: their rates.
        upkeep: told what is held; set before anything is, on a node with neighbours.
        is_shared: there are neighbours, so what is held may be behind the store.
    """

    def __init__(self, registry: Registry, crowding: Crowding) -> None:
        self.crowding: Final = crowding
        self._registry = registry
        self.upkeep: Upkeep = Alone()
        self.is_shared = False
        self._held: dict[str, Conversation] = {}
        self._sweep = 0

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Conversation]:
        return iter(list(self._held.values()))

    def peek(self, name: str) -> Conversation | None:
        """Return the conversation if it is held here, which is then in use."""
        held = self._held.get(name)
        if held is not None:
            held.used = self._sweep
        return held

    def known(self, name: str) -> Conversation | None:
        """Return the conversation if it is held here, without using it."""
        return self._held.get(name)

    async def learn_log(self, conversation: Conversation) -> None:
        """Ask the store for the conversation's epoch, and where its log begins now."""
        record = await self._registry.conversation(conversation.name)
        if record is not None:
            conversation.epoch = record.epoch
            conversation.floor = max(conversation.floor, record.floor)

    async def load(
        self, name: ConversationName, *, asker: RobotName | None = None
    ) -> Conversation | None:
        """Return the conversation with all its members, or None if it does not exist.

        An ``asker`` that is no member waits for the store also where there is no need to: by the time an
        answer takes, nobody learns which conversations of others there are.

        Raises:
            StoreUnavailable: the store cannot be asked.
        """
        while True:
            held = self.peek(name)
            if held is not None and held.members_complete:
                await self.upkeep.level(held)
                if asker is not None and asker not in held.members:
                    await self._registry.conversation(_NOBODYS)
                if self._held.get(name) is held:
                    return held
                continue
            record = await self._registry.conversation(name)
            held = self._held.get(name)
            if held is None:
                if record is None:
                    return None
                held = self._hold_as_read(name, epoch=record.epoch, head=record.head)
            held.used = self._sweep
            if record is None and not held.membership_seq:
                return held
            if record is not None and held.membership_seq <= record.head:
                self._complete(held, record)
                if record.head > held.head:
                    await self.upkeep.level(held)
                return held

    async def skip(self, conversation: Conversation, seq: int) -> None:
        """Go on with a log behind ``seq``, since what it had up to there was let go unseen."""
        record = await self._registry.conversation(conversation.name)
        if record is not None and seq > conversation.head:
            conversation.head = conversation.membership_seq = seq
            self._complete(conversation, record)

    def adopt(self, membership: Membership, robot: RobotName) -> Conversation | None:
        """Return the conversation of a membership just read, or None if the record is already outdated."""
        held = self._held.get(membership.conv)
        if held is None:
            held = self._hold_as_read(membership.conv, epoch=membership.epoch, head=membership.head)
        elif held.membership_seq > membership.head:
            return None
        elif membership.head > held.head:
            self.upkeep.ahead(held.name, membership.head)
        held.used = self._sweep
        # Of a direct line whose first event is on its way here, only the store knows it yet.
        held.epoch = membership.epoch
        if not held.members_complete:
            held.members[robot] = Member(membership.role, membership.since)
        return held

    def begin(self, name: ConversationName, members: dict[RobotName, Member]) -> Conversation:
        """Return the conversation, held from before its first event on."""
        held = self._held.get(name)
        if held is None:
            held = self._hold(Conversation(name, epoch="", head=0))
            held.members = dict(members)
            held.members_complete = True
        held.used = self._sweep
        return held

    def note(self, conversation: Conversation, run: Run) -> None:
        """Take in that events were committed to a conversation that is held."""
        conversation.epoch = run.epoch
        self.crowding.on_committed(conversation, run)

    def sweep(self) -> None:
        """Drop what nobody has read or written since the sweep before the last one."""
        self._sweep += 1
        for held in list(self._held.values()):
            if held.readers or held.appending:
                held.used = self._sweep
            elif held.used < self._sweep - 1:
                del self._held[held.name]
                self.upkeep.dropped(held.name)

    def _hold_as_read(self, name: ConversationName, *, epoch: str, head: int) -> Conversation:
        """Hold a conversation as it was read; what was read before that, and comes late, is outdated."""
        conversation = Conversation(name, epoch=epoch, head=head)
        conversation.membership_seq = head
        return self._hold(conversation)

    def _hold(self, conversation: Conversation) -> Conversation:
        self._held[conversation.name] = conversation
        self.upkeep.held(conversation.name)
        return conversation

    @staticmethod
    def _complete(held: Conversation, record: ConversationRecord) -> None:
        held.members = dict(record.members)
        held.members_complete = True
        held.membership_seq = record.head
        held.floor = max(held.floor, record.floor)
        held.open = record.open
        held.deleted = record.deleted
