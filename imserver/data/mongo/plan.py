"""Decides what becomes of a batch of events, given what is known of their logs: pure, nothing is asked here.

A plan is optimistic. It gives each event the place after the last one known, and takes for granted that no
cid was stored before: whether that is so, the unique indexes say when the plan is carried out. Only an
outcome that would deny an event is never guessed: for that, the cids are looked up first (`PlanNeedsCids`),
since an event that is stored already is answered with its place, whatever has become of its conversation.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from msgspec import Raw, Struct

from imserver.core.model import (
    Append,
    Created,
    Deleted,
    Halted,
    MembershipChange,
    Mismatch,
    Missing,
    Outcome,
    Outdated,
    Recall,
    Refers,
    Stored,
    Taken,
)
from imserver.data.mongo.rows import Document, change_document, event_document
from imserver.protocol.bodies import is_same
from imserver.protocol.events import Event, Role
from imserver.protocol.names import ConversationName, direct_members, is_group

Key: TypeAlias = tuple[str, str, str]
"""Conversation, sender, cid: what is stored once."""


class PlanNeedsCids(Exception):
    """Whether the cids are stored already has to be known first."""


class Log(NamedTuple):
    """A conversation as the next event finds it; ``changed`` is the seq of the last change of its members."""

    epoch: str
    head: int
    floor: int
    refusal: Missing | Halted | None
    changed: int = 0


class Insert(Struct, frozen=True, gc=False):
    """An event that is to be stored: where in the batch it stands, and its document."""

    nth: int
    asked: Append
    document: Document
    outcome: Stored


class Plan(NamedTuple):
    """What to do: documents to insert, in this order, and the outcomes that need no doing.

    ``repeats`` names events whose cid came earlier in the batch, each with the index of that one.
    """

    inserts: list[Insert]
    outcomes: dict[int, Outcome]
    repeats: dict[int, int]


class _Draft:
    """A log as it will be when the plan so far is carried out."""

    __slots__ = ("changed", "epoch", "exists", "head", "refusal")

    def __init__(self, log: Log | None, epoch: str) -> None:
        self.exists = log is not None
        self.epoch = log.epoch if log else epoch
        self.head = log.head if log else 0
        self.refusal = log.refusal if log else None
        self.changed = log.changed if log else 0


def make_plan(
    events: Sequence[tuple[int, Append]],
    logs: Mapping[ConversationName, Log | None],
    stored: Mapping[Key, Event] | None,
    *,
    epoch: str,
) -> Plan:
    """Return what to do for ``events``, which come with their places in the batch.

    Args:
        events: the batch, or what is left of it.
        logs: what is known of each of their conversations; None for one that does not exist.
        stored: the events of those cids that are stored; None if they were not looked up.
        epoch: that of conversations that begin now.

    Raises:
        PlanNeedsCids: without ``stored`` an event would be denied.
    """
    plan = Plan([], {}, {})
    drafts: dict[ConversationName, _Draft] = {}
    planned: dict[Key, int] = {}
    for index, asked in events:
        draft = drafts.get(asked.conv)
        if draft is None:
            draft = drafts[asked.conv] = _Draft(logs[asked.conv], epoch)
        key = key_of(asked)
        first = planned.get(key)
        if first is not None:
            plan.repeats[index] = first
            continue
        known = stored.get(key) if stored else None
        if known is not None:
            plan.outcomes[index] = repeated(draft.epoch, asked, known)
            continue
        denial = _denial(draft, asked)
        if denial is None:
            planned[key] = index
            plan.inserts.append(_insert(draft, index, asked))
            continue
        if stored is None and draft.exists:
            raise PlanNeedsCids
        plan.outcomes[index] = denial
    return plan


def key_of(asked: Append) -> Key:
    """Return what makes the event the same one when it is sent again."""
    return (asked.conv, asked.sender, asked.cid)


def repeated(epoch: str, asked: Append, first: Event) -> Outcome:
    """Return the outcome for an event whose cid is that of one in the log."""
    same = (first.kind, first.ref) == (asked.kind, asked.ref) and is_same(first.body, asked.body)
    return Stored(epoch, first, dup=True) if same else Mismatch(first.seq)


def _denial(draft: _Draft, asked: Append) -> Outcome | None:
    """Return why the event cannot be stored, or None."""
    change = asked.change
    if isinstance(change, Recall):
        return Missing()
    if not draft.exists:
        is_plain = not isinstance(change, MembershipChange)
        begins = isinstance(change, Created) or (is_plain and not is_group(asked.conv))
        return None if begins else Missing()
    if isinstance(change, Created):
        return Taken()
    if draft.refusal is None and _is_outdated(draft, asked):
        return Outdated(draft.changed)
    return draft.refusal


def _is_outdated(draft: _Draft, asked: Append) -> bool:
    """Tell whether members were changed unheard. Those of a direct line never are: whoever begins it at the
    same moment on another node changes nothing, and what is sent next must not overtake."""
    return asked.known is not None and asked.known < draft.changed and is_group(asked.conv)


def _insert(draft: _Draft, index: int, asked: Append) -> Insert:
    draft.head += 1
    document = event_document(asked, draft.head)
    if asked.change is not None or not draft.exists:
        _change(draft, asked, document)
    event = Event(
        draft.head, asked.ts, asked.sender, asked.cid, asked.kind, Raw(asked.body), asked.ref
    )
    return Insert(index, asked, document, Stored(draft.epoch, event, dup=False))


def _change(draft: _Draft, asked: Append, document: Document) -> None:
    """Have an event's document say what it does to the members, or which file it refers to."""
    change = asked.change
    if isinstance(change, Refers):
        document["file"] = change.file
    if not isinstance(change, MembershipChange):
        if draft.exists:
            return
        change = Created(dict.fromkeys(direct_members(asked.conv), Role.MEMBER), open=False)
    draft.exists = True
    draft.changed = draft.head
    if isinstance(change, Deleted):
        draft.refusal = Missing()
    document["change"] = change_document(change, epoch=draft.epoch)
