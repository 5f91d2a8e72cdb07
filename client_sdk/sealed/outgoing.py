"""What this device says: its sender keys, and the messages that it seals with them.

A sender key lives in the process alone and is never stored. So a process that was killed, wherever it was,
cannot use a key a second time: the next one makes a new key. What was sealed waits in the robot's memory as
it is.
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct, field

from client_sdk.memory import KeptRecord
from client_sdk.sealed import envelope, ratchet
from client_sdk.sealed.envelope import Message
from client_sdk.sealed.own_device import Entropy, OwnDevice
from client_sdk.sealed.roster import Roster

MESSAGES_MAX: Final = 1000
"""Most messages of one sender key."""
WRAPS_MAX: Final = 1500
"""Most devices that one event gives a sender key to."""


class Policy(Struct, frozen=True):
    """How long a sender key, and a device's key, may be used."""

    messages_max: int
    age_ms: int
    device_age_ms: int


class SenderKey(Struct):
    """A sender key in use.

    Attributes:
        fingerprint: of the devices that were given it.
        unsettled: numbers of messages whose fate is not known yet.
    """

    generation: int
    chain: bytes
    fingerprint: bytes
    born_ms: int
    index: int = 0
    unsettled: set[int] = field(default_factory=set)

    @property
    def settled(self) -> int:
        """The number below which the fate of all messages is known."""
        return min(self.unsettled, default=self.index)


class Draft(Struct, frozen=True):
    """What is to be sealed, and what it belongs to."""

    conv: str
    cid: str
    kind: str
    ref: int | None
    plaintext: bytes

    @property
    def digest(self) -> bytes:
        """By which the same is known again."""
        whole = msgspec.msgpack.encode((self.kind, self.ref, self.plaintext))
        return hashlib.sha256(whole).digest()


class Sealed(Struct, frozen=True):
    """A sealed message, and under which number of which key; ``digest`` is that of its draft."""

    content: bytes
    generation: int
    index: int
    digest: bytes


class Outgoing:
    """The sender keys of one device, one a conversation."""

    def __init__(self, own: OwnDevice, entropy: Entropy, policy: Policy) -> None:
        self._own = own
        self._entropy = entropy
        self._policy = policy
        self._keys: dict[str, SenderKey] = {}
        self._generations: dict[str, int] = {}

    def recall(self, conv: str, record: bytes) -> None:
        """Take which key an earlier process used last."""
        self._generations[conv] = msgspec.msgpack.decode(record, type=int)

    def needs_key(self, roster: Roster, now_ms: int) -> bool:
        """Tell whether nothing more may be sealed with the key in use."""
        key = self._keys.get(roster.conv)
        return (
            key is None
            or key.fingerprint != roster.fingerprint()
            or key.index >= min(self._policy.messages_max, MESSAGES_MAX)
            or now_ms - key.born_ms >= self._policy.age_ms
            or now_ms < key.born_ms
        )

    def make_key(self, roster: Roster, now_ms: int) -> tuple[SenderKey, KeptRecord]:
        """Make a sender key for the devices of a roster, which `use` takes once they all have it.

        Return it, and what the memory has to keep first.
        """
        conv = roster.conv
        last = max(self._generations.get(conv, 0), roster.own_generation)
        generation = self._generations[conv] = max(last + 1, now_ms)
        chain = self._entropy(ratchet.CHAIN_BYTES)
        key = SenderKey(generation, chain, roster.fingerprint(), now_ms)
        return key, KeptRecord(f"generation/{conv}", msgspec.msgpack.encode(generation))

    def wraps(self, conv: str, key: SenderKey, recipients: list[bytes]) -> list[bytes]:
        """Return the contents of the events that give a key to devices. Changes nothing: for a thread."""
        return [
            self._own.wrap(conv, key.chain, key.generation, recipients[start : start + WRAPS_MAX])
            for start in range(0, max(1, len(recipients)), WRAPS_MAX)
        ]

    def use(self, conv: str, key: SenderKey) -> None:
        """Seal with this key from now on."""
        self._keys[conv] = key

    def forget(self, conv: str) -> None:
        """Use the key no more."""
        self._keys.pop(conv, None)

    def seal(self, draft: Draft, *, epoch: str, seen: int) -> Sealed:
        """Seal a message with the key in use; its number is spent, whatever becomes of the message."""
        key = self._keys[draft.conv]
        index, secret = key.index, ratchet.secret_of(key.chain)
        key.index, key.chain = index + 1, ratchet.advance(key.chain)
        settled = min(key.settled, index)
        key.unsettled.add(index)
        bare = Message(self._own.device, key.generation, index, settled, epoch, seen, b"", b"", b"")
        head = envelope.pack_head(bare)
        context = envelope.message_context(
            draft.conv, self._own.robot, cid=draft.cid, kind=draft.kind, ref=draft.ref, head=head
        )
        ciphertext = ratchet.encrypt(secret, draft.plaintext, context)
        signature = self._own.sign_message(context, ciphertext)
        return Sealed(head + ciphertext + signature, key.generation, index, draft.digest)

    def settle(self, conv: str, sealed: Sealed) -> None:
        """Note that a message is stored, or will never be."""
        key = self._keys.get(conv)
        if key is not None and key.generation == sealed.generation:
            key.unsettled.discard(sealed.index)
