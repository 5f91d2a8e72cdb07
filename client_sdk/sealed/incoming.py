"""What others say to this device: the sender keys that they gave it, and what is opened with them.

Each key of a message opens one event, at one place. A key that was used is not kept, unless the option says
so; that its number was used, and where, is, and so a ciphertext that the server shows again is known for
what it is. Keys of messages that were passed over wait for those messages until their sender says that it
has settled them; there are `MESSAGES_MAX` for a sender key at most.

Changes of what the memory has to keep wait for the place of the event that made them: after a crash the
events behind that place come again, and have to open again.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from msgspec import Struct, field

from client_sdk.memory import KeptRecord, Place
from client_sdk.sealed import ratchet
from client_sdk.sealed.envelope import Message
from client_sdk.sealed.outcome import CannotOpen, Why
from client_sdk.sealed.outgoing import MESSAGES_MAX

CHAINS_MAX: Final = 4
"""Sender keys of one device that are kept: what is late was sealed with the last but one."""
CHAINS_KEPT_MAX: Final = 1000
"""The same where used keys are kept for history."""


GLIMPSED_MAX: Final = 256
"""Sender keys that were come across in history."""


class Chain(Struct):
    """A sender key as its receiver has it.

    Attributes:
        chain: at the message ``next``.
        at: seq of the event that gave it.
        skipped: secrets of messages in front of ``next`` that have not come.
        settled: messages below this number come no more.
        places: number → seq of what was opened.
        first: the chain at its beginning, where used keys are kept.
    """

    conv: str
    sender: str
    device: str
    generation: int
    chain: bytes
    at: int
    first: bytes | None = None
    next: int = 0
    settled: int = 0
    skipped: dict[int, bytes] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its record in the memory."""
        return f"chain/{self.conv}/{self.sender}/{self.device}/{self.generation}"


class _Source(Struct):
    """A device of somebody: its newest sender key, those of which a chain is held, and the last that was not
    held any longer.
    """

    conv: str
    sender: str
    device: str
    newest: int = 0
    dropped: int = 0
    held: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"source/{self.conv}/{self.sender}/{self.device}"


