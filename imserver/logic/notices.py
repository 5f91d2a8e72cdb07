"""What nodes on one store tell each other beside the logs. At most once: a notice may be lost."""

from typing import TypeAlias

import msgspec
from msgspec import Struct

from imserver.core.acts import Act
from imserver.protocol.names import ConversationName, DeviceName, RobotName


class Joined(Struct, tag="j", array_like=True, frozen=True):
    """Robots have joined a conversation with its event ``seq``."""

    conv: ConversationName
    seq: int
    robots: list[RobotName]


class Opened(Struct, tag="o", array_like=True, frozen=True):
    """A device has a session on the node that tells this; of two the later counts, or the greater id.

    ``instance`` and ``boot`` are what its robot's program said of its start; empty and 0 if nothing.
    """

    robot: RobotName
    device: DeviceName
    opened_ms: int
    session: str
    instance: str = ""
    boot: int = 0


class Performed(Struct, tag="p", array_like=True, frozen=True):
    """An act was performed by which somebody's word counts no more."""

    act: Act


class Contested(Struct, tag="c", array_like=True, frozen=True):
    """Two machines want the place of a device, which was reported."""

    robot: RobotName
    device: DeviceName


class Asked(Struct, tag="q", array_like=True, frozen=True):
    """A node asks others, by name, to write what a robot has acked, and who has the place of its device."""

    node: str
    number: int
    others: list[str]
    robot: RobotName
    device: DeviceName


class HeldPlace(Struct, array_like=True, frozen=True):
    """A session that has the place of a device: the instance it told, and whether its client is there, None
    while that is found out."""

    instance: str
    is_alive: bool | None


class Answered(Struct, tag="a", array_like=True, frozen=True):
    """An answer to ``number`` of what ``asker`` asked."""

    asker: str
    number: int
    node: str
    held: HeldPlace | None


class Missed(Struct, tag="m", array_like=True, frozen=True):
    """Something that the teller of this had to tell may not have arrived."""


Notice: TypeAlias = Joined | Opened | Performed | Contested | Asked | Answered | Missed

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Notice).decode


def decode(notice: bytes) -> Notice | None:
    """Return what another node tells, or None if it cannot be read: it may be of another version."""
    try:
        told: Notice = _decode(notice)
    except msgspec.DecodeError:
        return None
    return told
