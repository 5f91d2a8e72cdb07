"""What the run and its client processes say to each other: a line of JSON each, over their pipes."""

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

BURSTS: Final = (1, 4, 32)
Phase: TypeAlias = Literal["connect", "create", "send", "settle", "drain", "quit"]
"""The phases of a client process, in order. It answers each with a `Report` that names it as done."""


class RobotOrder(Struct, frozen=True):
    """A robot of a client process.

    Attributes:
        name, token, key: who it is, its enrolment token, and its key file.
        convs: where it sends.
        creates: groups that it makes, with their further members.
        changes: groups that it makes and whose members it changes, with those who come and go.
        guests: members of the groups that it makes and ends all the while; it makes none if empty.
        memory: file of its memory, None for a robot without.
    """

    name: str
    token: str
    key: str
    convs: tuple[str, ...]
    creates: dict[str, tuple[str, ...]] = {}
    changes: dict[str, tuple[str, ...]] = {}
    guests: tuple[str, ...] = ()
    memory: str | None = None


class ClientOrder(Struct, frozen=True):
    """What a client process does.

    Attributes:
        urls: where its robots connect to, each time to the next one.
        robots: its robots.
        history: file that it records its history in.
        seed: of its bodies and its pace.
        bursts: so many are begun at a time, one behind the other.
        rate: sends a second that each robot begins, when it can.
        in_flight: sends that each robot has under way at most.
        deadline_s: after which a send's outcome counts as unknown.
        patience_s: how long a robot may take, in the end, to settle its sends, and then to read its logs.
    """

    urls: tuple[str, ...]
    robots: tuple[RobotOrder, ...]
    history: str
    seed: str
    bursts: tuple[int, ...] = BURSTS
    rate: float = 40.0
    in_flight: int = 32
    deadline_s: float = 5.0
    patience_s: float = 60.0


class Report(Struct, omit_defaults=True):
    """Where a client process is.

    Attributes:
        acked, refused: sends that ended so.
        unknown: sends without a definite outcome as yet, apart from those under way.
        changed: changes of groups that were acked.
        received: events shown to the robots.
        gaps: gaps that they were told of.
        reconnects: sessions opened again.
        done: the phase that has just ended.
        problems: what should not have happened.
        acked_at: when each robot, and each conversation, last had an ack, on the monotonic clock.
    """

    acked: int = 0
    refused: int = 0
    unknown: int = 0
    changed: int = 0
    received: int = 0
    gaps: int = 0
    reconnects: int = 0
    done: str | None = None
    problems: list[str] = []
    acked_at: dict[str, float] = {}


decode_report = msgspec.json.Decoder(Report).decode
decode_order = msgspec.json.Decoder(ClientOrder).decode
encode = msgspec.json.Encoder().encode
