"""A robot's key in a file, and its replacement: at every moment one of two files holds the key in force.

The story of a rotation. The new key is written to ``FILE.new``, durably, before the server hears of it. Then
the server is asked to replace the key; when it has said so, ``FILE.new`` takes the place of ``FILE`` in one
step. Whenever the robot is killed, the key in force is in ``FILE`` or in ``FILE.new``. So a robot whose key
is refused looks into both, and what the server welcomes is the key from there on. Robots of several devices
may share the files.
"""

from pathlib import Path
from typing import Final

from client_sdk.durable import sync_folder
from client_sdk.errors import KeyFileError
from client_sdk.keys import RobotKey, create_key, load_key

NEXT_SUFFIX: Final = ".new"


class KeyFile:
    """The file, and the one beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_path = path.with_name(path.name + NEXT_SUFFIX)

    def keys(self) -> list[RobotKey]:
        """Return what the files hold now, the likelier first."""
        following = _held(self._next_path)  # first, for it may take the other's place in between
        return [key for key in (_held(self._path), following) if key is not None]

    def prepare(self) -> RobotKey:
        """Return the key that is to be the next one, durably stored; the same until it is in force.

        Raises:
            KeyFileError: it cannot be written.
        """
        key = create_key(self._next_path)  # one that is there already wins
        sync_folder(self._path.parent)
        return key

    def adopt(self, public_key: bytes) -> None:
        """Take in which key is in force: if it is the next one, it takes the place of the first.

        Raises:
            KeyFileError: the file cannot be replaced; the key in force is in ``FILE.new`` then.
        """
        following = _held(self._next_path)
        if following is None or following.public_key != public_key:
            return
        try:
            self._next_path.replace(self._path)
            sync_folder(self._path.parent)
        except FileNotFoundError:
            return  # another device was quicker
        except OSError as exc:
            raise KeyFileError(
                f"the new key is in force, and {self._next_path} cannot take the place of {self._path}: "
                f"{exc.strerror}"
            ) from exc


def _held(path: Path) -> RobotKey | None:
    """Return the key in a file; None if there is no such file, or another device has just taken it away."""
    try:
        return load_key(path)
    except KeyFileError as problem:
        if isinstance(problem.__cause__, FileNotFoundError):
            return None
        raise
