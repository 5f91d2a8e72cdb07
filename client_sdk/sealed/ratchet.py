"""The hash ratchet: from one chain key the keys of all messages that follow, and none that went before.

    secret(i) = HMAC-SHA256(chain(i), 0x01)        chain(i + 1) = HMAC-SHA256(chain(i), 0x02)
    key ‖ nonce = HKDF-Expand-SHA256(secret(i), "imserver/sealed/1 message key", 32 + 12)

That is the symmetric-key ratchet of Signal's Double Ratchet, and its sender keys. A key is for one message,
so its nonce may follow from it.
"""

import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CHAIN_BYTES: Final = 32
TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_INFO: Final = b"imserver/sealed/1 message key"


def secret_of(chain: bytes) -> bytes:
    """Return the secret of the message at which a chain stands."""
    return hmac.digest(chain, b"\x01", "sha256")


def advance(chain: bytes, steps: int = 1) -> bytes:
    """Return the chain that many messages further on."""
    for _ in range(steps):
        chain = hmac.digest(chain, b"\x02", "sha256")
    return chain


def encrypt(secret: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt a message with AES-256-GCM. A secret is used once."""
    key, nonce = _key_and_nonce(secret)
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def decrypt(secret: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Decrypt a message.

    Raises:
        cryptography.exceptions.InvalidTag: it is another message, or its associated data is.
    """
    key, nonce = _key_and_nonce(secret)
    return AESGCM(key).decrypt(nonce, ciphertext, associated)


def _key_and_nonce(secret: bytes) -> tuple[bytes, bytes]:
    both = HKDFExpand(SHA256(), _KEY_BYTES + _NONCE_BYTES, _INFO).derive(secret)
    return both[:_KEY_BYTES], both[_KEY_BYTES:]
