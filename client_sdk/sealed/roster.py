"""Who may read a conversation: its members, and the keys that their devices announced, as its log tells.

A roster is what the log up to some place comes to, so it may be read from there on at any time, from the
live events or from pages of history. The members are the server's word. That a device is a robot's is the
robot's own word: an announcement is signed, for this conversation, and its serial number says which is
newer.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from client_sdk.memory import KeptRecord
from client_sdk.sealed import envelope
from client_sdk.sealed.envelope import DeviceKey
from client_sdk.sealed.outcome import CannotOpen, Why
from client_sdk.sealed.own_device import is_signed
from client_sdk.sealed.progress import Progress
from client_sdk.sealed.trust import Trust
from imserver.protocol import events, names
from imserver.protocol.events import Event

DEVICES_MAX: Final = 16
"""Devices of one robot that count; beyond it the one announced first is passed over."""


_READ_KINDS: Final = events.SERVER_KINDS | {envelope.DEVICE_KIND, envelope.KEY_KIND}
_log = logging.getLogger("client_sdk")


class KnownDevice(Struct, frozen=True):
    """What a device announced last; no ``public_key`` if it was withdrawn."""

    public_key: bytes | None
    identity: bytes
    serial: int


class _Created(Struct):
    members: dict[str, Any]


class _Changed(Struct):
    robots: list[str]


class _People(Struct):
    members: set[str] = field(default_factory=set)
    removed: dict[str, int] = field(default_factory=dict)
    devices: dict[str, dict[str, KnownDevice]] = field(default_factory=dict)


class Roster:
    """The members of one conversation and their devices.

    Attributes:
        progress: how far the log was read, and whether the conversation is sealed.
        own_generation: the greatest of this device's own sender keys in the log.
    """

    def __init__(self, conv: str, trust: Trust, *, robot: str, device: str) -> None:
        self.conv = conv
        self.progress = Progress(conv)
        self.own_generation = 0
        self._trust = trust
        self._own = (robot, device)
        self._recipients: list[bytes] | None = None
        self._fingerprint = b""
        self._people_changed = False
        self._people = _People(self._first_members())

    def forget(self) -> None:
        """Read the log from its beginning again: it was cut back, or other keys are to be trusted."""
        self._people = _People(self._first_members())
        self.progress.forget()
        self._change()

    def recall_people(self, record: bytes) -> None:
        """Take what an earlier process had read."""
        self._people = msgspec.msgpack.decode(record, type=_People)
        self._recipients = None

    def read(self, log: Sequence[Event], decode: Callable[[Raw], Any], now_ms: float) -> None:
        """Read on in the log; what was read before is passed over."""
        for event in log:
            if event.seq > self.progress.known:
                self._read(event, decode)
                self.progress.read(event.seq)
        self.progress.settle(now_ms)

    def set_members(self, members: set[str]) -> None:
        """Take the members from elsewhere, because the log's beginning is gone."""
        self._people.members = members
        self._change()

    def was_removed(self, robot: str, before: int) -> bool:
        """Tell whether a robot was removed before that seq, and not added again since."""
        removed = self._people.removed.get(robot)
        return removed is not None and removed < before and robot not in self._people.members

    def members(self) -> dict[str, dict[str, KnownDevice]]:
        """Return the members, each with the devices that are wrapped to."""
        return {robot: self._devices_of(robot) for robot in sorted(self._people.members)}

    def device(self, robot: str, device: str) -> KnownDevice | None:
        """Return what a device announced last."""
        return self._people.devices.get(robot, {}).get(device)

    def recipients(self) -> list[bytes]:
        """Return the keys of all devices that may read what is said now, in order."""
        if self._recipients is None:
            found = {
                device.public_key
                for devices in self.members().values()
                for device in devices.values()
                if device.public_key is not None
            }
            self._recipients = sorted(found)
            self._fingerprint = hashlib.sha256(b"".join(self._recipients)).digest()
        return self._recipients

    def fingerprint(self) -> bytes:
        """Return a digest of `recipients`."""
        self.recipients()
        return self._fingerprint

    def take(self) -> list[KeptRecord]:
        """Return what the memory has to keep."""
        records = self.progress.take()
        if self._people_changed:
            people = msgspec.msgpack.encode(self._people)
            records.append(KeptRecord(f"people/{self.conv}", people))
            self._people_changed = False
        return records

    def _first_members(self) -> set[str]:
        conv = names.conversation(self.conv)
        return set() if names.is_group(conv) else set(names.direct_members(conv))

    def _read(self, event: Event, decode: Callable[[Raw], Any]) -> None:
        if event.kind not in _READ_KINDS:
            return
        try:
            body = decode(event.body)
            if event.kind == envelope.DEVICE_KIND:
                self._announced(event.sender, body)
            elif event.kind == envelope.KEY_KIND:
                self._note_own_key(event.sender, body)
            else:
                self._change_members(event, body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            _log.warning("sealed.not_understood", extra={"conv": self.conv, "seq": event.seq})

    def _devices_of(self, robot: str) -> dict[str, KnownDevice]:
        identity = self._trust.identity(robot)
        devices = self._people.devices.get(robot, {})
        return {
            name: device
            for name, device in devices.items()
            if device.public_key is not None and device.identity == identity
        }

    def _change_members(self, event: Event, body: Any) -> None:
        people = self._people
        if event.kind == events.GROUP_CREATED:
            people.members = set(msgspec.convert(body, _Created).members)
        elif event.kind == events.MEMBERS_ADDED:
            people.members |= set(msgspec.convert(body, _Changed).robots)
        elif event.kind == events.MEMBERS_REMOVED:
            robots = msgspec.convert(body, _Changed).robots
            people.members -= set(robots)
            people.removed |= dict.fromkeys(robots, event.seq)
        elif event.kind == events.GROUP_DELETED:
            people.members = set()
        else:
            return
        self._change()

    def _announced(self, robot: str, body: Any) -> None:
        try:
            announced = announcement(self.conv, robot, body)
            known = self.device(robot, announced.device)
            if known is not None and known.serial >= announced.serial:
                return
            self._trust.check(robot, announced.identity)
        except CannotOpen:
            return  # the application is told of it in its place
        devices = self._people.devices.setdefault(robot, {})
        devices.pop(announced.device, None)
        if len(devices) >= DEVICES_MAX:
            del devices[next(iter(devices))]
        devices[announced.device] = KnownDevice(
            announced.public_key, announced.identity, announced.serial
        )
        self.progress.seal()
        self._change()

    def _note_own_key(self, sender: str, body: Any) -> None:
        if sender != self._own[0]:
            return
        try:
            key = envelope.read_key(envelope.content_of(body))
        except CannotOpen:
            return
        context = envelope.key_context(self.conv, self._own[0])
        identity = self._trust.identity(self._own[0]) or b""
        if key.device == self._own[1] and is_signed(identity, key.signature, context + key.signed):
            self.own_generation = max(self.own_generation, key.generation)

    def _change(self) -> None:
        self._recipients = None
        self._people_changed = True


def announcement(conv: str, robot: str, body: Any) -> DeviceKey:
    """Return what a robot announces, if it is signed by the identity that it names.

    Raises:
        CannotOpen: it is not of that form, or the signature is wrong.
    """
    announced = envelope.read_device(envelope.content_of(body))
    context = envelope.device_context(conv, robot)
    if not is_signed(announced.identity, announced.signature, context + announced.signed):
        raise CannotOpen(Why.FORGED, f"{robot} did not sign this announcement for {conv}")
    return announced
