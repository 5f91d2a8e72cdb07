"""The data directory: where the store's file and the deployment's signing key live.

It only finds, makes and checks files; what is in the database is the engine's business. The lock that keeps
a second server out guards the database, not the directory, so that tokens can be minted while one runs.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver.core.errors import DataDirectoryUnusable
from imserver.data.durable import sync

DATABASE_NAME: Final = "imserver.db"
PULSE_NAME: Final = "store.pulse"
KEY_NAME: Final = "server.key"
SPOOL_NAME: Final = "acts.jsonl"
FILES_NAME: Final = "files"
KEY_RING_NAME: Final = "sealing.keys"
_KEY_BYTES_MAX: Final = 4_096


class DataDirectory:
    """A directory that holds one deployment's data."""

    def __init__(self, path: str | Path) -> None:
        """Take the directory, making it (and its parents) for this user alone if it is missing.

        Raises:
            DataDirectoryUnusable: it cannot be made, is not a directory, or is not writable.
        """
        self.path: Final = Path(path)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise DataDirectoryUnusable(
                f"data directory {self.path} is not a directory; name a directory or a new path"
            ) from None
        except OSError as exc:
            raise DataDirectoryUnusable(
                f"data directory {self.path} cannot be made: {exc.strerror}; name a writable place"
            ) from exc
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise DataDirectoryUnusable(
                f"data directory {self.path} is not writable by this user; "
                "change its owner or name another"
            )

    @property
    def database_path(self) -> Path:
        """Where the embedded store keeps its database."""
        return self.path / DATABASE_NAME

    @property
    def files_path(self) -> Path:
        """Where the bytes of files are."""
        return self.path / FILES_NAME

    @property
    def pulse_path(self) -> Path:
        """Where a node notes how far it has seen a store that others share."""
        return self.path / PULSE_NAME

    @property
    def has_served(self) -> bool:
        """Whether a server has run on this directory before."""
        return self.database_path.exists() or self.pulse_path.exists()

    @property
    def key_path(self) -> Path:
        """Where the deployment's signing key is."""
        return self.path / KEY_NAME

    @property
    def spool_path(self) -> Path:
        """Where acts wait that were done beside a running server."""
        return self.path / SPOOL_NAME

    @property
    def key_ring_path(self) -> Path:
        """Where the sealing keys are, unless a setting names another place."""
        return self.path / KEY_RING_NAME

    def signing_key(self, elsewhere: str = "") -> Ed25519PrivateKey:
        """Return the deployment's signing key, making it (durably, mode 0600) the first time.

        Processes that do this at once all get the same key. One that is kept ``elsewhere`` is never made.

        Raises:
            DataDirectoryUnusable: the key cannot be read, written, or is damaged.
        """
        path = Path(elsewhere) if elsewhere else self.key_path
        try:
            if not elsewhere and not path.exists():
                self._create_key()
            with path.open("rb") as file:
                text = file.read(_KEY_BYTES_MAX)
        except OSError as exc:
            raise DataDirectoryUnusable(
                f"key {path} cannot be used: {exc.strerror}; "
                "it must be readable by the user who runs imserver"
            ) from exc
        return _parsed(text, path)

    def _create_key(self) -> None:
        text = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        draft = self.path / f".{KEY_NAME}.{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # A link fails where a rename would replace: of two processes the first one's key stays.
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.key_path)
        finally:
            draft.unlink()
        sync(self.path)


def _parsed(text: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as exc:
        raise _damaged(path) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(path)
    return key


def _damaged(path: Path) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(
        f"key {path} is damaged: it must be an Ed25519 private key in PEM. Put back a copy; "
        "without the key, tokens handed out before are worthless"
    )
