"""What one node tells another that is to append for it, and what it is told: as bytes.

Both are MessagePack arrays. Nodes of one cluster may differ by a version: fields are only added at the end,
and who cannot read a question declines it.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from imserver.core.model import Append, Halted, Mismatch, Missing, Outcome, Outdated, Stored
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, RobotName

BODY_BYTES_MAX: Final = 32 * 1024


class _Sent(Struct, array_like=True, frozen=True, gc=False):
    sender: RobotName
    cid: str
    ts: int
    kind: str
    body: bytes
    ref: int | None
    known: int


class _Question(Struct, array_like=True, frozen=True, gc=False):
    conv: ConversationName
    events: list[_Sent]


class _Stored(Struct, tag="s", array_like=True, frozen=True, gc=False):
    epoch: str
    seq: int
    ts: int
    dup: bool


class _Missing(Struct, tag="m", array_like=True, frozen=True):
    pass


class _Mismatch(Struct, tag="d", array_like=True, frozen=True):
    seq: int


class _Halted(Struct, tag="h", array_like=True, frozen=True):
    seen: int


class _Outdated(Struct, tag="o", array_like=True, frozen=True):
    seq: int


class _Open(Struct, tag="u", array_like=True, frozen=True):
    """It is for the asker to find out."""


_Answer: TypeAlias = _Stored | _Missing | _Mismatch | _Halted | _Outdated | _Open

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_question: Final = msgspec.msgpack.Decoder(_Question).decode
_decode_answer: Final = msgspec.msgpack.Decoder(list[_Answer]).decode


def can_be_handed_on(append: Append) -> bool:
    """Tell whether another node may append this: an event that changes nothing beside its log, of a sender
    whose rights were judged by a log that exists, and not large."""
    return append.change is None and bool(append.known) and len(append.body) <= BODY_BYTES_MAX


def question_of(appends: Sequence[Append]) -> bytes:
    """Return the question to append these, of one conversation, which can all be handed on."""
    events = [
        _Sent(each.sender, each.cid, each.ts, each.kind, each.body, each.ref, each.known or 0)
        for each in appends
    ]
    return _encode(_Question(appends[0].conv, events))


def appends_of(question: bytes) -> list[Append]:
    """Return what a question asks to append.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        asked = _decode_question(question)
    except msgspec.DecodeError as exc:
        raise ValueError(f"no question to append: {exc}") from exc
    return [
        Append(
            asked.conv,
            each.ts,
            each.sender,
            each.cid,
            each.kind,
            each.body,
            ref=each.ref,
            known=each.known,
        )
        for each in asked.events
    ]


def answer_of(outcomes: Sequence[Outcome]) -> bytes:
    """Return the answer that tells outcomes; those that are not told are for the asker to find out."""
    return _encode([_told(outcome) for outcome in outcomes])


def outcomes_of(answer: bytes, appends: Sequence[Append]) -> list[Outcome | None]:
    """Return the outcomes of ``appends`` that an answer tells, None where it tells none.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        told = _decode_answer(answer)
    except msgspec.DecodeError as exc:
        raise ValueError(f"no answer of outcomes: {exc}") from exc
    if len(told) > len(appends):
        raise ValueError("an answer tells of more than was asked for")
    rest: list[Outcome | None] = [None] * (len(appends) - len(told))
    known = [_outcome(each, append) for each, append in zip(told, appends, strict=False)]
    return known + rest


def _told(outcome: Outcome) -> _Answer:
    match outcome:
        case Stored(epoch=epoch, event=event, dup=dup):
            return _Stored(epoch, event.seq, event.ts, dup)
        case Missing():
            return _Missing()
        case Mismatch(seq=seq):
            return _Mismatch(seq)
        case Halted(seen=seen):
            return _Halted(seen)
        case Outdated(seq=seq):
            return _Outdated(seq)
    return _Open()


def _outcome(told: _Answer, asked: Append) -> Outcome | None:
    match told:
        case _Stored(epoch=epoch, seq=seq, ts=ts, dup=dup):
            event = Event(seq, ts, asked.sender, asked.cid, asked.kind, Raw(asked.body), asked.ref)
            return Stored(epoch, event, dup)
        case _Missing():
            return Missing()
        case _Mismatch(seq=seq):
            return Mismatch(seq)
        case _Halted(seen=seen):
            return Halted(seen)
        case _Outdated(seq=seq):
            return Outdated(seq)
    return None
