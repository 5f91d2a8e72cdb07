"""This device's own keys: the robot's identity, which signs, and the device's X25519 keys, which are
wrapped to.

A device's key is renewed now and then, and the one before it is kept for what is on its way. Who gets hold
of the keys later cannot open what was wrapped to those that are gone: the log keeps every wrapped sender
key, so it is this that protects the past.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Struct

from client_sdk.introduction import Signer
from client_sdk.memory import KeptRecord
from client_sdk.sealed import envelope
from client_sdk.sealed.envelope import SenderKey
from client_sdk.sealed.ratchet import CHAIN_BYTES

Entropy: TypeAlias = Callable[[int], bytes]

RECORD: Final = "device"
_KEYS_MAX: Final = 2
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class _Key(Struct, frozen=True):
    private: bytes
    serial: int


class OwnDevice:
    """The keys of one device of a robot.

    Attributes:
        robot, device: whose they are.
        identity: the robot's public Ed25519 key.
    """

    def __init__(self, robot: str, device: str, signer: Signer, entropy: Entropy) -> None:
        self.robot = robot
        self.device = device
        self.identity = signer.public_key
        self._signer = signer
        self._entropy = entropy
        self._keys: list[_Key] = []
        self._by_tag: dict[bytes, tuple[bytes, X25519PrivateKey]] = {}

    @property
    def public_key(self) -> bytes | None:
        """The X25519 key that others are to wrap to; None before the first `renew`."""
        return _public(self._keys[-1].private) if self._keys else None

    def recall(self, record: bytes) -> None:
        """Take the keys that an earlier process kept."""
        self._hold(msgspec.msgpack.decode(record, type=list[_Key]))

    def renew(self, now_ms: int, age_ms: int) -> list[KeptRecord]:
        """Make a key if there is none or it is ``age_ms`` old; return what the memory has to keep first."""
        newest = self._keys[-1].serial if self._keys else None
        if newest is not None and newest > now_ms - age_ms:
            return []
        serial = max(now_ms, (newest or 0) + 1)
        key = _Key(self._entropy(envelope.PUBLIC_KEY_BYTES), serial)
        self._hold([*self._keys, key][-_KEYS_MAX:])
        return [KeptRecord(RECORD, msgspec.msgpack.encode(self._keys))]

    def announcement(self, conv: str) -> bytes:
        """Return the content of an event that tells a conversation this device's key."""
        key = self._keys[-1]
        return self._announced(conv, self.device, _public(key.private), key.serial)

    def withdrawal(self, conv: str, device: str, now_ms: int) -> bytes:
        """Return the content of an event that tells a conversation to wrap to a device no more."""
        return self._announced(conv, device, None, now_ms)

    def sign_message(self, context: bytes, ciphertext: bytes) -> bytes:
        """Return the signature of a sealed message."""
        return self._signer.sign(context + ciphertext)

    def wrap(self, conv: str, chain: bytes, generation: int, recipients: list[bytes]) -> bytes:
        """Return the content of an event that gives a chain key to those X25519 keys.

        A key of low order, with which no secret can be agreed, is passed over.
        """
        bare = SenderKey(self.device, self.identity, generation, {}, b"", b"")
        wraps = {}
        for recipient in recipients:
            info = envelope.wrap_info(conv, self.robot, bare, recipient)
            try:
                public = X25519PublicKey.from_public_bytes(recipient)
                wraps[tag_of(recipient)] = _SUITE.encrypt(chain, public, info)
            except ValueError:
                continue
        signed = envelope.pack_key(self.device, self.identity, generation, wraps)
        return signed + self._signer.sign(envelope.key_context(conv, self.robot) + signed)

    def unwrap(self, conv: str, sender: str, key: SenderKey) -> bytes | None:
        """Return the chain key if it was wrapped to this device, else None."""
        for tag, (public, private) in self._by_tag.items():
            wrapped = key.wraps.get(tag)
            if wrapped is None:
                continue
            info = envelope.wrap_info(conv, sender, key, public)
            try:
                chain = _SUITE.decrypt(wrapped, private, info)
            except (InvalidTag, ValueError):
                continue
            return chain if len(chain) == CHAIN_BYTES else None
        return None

    def _announced(self, conv: str, device: str, public: bytes | None, serial: int) -> bytes:
        signed = envelope.pack_device(device, public, self.identity, serial)
        return signed + self._signer.sign(envelope.device_context(conv, self.robot) + signed)

    def _hold(self, keys: list[_Key]) -> None:
        self._keys = keys
        self._by_tag = {}
        for key in keys:
            public = _public(key.private)
            private = X25519PrivateKey.from_private_bytes(key.private)
            self._by_tag[tag_of(public)] = (public, private)


def is_signed(identity: bytes, signature: bytes, text: bytes) -> bool:
    """Tell whether a signature is good."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def tag_of(public_key: bytes) -> bytes:
    """Return by which tag a device finds what is wrapped to its key."""
    digest = Hash(SHA256())
    digest.update(public_key)
    return digest.finalize()[: envelope.TAG_BYTES]


def _public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
