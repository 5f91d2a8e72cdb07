"""What a robot knows of its earlier lives, by its own history: open sends, and what it was shown."""

import random
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from imserver.protocol.events import MESSAGE, REDACT
from imserver.verify import HistoryReader
from imserver.verify.records import Gap, Receive, Send

_BIG_BODY_ONE_IN = 150
_BIG_BODY_CHARS = 20_000


class Outgoing(NamedTuple):
    """A send that is to end in stored or refused, however often it has to be asked for."""

    conv: str
    cid: str
    kind: str = MESSAGE
    ref: int | None = None

    def body(self) -> object:
        """Return what is sent: it follows from the cid, so that it is the same in the robot's next life."""
        if self.kind == REDACT:
            return None
        dice = random.Random(self.cid)
        is_big = dice.randrange(_BIG_BODY_ONE_IN) == 0
        chars = dice.randrange(_BIG_BODY_CHARS if is_big else 160)
        return {"n": chars, "text": "é" * (chars // 7) + "x" * chars}


class Past(Struct):
    """What a robot knows of its earlier lives: open sends, and how far it was shown each log."""

    unsettled: dict[tuple[str, str], Outgoing] = {}
    received_to: dict[str, int] = {}


def read_past(history: Path) -> dict[str, Past]:
    """Return what the robots of a history know, by name."""
    pasts: dict[str, Past] = {}
    if not history.exists():
        return pasts
    for _, record in HistoryReader(history):
        past = pasts.setdefault(record.client, Past())
        match record:
            case Send(type="ok" | "fail"):
                past.unsettled.pop((record.conv, record.cid), None)
            case Send(type="invoke"):
                outgoing = Outgoing(record.conv, record.cid, record.kind, record.ref)
                past.unsettled[record.conv, record.cid] = outgoing
            case Receive():
                past.received_to[record.conv] = record.seq
            case Gap():
                past.received_to[record.conv] = record.to
    return pasts
