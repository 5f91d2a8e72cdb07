"""Sealing as one device of one robot does it: decides, and performs nothing.

Events of the log go through here twice: as they are received, in front of the queue, for the roster
(`received`); and as the application takes them, in their place, to be opened (`open`). The first is only
ever ahead of the second. Sans-I/O: entropy and clock are handed in.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from client_sdk.clock import WallClock
from client_sdk.memory import KeptRecord, Place, Recollection
from client_sdk.records import Event
from client_sdk.sealed import envelope, own_device, trust
from client_sdk.sealed.incoming import Chain, Incoming
from client_sdk.sealed.outcome import CannotOpen, Seal, Why
from client_sdk.sealed.outgoing import Outgoing
from client_sdk.sealed.own_device import OwnDevice, is_signed
from client_sdk.sealed.roster import Roster, announcement
from client_sdk.sealed.sent_book import SentBook
from client_sdk.sealed.trust import Trust
from imserver.protocol import bodies
from imserver.protocol.events import MEMBERS_ADDED, ROLE_CHANGED, SERVER_KINDS
from imserver.protocol.events import Event as WireEvent

_MAY_ALLOW: Final = frozenset({ROLE_CHANGED, MEMBERS_ADDED})


class SealedSession:
    """What one device knows of its sealed conversations.

    Attributes:
        own: its keys.
        trust: the identity keys of others.
        outgoing, incoming: the sender keys of its own, and of others.
        book: what was sealed under names that the application chose.
        errands: conversations that have to be looked after.
    """

    def __init__(
        self,
        own: OwnDevice,
        *,
        trusted: Trust,
        outgoing: Outgoing,
        incoming: Incoming,
        decode: Callable[[Raw], Any],
        clock_ms: WallClock,
        everything: bool,
    ) -> None:
        self.own = own
        self.trust = trusted
        self.outgoing = outgoing
        self.incoming = incoming
        self.book = SentBook()
        self._decode = decode
        self._clock_ms = clock_ms
        self._everything = everything
        self._rosters: dict[str, Roster] = {}
        self.errands: dict[str, None] = {}
        self._given_up: set[str] = set()
        self._adopted: list[KeptRecord] = []
        self.trust.pin(own.robot, own.identity)

    def recall(self, recollection: Recollection) -> None:
        """Begin with what an earlier process left in the memory."""
        for name, record in recollection.records.items():
            what, _, rest = name.partition("/")
            match what:
                case own_device.RECORD:
                    self.own.recall(record)
                case trust.RECORD:
                    self.trust.recall(record)
                    self.trust.pin(self.own.robot, self.own.identity)
                case "place":
                    self.roster(rest).progress.recall(record)
                case "people":
                    self.roster(rest).recall_people(record)
                case "generation":
                    self.outgoing.recall(rest, record)
                case "source":
                    self.incoming.recall_source(record)
                case "chain":
                    self.incoming.recall_chain(record)
                case "sent":
                    self.book.recall(record)
        for send in recollection.sends:
            body = msgspec.msgpack.decode(send.body)
            if envelope.is_sealed(body):  # it may be sent again under its cid
                content = envelope.content_of(body)
                self._adopted += self.book.note(send.conv, send.cid, b"", content)

    def roster(self, conv: str) -> Roster:
        """Return who may read a conversation, as far as that is known."""
        roster = self._rosters.get(conv)
        if roster is None:
            own = self.own
            roster = Roster(conv, self.trust, robot=own.robot, device=own.device)
            self._rosters[conv] = roster
        return roster

    def is_sealed(self, conv: str) -> bool:
        """Tell whether everything in a conversation is to be sealed."""
        return self._everything or self.roster(conv).progress.is_sealed

    def received(self, conv: str, epoch: str, log: Sequence[WireEvent]) -> None:
        """Read on in a log as it comes in."""
        if not log:
            return
        roster, now_ms = self.roster(conv), self._clock_ms()
        roster.progress.hear(log[-1].seq, now_ms, epoch=epoch)
        if log[0].seq <= roster.progress.known + 1:
            roster.read(log, self._decode, now_ms)
        else:
            self.errands[conv] = None
        if not _MAY_ALLOW.isdisjoint(event.kind for event in log):
            self._given_up.discard(conv)
        if roster.progress.is_sealed and conv not in self._given_up and not self.is_announced(conv):
            self.errands[conv] = None

    def renumbered(self, conv: str) -> None:
        """Take in that a log was cut back: its further numbers are given anew."""
        self.incoming.renumbered(conv)
        self.outgoing.forget(conv)
        self.roster(conv).forget()
        self.errands[conv] = None

    def believe(self, robot: str, identity: bytes) -> None:
        """Believe an identity key of a robot, and look again at what was announced."""
        self.trust.pin(robot, identity)
        for conv, roster in self._rosters.items():
            roster.forget()
            self.errands[conv] = None

    def is_announced(self, conv: str) -> bool:
        """Tell whether a conversation knows the newest key of this device."""
        known = self.roster(conv).device(self.own.robot, self.own.device)
        return known is not None and known.public_key == self.own.public_key

    def has_errand(self) -> bool:
        """Tell whether there is a conversation that has to be looked after."""
        return bool(self.errands)

    def take_errand(self) -> str:
        """Return such a conversation."""
        conv = next(iter(self.errands))
        del self.errands[conv]
        return conv

    def give_up(self, conv: str) -> None:
        """Try no more to announce this device where the server does not allow it, until members change."""
        self._given_up.add(conv)
        self.errands.pop(conv, None)

    def take(self, places: Iterable[Place] = ()) -> list[KeptRecord]:
        """Return what the memory has to keep, in one write with these places."""
        records = self._adopted + self.incoming.take(places) + self.trust.take()
        self._adopted = []
        for roster in self._rosters.values():
            records += roster.take()
        return records

    def open(self, event: Event, *, keep: bool = True) -> Event:
        """Return an event as the application is to see it: opened, or with an `Unopened` for its body.

        Args:
            event: as it stands in the log.
            keep: it is shown in its place; else it is looked up again, and nothing changes by it.
        """
        if event.kind in SERVER_KINDS:
            return event
        try:
            if event.kind == envelope.DEVICE_KIND:
                return self._show_device(event)
            if event.kind == envelope.KEY_KIND:
                return self._take_key(event, keep=keep)
            return self._open(event, keep=keep)
        except CannotOpen as problem:
            return msgspec.structs.replace(event, body=problem.unopened)

    def _open(self, event: Event, *, keep: bool) -> Event:
        try:
            content = envelope.content_of(event.body)
        except CannotOpen:
            if not self.is_sealed(event.conv):
                return event
            raise
        message = envelope.read_message(content)
        context = envelope.message_context(
            event.conv,
            event.sender,
            cid=event.cid,
            kind=event.kind,
            ref=event.ref,
            head=message.head,
        )
        identity = self.trust.identity(event.sender)
        if identity is None:
            raise CannotOpen(Why.NO_KEY, f"no identity key of {event.sender} is known")
        if not is_signed(identity, message.signature, context + message.ciphertext):
            raise CannotOpen(Why.FORGED, f"{event.sender} did not sign this, here")
        self._check_place(event, message)
        plaintext = self.incoming.open(
            message, context, conv=event.conv, sender=event.sender, seq=event.seq, keep=keep
        )
        try:
            body = msgspec.msgpack.decode(bodies.from_msgpack(Raw(plaintext)))
        except bodies.InvalidBody as problem:
            raise CannotOpen(
                Why.MALFORMED, f"its sender sealed what is no body: {problem}"
            ) from None
        seal = Seal(message.device, message.generation, message.index)
        return msgspec.structs.replace(event, body=body, seal=seal)

    def _check_place(self, event: Event, message: envelope.Message) -> None:
        roster = self.roster(event.conv)
        if roster.was_removed(event.sender, event.seq):
            raise CannotOpen(Why.NOT_A_MEMBER, f"{event.sender} was removed before")
        epoch = event.epoch or roster.progress.epoch
        if message.epoch in ("", epoch):
            if event.seq <= message.seen:
                raise CannotOpen(Why.MISPLACED, f"its sender had seen the log up to {message.seen}")
        elif epoch and not roster.progress.had_epoch(message.epoch):
            raise CannotOpen(Why.MISPLACED, f"it was sealed in epoch {message.epoch} of this log")

    def _show_device(self, event: Event) -> Event:
        announced = announcement(event.conv, event.sender, event.body)
        self.trust.check(event.sender, announced.identity)
        shown = {"device": announced.device, "withdrawn": announced.public_key is None}
        return msgspec.structs.replace(event, body=shown)

    def _take_key(self, event: Event, *, keep: bool) -> Event:
        conv, sender = event.conv, event.sender
        key = envelope.read_key(envelope.content_of(event.body))
        context = envelope.key_context(conv, sender)
        if not is_signed(key.identity, key.signature, context + key.signed):
            raise CannotOpen(Why.FORGED, f"{sender} did not sign this key for {conv}")
        self.trust.check(sender, key.identity)
        if self.roster(conv).was_removed(sender, event.seq):
            raise CannotOpen(Why.NOT_A_MEMBER, f"{sender} was removed before")
        chain = self.own.unwrap(conv, sender, key)
        held = Chain(conv, sender, key.device, key.generation, chain or b"", event.seq)
        if keep:
            self.incoming.learn(held, given=chain is not None)
        elif chain is not None:
            self.incoming.glimpse(held)
        shown = {"device": key.device, "generation": key.generation, "for_me": chain is not None}
        return msgspec.structs.replace(event, body=shown)
