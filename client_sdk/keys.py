"""A robot's Ed25519 key (RFC 8032), kept in a file that only its owner can read.

The file is PKCS #8 in PEM, as OpenSSL writes and reads it. A new file appears whole or not at all.
"""

import logging
import os
import secrets
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from client_sdk.errors import KeyFileError

_log = logging.getLogger("client_sdk")


class RobotKey:
    """A private key: signs, and tells its public half."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> "RobotKey":
        """Return a new key from the system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, text: bytes) -> bytes:
        """Return the signature over ``text``, 64 bytes."""
        return self._private.sign(text)

    def pem(self) -> bytes:
        """Return the private key as PKCS #8 PEM."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(path: Path) -> RobotKey:
    """Read a key file.

    Raises:
        KeyFileError: there is no such file, or it does not hold an Ed25519 private key.
    """
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as exc:
        raise KeyFileError(f"cannot read the key file {path}: {exc.strerror}") from exc
    try:
        private = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise KeyFileError(f"{path} is not a private key in PEM without a passphrase") from exc
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind; it must be Ed25519")
    if os.name == "posix" and mode & 0o077:
        _log.warning("key.readable_by_others", extra={"path": str(path)})
    return RobotKey(private)


def create_key(path: Path) -> RobotKey:
    """Make a new key and store it at ``path`` with mode 0600; a file that is there already wins.

    Raises:
        KeyFileError: it cannot be written, or what is there already is not a key.
    """
    key = RobotKey.generate()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(draft, key.pem())
        try:
            path.hardlink_to(draft)
        finally:
            draft.unlink()
    except FileExistsError:
        return load_key(path)
    except OSError as exc:
        raise KeyFileError(f"cannot write the key file {path}: {exc.strerror}") from exc
    return key


def _write(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
