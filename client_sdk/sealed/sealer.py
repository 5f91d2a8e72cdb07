"""The thin shell around a sealed session: asks, announces and sends what it says.

In front of each sealed message: the log is read as far as it has to be, this device's key is announced, and
the sender key in use is one that every device of the roster was given, durably, and nobody else. Only then
is the message sealed, and put on its way in the same turn of the loop, so that numbers and sends have one
order.
"""

import asyncio
import logging
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw

from client_sdk.cids import Cids
from client_sdk.clock import wall_clock_ms
from client_sdk.errors import NoAnswer, OutcomeUnknown, Refused, RobotError
from client_sdk.link import Link
from client_sdk.outbox import Repeat
from client_sdk.payload import encode
from client_sdk.records import Sent
from client_sdk.sealed import envelope
from client_sdk.sealed.log_reader import LogReader
from client_sdk.sealed.outgoing import Draft, Policy, Sealed
from client_sdk.sealed.session import SealedSession
from imserver.protocol import client_frames as wire
from imserver.protocol import names
from imserver.protocol.codec import MSGPACK, Codec
from imserver.protocol.errors import ErrorCode

THREAD_FROM: Final = 64
"""From so many devices on, a key is wrapped in a thread: it is 0.1 ms of work for each."""
_NOT_ALLOWED: Final = frozenset({ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND})
_log = logging.getLogger("client_sdk")


