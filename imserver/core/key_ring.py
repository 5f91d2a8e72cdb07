"""The keys that content at rest is sealed with, and sealing itself: bytes in, bytes out.

What is sealed is encrypted and authenticated together with *associated data*, which says what it is and
where it belongs. Whoever opens it must say the same, so bytes that were changed, or moved elsewhere, do not
open. Users of a ring begin their associated data with a word of their own (``event``, ``file``, …), so that
what one of them sealed never opens for another, and write it so that no two places have the same.

Sealed bytes are self-contained, and `OVERHEAD` longer than what was sealed::

    key id (4) | nonce (24) | ciphertext (as long as the plain bytes) | tag (16)

Because the overhead is fixed, large content can be sealed in segments of one size and read at any place: the
segment ``n`` of ``size`` plain bytes stands at ``n * (size + OVERHEAD)``. Give each segment associated data
that names the whole, the number of the segment, and whether it is the last: then none can be exchanged, left
out or cut off unnoticed.

**The algorithm** is XAES-256-GCM (https://c2sp.org/XAES-256-GCM): AES-256-GCM under a key that is derived
(NIST SP 800-108, CMAC) from the ring's key and the first half of a nonce of 24 bytes; the second half is the
nonce of AES-GCM.

**Why a nonce never comes twice under one key.** Each ring draws a *run*, 16 random bytes, when it first
seals with a key and again after `RUN_SEALS_MAX` seals; the nonce is the run and a counter of 8 bytes. Within
a run the counter differs. Two runs are the same with a chance of 2^-33 once 2^48 of them were drawn under
one key, by however many processes and machines that have it (n^2 / 2^129). One run derives one key of
AES-GCM, which seals at most 2^24 times, far below the 2^32 of NIST SP 800-38D, 8.3. Nothing needs to be
counted across restarts, and neither a store that was put back from a backup nor a second machine with the
same ring repeats anything. What would is a process that goes on twice: a machine resumed twice from one
image of its *running* memory.

No I/O: where keys are kept is `imserver.data.key_ring_file`'s business. Safe to use from several threads.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NewType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from imserver.core.errors import SealBroken, SealingKeyMissing

KeyId = NewType("KeyId", str)
"""Eight hexadecimal digits, worked out from the key: a wrong key cannot pass for the right one."""

RandomBytes = Callable[[int], bytes]
"""A source of random bytes that nobody can guess, such as ``os.urandom``."""

KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_HEADER_BYTES: Final = _ID_BYTES + _NONCE_BYTES
_RUN_BYTES: Final = 16
_DERIVING_BYTES: Final = (
    12  # how much of the nonce derives the key; the rest is the nonce of AES-GCM
)
_DERIVED_END: Final = _ID_BYTES + _DERIVING_BYTES
_DERIVED_MAX: Final = 256

OVERHEAD: Final = _HEADER_BYTES + _TAG_BYTES
"""How many bytes longer the sealed bytes are than the plain ones."""

RUN_SEALS_MAX: Final = 1 << 24


class SealingKey:
    """One key of a ring: 32 secret bytes.

    Attributes:
        id: which one it is; says nothing about the secret.
        secret: the bytes.
    """

    def __init__(self, secret: bytes) -> None:
        """Take the secret.

        Raises:
            ValueError: it is not 32 bytes.
        """
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(secret)}")
        digest = hashlib.sha256(b"imserver sealing key id\0" + secret).digest()
        self.secret: Final = secret
        self.id: Final = KeyId(digest[:_ID_BYTES].hex())
        single_blocks = modes.ECB()  # noqa: S305 # nosec B305
        self._encrypt_block: Final = Cipher(algorithms.AES256(secret), single_blocks)
        self._subkey: Final = _doubled(self._blocks(bytes(16)))
        self._derived: dict[bytes, AESGCM] = {}

    def __repr__(self) -> str:
        return f"SealingKey({self.id})"  # never the secret

    def derived(self, start: bytes) -> AESGCM:
        """Return the cipher for nonces that begin with ``start`` (12 bytes); the last few are kept."""
        cipher = self._derived.get(start)
        if cipher is None:
            blocks = (b"\0" + bytes([number]) + b"X\0" + start for number in (1, 2))
            cipher = AESGCM(self._blocks(b"".join(_xor(block, self._subkey) for block in blocks)))
            if len(self._derived) >= _DERIVED_MAX:
                self._derived = {}
            self._derived[start] = cipher
        return cipher

    def _blocks(self, plain: bytes) -> bytes:
        return self._encrypt_block.encryptor().update(plain)


class KeyRing:
    """Seals with the current one of its keys, and opens what any of them sealed."""

    def __init__(
        self, keys: Iterable[SealingKey], current: KeyId, *, random_bytes: RandomBytes
    ) -> None:
        """Take the keys; see `renew`."""
        self._random_bytes = random_bytes
        self.renew(keys, current)

    @property
    def current(self) -> KeyId:
        """The key that seals."""
        return self._sealer.key.id

    @property
    def ids(self) -> frozenset[KeyId]:
        """The keys that open."""
        return frozenset(key.id for key in self._keys.values())

    def renew(self, keys: Iterable[SealingKey], current: KeyId) -> None:
        """Take other keys, from the next call on: everybody who seals and opens holds the same ring.

        Raises:
            SealingKeyMissing: ``current`` is not among them.
        """
        by_header = {bytes.fromhex(key.id): key for key in keys}
        sealing = by_header.get(bytes.fromhex(current))
        if sealing is None:
            raise SealingKeyMissing(f"the current key {current} is not in the key ring")
        self._keys = by_header
        self._sealer = _Sealer(sealing, self._random_bytes)

    def learn(self, other: "KeyRing") -> None:
        """Open also what the keys of another ring have sealed; which key seals stays as it is."""
        self._keys = other._keys | self._keys

    def seal(self, plain: bytes | memoryview, associated: bytes) -> bytes:
        """Return ``plain`` sealed with the current key, to be opened with the same ``associated`` data."""
        return self._sealer.seal(plain, associated)

    def open(self, sealed: bytes | memoryview, associated: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            SealBroken: the bytes were changed or cut, or belong to other associated data.
            SealingKeyMissing: they are sealed with a key that is not in the ring.
        """
        key = self._keys.get(bytes(sealed[:_ID_BYTES]))
        if key is None:
            raise SealingKeyMissing(
                f"it is sealed with key {sealed_with(sealed)}, which is not in the key ring; put back the "
                "ring that has it"
            )
        try:
            cipher = key.derived(bytes(sealed[_ID_BYTES:_DERIVED_END]))
            return cipher.decrypt(
                sealed[_DERIVED_END:_HEADER_BYTES], sealed[_HEADER_BYTES:], associated
            )
        except (InvalidTag, ValueError) as exc:  # ValueError: cut short
            raise SealBroken(
                f"the seal (key {key.id}) is broken: the content was changed, or was sealed for "
                "another place"
            ) from exc


