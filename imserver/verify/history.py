"""Histories on disk: files of records, written by clients while they run and read by the checker.

A file may hold any number of sessions, of one client or of several, but all records of a session stand in
one file, in order. Only its end may be damaged: a client that was killed leaves a torn last line, which is
left out and told. Damage anywhere else makes the history unusable.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from imserver.core.errors import ImserverError
from imserver.protocol.names import clip
from imserver.verify.records import Change, Join, Leave, Record, Send

LINE_BYTES_MAX: Final = 1024 * 1024
BUFFER_BYTES: Final = 256 * 1024

_decode: Final = msgspec.json.Decoder(Record).decode
_encode: Final = msgspec.json.Encoder().encode


class HistoryUnusable(ImserverError):
    """A history, or the log beside it, cannot be judged; the text names file, line and what is wrong."""


class HistoryWriter:
    """Appends records to a file.

    What an earlier writer's death left torn at the end is cut off, so that the file stays readable. For
    one thread and one process at a time.

    Args:
        path: the file; made if it is missing.
        flush_each: hand each record to the operating system at once. Then a killed process has lost
            nothing but, at most, the line it was writing.
    """

    def __init__(self, path: str | Path, *, flush_each: bool = False) -> None:
        self.path: Final = Path(path)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        _cut_torn_line(descriptor)
        self._file = descriptor
        self._limit = 0 if flush_each else BUFFER_BYTES
        self._buffer = bytearray()

    def write(self, record: Record) -> None:
        """Append a record."""
        self._buffer += _encode(record)
        self._buffer += b"\n"
        if len(self._buffer) > self._limit:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        while self._buffer:
            del self._buffer[: os.write(self._file, self._buffer)]

    def close(self) -> None:
        """Flush and close. Idempotent."""
        if self._file >= 0:
            self.flush()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class HistoryReader:
    """Iterates over the records of a file, each with the number of its line.

    Raises, while it is iterated over:
        HistoryUnusable: the file cannot be read, or a line other than a torn last one is no record.

    Attributes:
        torn_line: number of the torn last line, once it was come upon.
        records: how many were read.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.torn_line: int | None = None
        self.records = 0

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        try:
            with self.path.open("rb", buffering=BUFFER_BYTES) as file:
                for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
                    record = self._record(number, line)
                    if record is None:
                        return
                    self.records = number
                    yield number, record
        except OSError as exc:
            raise HistoryUnusable(f"{self.path} cannot be read: {exc.strerror}") from exc

    def _record(self, number: int, line: bytes) -> Record | None:
        try:
            record: Record = _decode(line)
            _check_complete(record)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as exc:
            if not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
                self.torn_line = number
                return None
            raise HistoryUnusable(
                f"{self.path}:{number} is no record of a history ({exc}): {_shown(line)}"
            ) from exc
        return record


def history_files(paths: list[Path]) -> list[Path]:
    """Return the files that are meant: of a directory, all that end in ``.jsonl``, by name.

    Raises:
        HistoryUnusable: a path does not exist, or a directory holds no history.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob("*.jsonl"))
            if not found:
                raise HistoryUnusable(f"{path} holds no file that ends in .jsonl")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise HistoryUnusable(f"there is no history {path}; name files or directories of them")
    return list(dict.fromkeys(files))


def _check_complete(record: Record) -> None:
    if isinstance(record, Send):
        if record.type == "invoke" and record.body_sha is None:
            raise ValueError("an invoked send needs `body_sha`")
        if record.type == "ok" and record.seq is None:
            raise ValueError("a send that was stored needs `seq`")
    elif isinstance(record, Change | Join | Leave) and record.type == "ok" and record.seq is None:
        raise ValueError("a change that was stored needs `seq`")


def _cut_torn_line(descriptor: int) -> None:
    end = size = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - BUFFER_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)


def _shown(line: bytes) -> str:
    return ascii(clip(line.decode("utf-8", "replace").rstrip("\n")))