class Sealer:
    """Seals what one robot says. Its methods raise what `Robot.send` raises.

    Attributes:
        session: what is decided.
    """

    def __init__(
        self, link: Link, session: SealedSession, codec: Codec, *, cids: Cids, policy: Policy
    ) -> None:
        self._link = link
        self.session = session
        self._codec = codec
        self._cids = cids
        self._policy = policy
        self._log = LogReader(link, session, codec)
        self._locks: dict[str, asyncio.Lock] = {}

    async def run(self) -> None:
        """Look after the conversations for as long as the robot lives: announce where it is called for."""
        session = self.session
        try:
            while True:
                await self._link.wait_until(session.has_errand)
                await self._link.wait_online()
                await self._run_errand(session.take_errand())
        except RobotError:
            return  # the robot is over, and says so to whoever uses it

    async def _run_errand(self, conv: str) -> None:
        try:
            async with self._lock(conv):
                await self._log.read_to_end(conv)
                if self.session.roster(conv).progress.is_sealed:
                    await self._announce(conv)
        except (Refused, NoAnswer, OutcomeUnknown) as problem:
            extra = {"conv": conv, "problem": str(problem)}
            _log.warning("sealed.not_announced", extra=extra)
            if isinstance(problem, Refused) and problem.code in _NOT_ALLOWED:
                self.session.give_up(conv)
            elif isinstance(problem, NoAnswer):
                self.session.errands[conv] = None

    async def seal(self, conv: str) -> None:
        """Seal what is said in a conversation from now on, and tell it this device's key."""
        async with self._lock(conv):
            self._check_nothing_plain_waits(conv)
            try:
                await self._log.read_to_end(conv)
            except Refused as refusal:
                if refusal.code is not ErrorCode.NOT_FOUND or names.is_group(conv):
                    raise
            self._check_nothing_plain_waits(conv)
            self.session.roster(conv).progress.seal()
            self._link.machine.notes.add(*self.session.take())
            await self._announce(conv)

    def check_plain(self, conv: str) -> None:
        """Return if something that cannot be sealed may be said in a conversation.

        Raises:
            Refused: ``unsupported``.
        """
        if self.session.is_sealed(conv):
            raise Refused(
                ErrorCode.UNSUPPORTED,
                f"{conv} is sealed, and signals and files are not: send an event, or use another "
                "conversation",
            )

    async def withdraw(self, conv: str, device: str) -> None:
        """Tell a conversation that nothing is to be sealed any more for another device of this robot."""
        own = self.session.own
        content = own.withdrawal(conv, device, int(wall_clock_ms()))
        async with self._lock(conv):
            await self._store(conv, envelope.DEVICE_KIND, content)

    async def prepare(self, conv: str) -> bool:
        """Tell whether a conversation is sealed, after a look at its log if need be."""
        session = self.session
        if session.roster(conv).progress.is_late(wall_clock_ms()) or not self._log.comes_by_itself(
            conv
        ):
            try:
                await self._log.read_to_end(conv)
            except Refused as refusal:
                if refusal.code is not ErrorCode.NOT_FOUND or names.is_group(conv):
                    raise
        return session.is_sealed(conv)

    async def send(
        self, frame: wire.Send, value: object, *, is_named: bool, timeout_s: float
    ) -> Sent:
        """Send ``value`` as `Robot.send` does, sealed if the conversation is.

        Args:
            frame: what is sent, with the plain body.
            value: the body, before it was encoded.
            is_named: the cid is the application's own.
            timeout_s: after that its outcome counts as unknown.
        """
        began_s = self._link.now_s()
        conv, sealed = frame.conv, None
        try:
            async with asyncio.timeout(timeout_s), self._lock(conv):
                if await self.prepare(conv):
                    await self._ready(conv)
                    body, sealed = self._sealed(frame, value, is_named=is_named)
                    frame = msgspec.structs.replace(frame, body=body)
        except (TimeoutError, NoAnswer, OutcomeUnknown) as problem:
            raise Refused(
                ErrorCode.UNAVAILABLE,
                f"nothing was sent: {conv} could not be made ready for sealing in time ({problem})",
            ) from problem
        left_s = max(timeout_s - (self._link.now_s() - began_s), 0.001)
        return await self._sent(frame, sealed, left_s)

    def _check_nothing_plain_waits(self, conv: str) -> None:
        for entry in self._link.machine.requests.kept.entries():
            send = entry.send
            if send.conv == conv and not envelope.is_sealed(msgspec.msgpack.decode(send.body)):
                raise Refused(
                    ErrorCode.CONFLICT,
                    f"{conv} cannot be sealed while the plain send {send.cid} waits: it would go out as it "
                    "is; wait until it is stored, or drop it",
                )

    async def _sent(self, frame: wire.Send, sealed: Sealed | None, timeout_s: float) -> Sent:
        session = self.session
        try:
            sent = await self._link.ask(frame, Sent, repeat=Repeat.SAFE, timeout_s=timeout_s)
        except Refused:
            if sealed is not None:
                session.outgoing.settle(frame.conv, sealed)
            self._link.machine.notes.add(*session.book.forget(frame.conv, frame.cid))
            raise
        except (OutcomeUnknown, asyncio.CancelledError):
            if sealed is not None:  # it goes on being sent
                self._note(frame, sealed)
            raise
        if sealed is not None and not sent.dup:
            session.outgoing.settle(frame.conv, sealed)
        session.roster(frame.conv).progress.hear(sent.seq, wall_clock_ms(), epoch=sent.epoch)
        return sent

    async def _announce(self, conv: str) -> None:
        """Tell a conversation this device's key, if it does not know it."""
        session = self.session
        renewed = session.own.renew(int(wall_clock_ms()), self._policy.device_age_ms)
        if session.is_announced(conv):
            return
        self._link.machine.notes.add(*renewed, *session.take())
        sent = await self._store(conv, envelope.DEVICE_KIND, session.own.announcement(conv))
        session.roster(conv).progress.hear(sent.seq, wall_clock_ms(), epoch=sent.epoch, urgent=True)
        await self._log.read_to_end(conv)

    async def _ready(self, conv: str) -> None:
        """Have a sender key in use that all who may read were given."""
        session = self.session
        roster = session.roster(conv)
        await self._announce(conv)
        while session.outgoing.needs_key(roster, int(wall_clock_ms())):
            key, record = session.outgoing.make_key(roster, int(wall_clock_ms()))
            self._link.machine.notes.add(record, *session.take())
            recipients = roster.recipients()
            wrap = partial(session.outgoing.wraps, conv, key, recipients)
            is_long = len(recipients) >= THREAD_FROM
            for content in await asyncio.to_thread(wrap) if is_long else wrap():
                sent = await self._store(conv, envelope.KEY_KIND, content)
                roster.progress.hear(sent.seq, wall_clock_ms(), epoch=sent.epoch)
            session.outgoing.use(conv, key)

    def _sealed(
        self, frame: wire.Send, value: object, *, is_named: bool
    ) -> tuple[Raw, Sealed | None]:
        """Return the sealed body, and under which number it was sealed, if it was just now."""
        session, machine = self.session, self._link.machine
        room = machine.limits.body_bytes_max - envelope.OVERHEAD_BYTES
        if not self._codec.binary:
            room = room * 3 // 4  # it is stored as base64
        plaintext = bytes(encode(MSGPACK, value, room))
        draft = Draft(frame.conv, frame.cid, frame.kind, frame.ref, plaintext)
        try:
            content = session.book.find(frame.conv, frame.cid, draft.digest)
        except ValueError as problem:
            raise Refused(ErrorCode.CONFLICT, str(problem)) from None
        if content is not None:
            return self._body(content), None
        progress = session.roster(frame.conv).progress
        sealed = session.outgoing.seal(draft, epoch=progress.epoch, seen=progress.heard)
        if is_named:
            self._note(frame, sealed)
        return self._body(sealed.content), sealed

    def _note(self, frame: wire.Send, sealed: Sealed) -> None:
        """Remember what was sealed under a cid under which it may be sent again."""
        records = self.session.book.note(frame.conv, frame.cid, sealed.digest, sealed.content)
        self._link.machine.notes.add(*records)

    async def _store(self, conv: str, kind: str, content: bytes) -> Sent:
        machine = self._link.machine
        frame = wire.Send(
            next(machine.ids),
            names.conversation(conv),
            self._cids.next(),
            self._body(content),
            kind=kind,
        )
        return await self._link.ask(frame, Sent, repeat=Repeat.SAFE, timeout_s=30.0)

    def _body(self, content: bytes) -> Raw:
        bytes_max = self._link.machine.limits.body_bytes_max
        return encode(self._codec, envelope.body_of(content), bytes_max)

    def _lock(self, conv: str) -> asyncio.Lock:
        return self._locks.setdefault(conv, asyncio.Lock())