def sealed_with(sealed: bytes | memoryview) -> KeyId:
    """Return the id of the key that the bytes say they are sealed with."""
    return KeyId(bytes(sealed[:_ID_BYTES]).hex())


class _Sealer:
    """Seals with one key, run after run."""

    def __init__(self, key: SealingKey, random_bytes: RandomBytes) -> None:
        self.key = key
        self._random_bytes = random_bytes
        self._run = _Run(key, random_bytes(_RUN_BYTES))

    def seal(self, plain: bytes | memoryview, associated: bytes) -> bytes:
        while True:
            run = self._run
            count = next(run.counter)  # indivisible: no two threads get the same
            if count < RUN_SEALS_MAX:
                break
            # Threads that come here at once draw a run each, and one of them is used.
            self._run = _Run(self.key, self._random_bytes(_RUN_BYTES))
        end = count.to_bytes(8, "big")
        return run.header + end + run.cipher.encrypt(run.nonce_start + end, plain, associated)


class _Run:
    """A stretch of nonces under one derived key."""

    def __init__(self, key: SealingKey, run: bytes) -> None:
        self.header = bytes.fromhex(key.id) + run
        self.nonce_start = run[_DERIVING_BYTES:]
        self.cipher = key.derived(run[:_DERIVING_BYTES])
        self.counter: Iterator[int] = itertools.count()


def _doubled(block: bytes) -> bytes:
    """Return the block times x in GF(2^128), as CMAC makes its first subkey (NIST SP 800-38B, 6.1)."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number = (number & ((1 << 128) - 1)) ^ 0x87
    return number.to_bytes(16, "big")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
