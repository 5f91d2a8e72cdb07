"""Reads sealed events by what docs/end-to-end.md says and nothing of the SDK: a second implementation.

It knows one device's private key and trusts what is signed by the key that an event names.
"""

import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


def text(value):
    raw = value.encode()
    return len(raw).to_bytes(2, "big") + raw


def label(what, *texts):
    return b"imserver/sealed/1 " + what + b"\x00" + b"".join(map(text, texts))


def take_text(content, at):
    size = int.from_bytes(content[at : at + 2], "big")
    return content[at + 2 : at + 2 + size].decode(), at + 2 + size


def read_device(content, *, conv, robot):
    """Return (device, X25519 key, identity, serial) of an announcement, after a look at its signature."""
    assert content[:2] == b"\x01\x03"
    device, at = take_text(content, 2)
    key, identity = content[at : at + 32], content[at + 32 : at + 64]
    (serial,) = struct.unpack(">Q", content[at + 64 : at + 72])
    signed, signature = content[:-64], content[-64:]
    assert at + 72 == len(signed)
    Ed25519PublicKey.from_public_bytes(identity).verify(
        signature, label(b"device", conv, robot) + signed
    )
    return device, key, identity, serial


def read_key(content, private, *, conv, sender):
    """Return (device, generation, chain key) of a sender key."""
    assert content[:2] == b"\x01\x02"
    device, at = take_text(content, 2)
    identity = content[at : at + 32]
    generation, count = struct.unpack(">QI", content[at + 32 : at + 44])
    signed, signature = content[:-64], content[-64:]
    Ed25519PublicKey.from_public_bytes(identity).verify(
        signature, label(b"key", conv, sender) + signed
    )
    key = X25519PrivateKey.from_private_bytes(private)
    public = key.public_key().public_bytes_raw()
    digest = Hash(SHA256())
    digest.update(public)
    tag = digest.finalize()[:8]
    wraps = content[at + 44 : at + 44 + count * 88]
    assert at + 44 + len(wraps) == len(signed)
    (wrapped,) = [
        wraps[n * 88 + 8 : n * 88 + 88] for n in range(count) if wraps[n * 88 : n * 88 + 8] == tag
    ]
    info = label(b"wrap", conv, sender, device) + identity + struct.pack(">Q", generation) + public
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    return device, generation, suite.decrypt(wrapped, key, info)


def read_message(content, chain, identity, *, conv, sender, cid, kind, ref):
    """Return (index, seen, plaintext) of a message, given its sender key's first chain key."""
    assert content[:2] == b"\x01\x01"
    _, at = take_text(content, 2)
    _, index, _ = struct.unpack(">QII", content[at : at + 16])
    _, at = take_text(content, at + 16)
    (seen,) = struct.unpack(">Q", content[at : at + 8])
    head, ciphertext, signature = content[: at + 8], content[at + 8 : -64], content[-64:]
    associated = label(b"message", conv, sender, cid, kind) + struct.pack(">Q", ref or 0) + head
    Ed25519PublicKey.from_public_bytes(identity).verify(signature, associated + ciphertext)
    for _ in range(index):
        chain = hmac.digest(chain, b"\x02", "sha256")
    secret = hmac.digest(chain, b"\x01", "sha256")
    both = HKDFExpand(SHA256(), 44, b"imserver/sealed/1 message key").derive(secret)
    return index, seen, AESGCM(both[:32]).decrypt(both[32:], ciphertext, associated)