class Incoming:
    """The sender keys that this device was given."""

    def __init__(self, *, keeps_used: bool) -> None:
        self._keeps_used = keeps_used
        self._chains_max = CHAINS_KEPT_MAX if keeps_used else CHAINS_MAX
        self._sources: dict[tuple[str, str, str], _Source] = {}
        self._chains: dict[tuple[str, str, str, int], Chain] = {}
        self._glimpsed: dict[tuple[str, str, str, int], Chain] = {}
        self._journal: list[tuple[str, int, KeptRecord]] = []

    def recall_chain(self, record: bytes) -> None:
        """Take a sender key that an earlier process had."""
        chain = msgspec.msgpack.decode(record, type=Chain)
        self._chains[(chain.conv, chain.sender, chain.device, chain.generation)] = chain

    def recall_source(self, record: bytes) -> None:
        """Take what an earlier process knew of a device."""
        source = msgspec.msgpack.decode(record, type=_Source)
        self._sources[(source.conv, source.sender, source.device)] = source

    def learn(self, chain: Chain, *, given: bool) -> None:
        """Take a sender key out of its event; not ``given`` if it is for others only.

        Raises:
            CannotOpen: ``stale`` or ``replayed``: a later one is known, or this one was given elsewhere.
        """
        where = (chain.conv, chain.sender, chain.device)
        source = self._sources.setdefault(where, _Source(*where))
        held = self._chains.get((*where, chain.generation))
        if held is not None:
            if held.at == chain.at:
                return
            raise CannotOpen(Why.REPLAYED, f"this key was given at {held.at} already")
        if chain.generation < source.newest:
            raise CannotOpen(Why.STALE, f"a later key of {chain.sender}, {chain.device} is known")
        source.newest = chain.generation
        if given:
            if self._keeps_used:
                chain.first = chain.chain
            source.held.append(chain.generation)
            self._chains[(*where, chain.generation)] = chain
            self._note(chain.conv, chain.at, KeptRecord(chain.name, msgspec.msgpack.encode(chain)))
        while len(source.held) > self._chains_max:
            source.dropped = source.held.pop(0)
            old = self._chains.pop((*where, source.dropped))
            self._note(chain.conv, chain.at, KeptRecord(old.name, None))
        self._note(chain.conv, chain.at, KeptRecord(source.name, msgspec.msgpack.encode(source)))

    def glimpse(self, chain: Chain) -> None:
        """Take a sender key out of history: for what stands behind it there, and for as long as it lasts."""
        chain.first = chain.chain
        where = (chain.conv, chain.sender, chain.device, chain.generation)
        self._glimpsed.setdefault(where, chain)
        if len(self._glimpsed) > GLIMPSED_MAX:
            del self._glimpsed[next(iter(self._glimpsed))]

    def open(
        self, message: Message, context: bytes, *, conv: str, sender: str, seq: int, keep: bool
    ) -> bytes:
        """Return the plaintext of a message whose signature is good.

        Args:
            message: the message.
            context: its associated data.
            conv: the conversation in whose log it stands.
            sender: who signed it.
            seq: its place in the log.
            keep: note that it was opened; else it is looked up, and may be opened again.

        Raises:
            CannotOpen: and why.
        """
        chain = self._chain_of(message, conv, sender, looked_up=not keep)
        secret = self._secret_of(chain, message, seq)
        try:
            plaintext = ratchet.decrypt(secret, message.ciphertext, context)
        except InvalidTag:
            raise CannotOpen(Why.FORGED, "it was not sealed with the key that it names") from None
        if keep and message.index not in chain.places:
            self._spend(chain, message, seq)
            self._note(conv, seq, KeptRecord(chain.name, msgspec.msgpack.encode(chain)))
        elif chain is self._glimpsed.get((conv, sender, message.device, message.generation)):
            chain.places.setdefault(message.index, seq)
        return plaintext

    def renumbered(self, conv: str) -> None:
        """Take in that a conversation's further events are numbered anew: nothing waits for old places."""
        self._journal = [(c, 0 if c == conv else seq, r) for c, seq, r in self._journal]

    def take(self, places: Iterable[Place]) -> list[KeptRecord]:
        """Return what the memory has to keep together with these places."""
        reached = {place.conv: place.seq for place in places}
        ready: dict[str, KeptRecord] = {}
        waiting = []
        for conv, seq, record in self._journal:
            if seq <= reached.get(conv, -1):
                ready[record.name] = record
            else:
                waiting.append((conv, seq, record))
        self._journal = waiting
        return list(ready.values())

    def _chain_of(self, message: Message, conv: str, sender: str, *, looked_up: bool) -> Chain:
        where = (conv, sender, message.device, message.generation)
        chain = self._chains.get(where)
        glimpsed = self._glimpsed.get(where) if looked_up else None
        if chain is None:
            chain = glimpsed
        elif glimpsed is not None and chain.first is None and message.index in chain.places:
            glimpsed.places[message.index] = chain.places[message.index]
            chain = glimpsed
        if chain is not None:
            return chain
        source = self._sources.get((conv, sender, message.device))
        if source is not None and message.generation <= source.dropped:
            raise CannotOpen(Why.STALE, f"later keys of {sender}, {message.device} are in use")
        raise CannotOpen(
            Why.NO_KEY,
            f"{sender}, {message.device} gave this device no key for it: it came later, or is not trusted",
        )

    def _secret_of(self, chain: Chain, message: Message, seq: int) -> bytes:
        index = message.index
        if index >= MESSAGES_MAX or message.settled > index:
            raise CannotOpen(Why.MALFORMED, f"a key is good for {MESSAGES_MAX} messages")
        opened_at = chain.places.get(index)
        if opened_at is not None and opened_at != seq:
            raise CannotOpen(Why.REPLAYED, f"it stands at {opened_at} already")
        if opened_at is not None:
            if chain.first is None:
                raise CannotOpen(Why.USED, "it was opened before, and its key was not kept")
            return ratchet.secret_of(ratchet.advance(chain.first, index))
        if index < chain.settled:
            raise CannotOpen(Why.MISPLACED, "its sender had settled it before what came earlier")
        if index >= chain.next:
            return ratchet.secret_of(ratchet.advance(chain.chain, index - chain.next))
        return chain.skipped[index]

    def _spend(self, chain: Chain, message: Message, seq: int) -> None:
        for index in range(chain.next, message.index + 1):
            chain.skipped[index] = ratchet.secret_of(chain.chain)
            chain.chain = ratchet.advance(chain.chain)
        chain.next = max(chain.next, message.index + 1)
        chain.places[message.index] = seq
        chain.settled = max(chain.settled, message.settled)
        del chain.skipped[message.index]
        for index in [index for index in chain.skipped if index < chain.settled]:
            del chain.skipped[index]

    def _note(self, conv: str, seq: int, record: KeptRecord) -> None:
        self._journal.append((conv, seq, record))
