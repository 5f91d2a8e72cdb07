"""Frames of a server, made by hand."""

import msgspec
from msgspec import Raw

from imserver.protocol.events import Event
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import ConversationState, Deliver, Welcome

CONV = "g/dock"
EPOCH = "e1"


def raw(value):
    return Raw(msgspec.msgpack.encode(value))


def event(seq):
    return Event(seq, 1000 + seq, "r2", f"c{seq}", "message", raw({"n": seq}))


def run(first, last, *, conv=CONV, epoch=EPOCH):
    return Deliver(conv, epoch, [event(seq) for seq in range(first, last + 1)])


def state(*, conv=CONV, epoch=EPOCH, head=0, acked=0):
    return ConversationState(conv, epoch, head, acked)


def welcome(*states, limits=None):
    return Welcome("s", "r1", "main", 0, "n", limits or Limits(), list(states))
