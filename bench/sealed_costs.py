"""What sealing end to end costs a robot: each message, and a new sender key for a large group.

The SDK's own objects without a network, by `bench.costs`.
"""

import secrets
import time
from typing import Final

import msgspec
from msgspec import Raw

from client_sdk import RobotKey
from client_sdk.records import Event
from client_sdk.sealed import envelope
from client_sdk.sealed.incoming import Incoming
from client_sdk.sealed.outgoing import MESSAGES_MAX, Draft, Outgoing, Policy
from client_sdk.sealed.own_device import OwnDevice
from client_sdk.sealed.session import SealedSession
from client_sdk.sealed.trust import Trust
from imserver.protocol.events import Event as WireEvent

CONV: Final = "g/bench"
DEVICES: Final = 1000
_POLICY: Final = Policy(MESSAGES_MAX, 86_400_000, 604_800_000)


def costs(body: bytes) -> dict[str, float]:
    """Return the cost of each step in µs; messages carry ``body``."""
    sender, reader = _session("robot-0"), _session("robot-1")
    members = [f"robot-{number}" for number in range(DEVICES)]
    created = msgspec.msgpack.encode({"members": dict.fromkeys(members, "member")})
    log = [WireEvent(1, 1, "robot-0", "@1", "group_created", Raw(created))]
    for number, robot in enumerate(members):
        session = {0: sender, 1: reader}.get(number) or _session(robot)
        session.own.renew(1, _POLICY.device_age_ms)
        announced = envelope.body_of(session.own.announcement(CONV))
        raw = Raw(msgspec.msgpack.encode(announced))
        log.append(WireEvent(number + 2, 1, robot, f"d{number}", envelope.DEVICE_KIND, raw))
    began = time.perf_counter()
    sender.received(CONV, "e", log)
    read_s = time.perf_counter() - began
    reader.received(CONV, "e", log)
    began = time.perf_counter()
    key, _ = sender.outgoing.make_key(sender.roster(CONV), 1)
    (content,) = sender.outgoing.wraps(CONV, key, sender.roster(CONV).recipients())
    wrap_s = time.perf_counter() - began
    sender.outgoing.use(CONV, key)
    reader.open(_event(DEVICES + 2, envelope.KEY_KIND, content))
    began = time.perf_counter()
    sealed = [
        sender.outgoing.seal(
            Draft(CONV, f"c{number}", "message", None, body), epoch="e", seen=DEVICES + 2
        )
        for number in range(MESSAGES_MAX)
    ]
    seal_s = time.perf_counter() - began
    events = [
        _event(DEVICES + 3 + number, "message", message.content, cid=f"c{number}")
        for number, message in enumerate(sealed)
    ]
    began = time.perf_counter()
    opened = [reader.open(event) for event in events]
    open_s = time.perf_counter() - began
    assert all(event.seal is not None for event in opened), opened[0].body
    return {
        f"sealing a message of {len(body)} bytes in the robot that sends": seal_s
        / MESSAGES_MAX
        * 1e6,
        "opening it in a robot that reads": open_s / MESSAGES_MAX * 1e6,
        f"a new sender key, wrapped to {DEVICES} devices": wrap_s * 1e6,
        f"reading the announcements of {DEVICES} devices": read_s * 1e6,
    }


def _session(robot: str) -> SealedSession:
    own = OwnDevice(robot, "main", RobotKey.generate(), secrets.token_bytes)
    return SealedSession(
        own,
        trusted=Trust({}, first_use=True),
        outgoing=Outgoing(own, secrets.token_bytes, _POLICY),
        incoming=Incoming(keeps_used=False),
        decode=msgspec.msgpack.decode,
        clock_ms=lambda: 1.0,
        everything=False,
    )


def _event(seq: int, kind: str, content: bytes, *, cid: str = "k") -> Event:
    return Event(CONV, "e", seq, 1, "robot-0", cid, kind, None, envelope.body_of(content))
