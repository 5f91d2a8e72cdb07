"""What was sealed under a cid that the application chose: the same again has to be the same bytes.

The server stores a cid once and compares what comes with it, and sealing the same twice gives two
ciphertexts. So what was sealed is kept, the newest of it, also over the robot's restart.
"""

import hmac
from typing import Final

import msgspec
from msgspec import Struct

from client_sdk.memory import KeptRecord

ENTRIES_MAX: Final = 512
BYTES_MAX: Final = 8 * 1024 * 1024


class _Entry(Struct, frozen=True):
    number: int
    conv: str
    cid: str
    digest: bytes
    content: bytes


class SentBook:
    """The newest of what was sealed under cids that may come again; `ENTRIES_MAX`, and `BYTES_MAX`."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._next = 1
        self._bytes = 0

    def recall(self, record: bytes) -> None:
        """Take an entry of an earlier process."""
        self._add(msgspec.msgpack.decode(record, type=_Entry))
        self._entries = dict(sorted(self._entries.items(), key=lambda item: item[1].number))

    def find(self, conv: str, cid: str, digest: bytes) -> bytes | None:
        """Return what was sealed under a cid; None if nothing is known of it.

        Raises:
            ValueError: something else was sealed under it.
        """
        entry = self._entries.get((conv, cid))
        if entry is None:
            return None
        if entry.digest and not hmac.compare_digest(entry.digest, digest):
            raise ValueError(f"cid {cid} was used for something else in {conv}")
        return entry.content

    def note(self, conv: str, cid: str, digest: bytes, content: bytes) -> list[KeptRecord]:
        """Take what was sealed, an empty digest if it is not known; return what the memory has to keep."""
        if (conv, cid) in self._entries:
            return []
        entry = _Entry(self._next, conv, cid, digest, content)
        self._add(entry)
        records = [KeptRecord(f"sent/{entry.number}", msgspec.msgpack.encode(entry))]
        while len(self._entries) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            oldest = next(iter(self._entries))
            gone = self._entries.pop(oldest)
            self._bytes -= len(gone.content)
            records.append(KeptRecord(f"sent/{gone.number}", None))
        return records

    def forget(self, conv: str, cid: str) -> list[KeptRecord]:
        """Forget what was refused; return what the memory has to do."""
        gone = self._entries.pop((conv, cid), None)
        if gone is None:
            return []
        self._bytes -= len(gone.content)
        return [KeptRecord(f"sent/{gone.number}", None)]

    def _add(self, entry: _Entry) -> None:
        self._entries[(entry.conv, entry.cid)] = entry
        self._bytes += len(entry.content)
        self._next = max(self._next, entry.number + 1)
