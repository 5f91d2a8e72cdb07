"""Reads a write-ahead log (WAL) before SQLite does, and tells damage from what a crash leaves behind.

SQLite ends its recovery at the first frame whose checksum is wrong, drops all that follow and calls the file
sound: one flipped bit takes every commit behind it, silently. It must do so, because a crash in the middle of
a write leaves bad frames too. The two can be told apart, given that each commit is synced before the next
begins, so that a crash tears the frames of one commit at most. A bad frame is damage, and no crash, if

- a commit ends at it or behind it and a whole frame follows it: that one was written after the sync;
- changing one bit of it makes it whole: no torn write does that (checksums have 64 bits);
- the index file (``-shm``) of the dead process knows of more commits than are whole here.

What none of this finds (many bits of the very last commit, changed while the machine was off) shows when a
robot resumes from beyond the head: see `Cursors.note_loss`. The format is SQLite's, from "Database File
Format", section 4, and "WAL-mode File Format". Reads alone, before a store is opened and for ``check``.
"""

import os
import shutil
import struct
import sys
from array import array
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import apsw

_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_MAGIC: Final = {0x377F0682: "little", 0x377F0683: "big"}
_HEADER: Final = struct.Struct(">IIII8s8s")  # magic, version, page size, number, salts, checksum
_FRAME: Final = struct.Struct(">II8s8s")  # page, pages after the commit or 0, salts, checksum
_SUMS: Final = struct.Struct(">II")
_INDEX: Final = struct.Struct("=IIIBBHII8s8s8s")  # ends with frame checksum, salts, own checksum
_INDEX_COPIED: Final = struct.Struct("=I")
_WORD: Final = 0xFFFFFFFF


class Damage(NamedTuple):
    """What is wrong with a WAL.

    Attributes:
        frame: number of the first bad frame, from 1; 0 for the header.
        lost: commits that SQLite would drop without a word, as far as they can still be seen.
        why: how it is known, for a person.
    """

    frame: int
    lost: int
    why: str

    def __str__(self) -> str:
        place = f"frame {self.frame}" if self.frame else "the header"
        return f"{place} is damaged ({self.why}); at least {self.lost} commits stand at it or behind it"


class _Frame(NamedTuple):
    number: int
    head: bytes
    body: bytes

    @property
    def is_commit(self) -> bool:
        return self.head[4:8] != bytes(4)

    @property
    def salts(self) -> bytes:
        return self.head[8:16]

    @property
    def sums(self) -> tuple[int, int]:
        first, second = _SUMS.unpack_from(self.head, 16)
        return first, second


class _Wal(NamedTuple):
    """The header's facts, and the file behind it."""

    file: BinaryIO
    order: str
    page_bytes: int
    salts: bytes
    sums: tuple[int, int]
    frames: int

    def frame(self, number: int) -> _Frame:
        size = _FRAME_HEADER_BYTES + self.page_bytes
        self.file.seek(_HEADER_BYTES + (number - 1) * size)
        content = self.file.read(size)
        return _Frame(number, content[:_FRAME_HEADER_BYTES], content[_FRAME_HEADER_BYTES:])

    def follows(self, frame: _Frame, sums: tuple[int, int]) -> bool:
        """Tell whether ``frame`` is whole, given the checksum that stands before it."""
        if frame.salts != self.salts or frame.head[:4] == bytes(4):
            return False
        return _checksum(frame.head[:8] + frame.body, sums, self.order) == frame.sums


def wal_path(database: Path) -> Path:
    """Return where SQLite keeps the WAL of a database."""
    return database.with_name(database.name + "-wal")


def index_path(database: Path) -> Path:
    """Return where SQLite keeps the index of a WAL."""
    return database.with_name(database.name + "-shm")


def has_log(database: Path) -> bool:
    """Tell whether ``database`` has a WAL: closing a store in good order removes it.

    An empty one counts: it is left by a process that copied the log of one before it, and died as well.
    """
    return wal_path(database).exists()


def find_damage(database: Path) -> Damage | None:
    """Look through the WAL of ``database``, which no process may have open; None if nothing is lost.

    How many commits are whole is asked of SQLite; what lies behind them takes some 50 µs a frame. Blocks.

    Raises:
        OSError: the WAL cannot be read.
    """
    index = _read_index(index_path(database))
    try:
        file = wal_path(database).open("rb")
    except FileNotFoundError:
        if index is None or index.copied >= index.frames:
            return None
        return Damage(1, index.frames - index.copied, "the file was removed after a crash")
    with file:
        return _look(file, index, whole=_whole_frames(database))


def _whole_frames(database: Path) -> int:
    """Return how many frames make up the commits that SQLite finds whole; 0 if it cannot tell.

    A connection of its own that changes nothing: its index is in memory, and it closes without a checkpoint.
    """
    try:
        db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            frames, _ = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        finally:
            db.close()
    except apsw.Error:
        return 0  # then every frame is looked at here
    return max(0, int(frames))


def keep_copy(database: Path) -> Path | None:
    """Copy the WAL of ``database`` to a file beside it, durably; the same WAL is copied once.

    Returns None if it was removed.

    Raises:
        OSError: it cannot be read, or the copy cannot be written.
    """
    source = wal_path(database)
    if not source.exists():
        return None
    with source.open("rb") as file:
        salts = file.read(_HEADER_BYTES)[16:24]
    copy = source.with_name(f"{source.name}.damaged-{salts.hex()}")
    if not copy.exists():
        draft = copy.with_name(copy.name + ".draft")
        shutil.copyfile(source, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(copy)
    return copy


def is_all_copied(database: Path) -> bool:
    """Tell whether the database holds all that its WAL does, and durably, so that the WAL is not needed."""
    index = _read_index(index_path(database))
    if index is None or index.copied < index.frames:
        return False
    with wal_path(database).open("rb") as file:
        return file.read(_HEADER_BYTES)[16:24] == index.salts


def _look(file: BinaryIO, index: "_Index | None", *, whole: int) -> Damage | None:
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return None
    size = os.fstat(file.fileno()).st_size
    wal = _parse(file, header, size)
    if wal is None:
        return _look_without_header(file, header, size)
    committed = min(whole, wal.frames)
    sums = wal.frame(committed).sums if committed else wal.sums
    for number in range(committed + 1, wal.frames + 1):
        frame = wal.frame(number)
        if not wal.follows(frame, sums):
            found = _judge(wal, number, sums)
            if found is not None:
                return found
            break
        sums = frame.sums
        committed = number if frame.is_commit else committed
    if index is not None and index.salts == wal.salts and index.frames > committed:
        return Damage(committed + 1, 1, "the process that died had committed more frames")
    return None


def _judge(wal: _Wal, number: int, sums: tuple[int, int]) -> Damage | None:
    """Tell what a bad frame is, given the checksum before it."""
    bad = wal.frame(number)
    later = _later(wal, bad)
    ends = [frame for frame, is_commit in later if is_commit]
    if bad.salts == wal.salts and bad.is_commit:
        ends.insert(0, number)
    # Frames of an earlier torn commit may lie behind a later one: only what goes on from a commit counts.
    after_sync = {end + 1 for end in ends} & {frame for frame, _ in later}
    if after_sync:
        return Damage(number, len(ends), f"frame {max(after_sync)} was written after its sync")
    if _is_one_bit_off(wal, bad, sums):
        return Damage(number, max(len(ends), 1), "one bit of it is flipped")
    return None


def _later(wal: _Wal, bad: _Frame) -> list[tuple[int, bool]]:
    """Return the whole frames behind a bad one: their numbers, and whether a commit ends there."""
    found = []
    sums = bad.sums
    for number in range(bad.number + 1, wal.frames + 1):
        frame = wal.frame(number)
        if wal.follows(frame, sums):
            found.append((number, frame.is_commit))
        sums = frame.sums
    return found


def _is_one_bit_off(wal: _Wal, bad: _Frame, sums: tuple[int, int]) -> bool:
    salt_bits = _bits(bad.salts, wal.salts)
    content = bad.head[:8] + bad.body
    computed = _checksum(content, sums, wal.order)
    if salt_bits:
        return salt_bits == 1 and computed == bad.sums
    if _bits(_SUMS.pack(*computed), bad.head[16:24]) == 1:
        return True
    off = (bad.sums[0] - computed[0]) & _WORD, (bad.sums[1] - computed[1]) & _WORD
    return _one_bit_makes(off, len(content) // 8)


def _one_bit_makes(off: tuple[int, int], pairs: int) -> bool:
    """Tell whether one flipped bit in ``pairs`` pairs of words changes the checksum by ``off``.

    The checksum is linear: a change of d in a word changes each sum by d times a factor, which is a
    Fibonacci number that depends on the word's place alone.
    """
    changes = {sign * (1 << bit) & _WORD for bit in range(32) for sign in (1, -1)}
    # What the last pair contributes to (first, second), for each word of it; one round earlier, it has gone
    # through one more round of s0 += s1; s1 += s0.
    factors = [(1, 1), (0, 1)]
    for _ in range(pairs):
        for first, second in factors:
            if any(
                (change * first - off[0]) & _WORD == 0 and (change * second - off[1]) & _WORD == 0
                for change in changes
            ):
                return True
        factors = [((a + b) & _WORD, (a + 2 * b) & _WORD) for a, b in factors]
    return False


def _look_without_header(file: BinaryIO, header: bytes, size: int) -> Damage | None:
    """Judge a WAL whose header is bad: SQLite takes it for empty.

    A header is synced before its first frame is written, and lies in one sector. So it is never torn once
    frames follow it.
    """
    for bit in range(_HEADER_BYTES * 8):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        wal = _parse(file, bytes(flipped), size)
        if wal is not None:
            commits = sum(is_commit for _, is_commit in _all(wal))
            if commits:  # else another flip may explain it, too
                return Damage(0, commits, "one bit of it is flipped")
    for page_bytes in (4096, *(1 << power for power in range(9, 17))):
        frames = (size - _HEADER_BYTES) // (_FRAME_HEADER_BYTES + page_bytes)
        if frames < 2:
            continue
        for order in _MAGIC.values():
            wal = _Wal(file, order, page_bytes, b"", (0, 0), frames)
            wal = wal._replace(salts=wal.frame(1).salts)
            later = _later(wal, wal.frame(1))
            if later:
                return Damage(0, sum(commit for _, commit in later), "whole frames follow it")
    return None


def _all(wal: _Wal) -> list[tuple[int, bool]]:
    first = wal.frame(1)
    found = [(1, first.is_commit)] if wal.frames and wal.follows(first, wal.sums) else []
    return found + _later(wal, first) if wal.frames else []


def _parse(file: BinaryIO, header: bytes, size: int) -> _Wal | None:
    magic, version, page_bytes, _, salts, own = _HEADER.unpack(header)
    order = _MAGIC.get(magic)
    if order is None or version != 3_007_000 or page_bytes & (page_bytes - 1):
        return None
    if not 512 <= page_bytes <= 65_536:
        return None
    sums = _checksum(header[:24], (0, 0), order)
    if _SUMS.pack(*sums) != own:
        return None
    frames = (size - _HEADER_BYTES) // (_FRAME_HEADER_BYTES + page_bytes)
    return _Wal(file, order, page_bytes, salts, sums, frames)


def _checksum(content: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    words = array("I", content)
    if order != sys.byteorder:
        words.byteswap()
    first, second = sums
    pairs = iter(words)
    for one, other in zip(pairs, pairs, strict=True):
        first = first + one + second & _WORD
        second = second + other + first & _WORD
    return first, second


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


class _Index(NamedTuple):
    """What the index of a WAL says: its frames up to the last commit, and how many are in the database."""

    frames: int
    copied: int
    salts: bytes


def _read_index(path: Path) -> _Index | None:
    try:
        with path.open("rb") as file:
            content = file.read(2 * _INDEX.size + _INDEX_COPIED.size)
    except FileNotFoundError:
        return None
    if len(content) < 2 * _INDEX.size + _INDEX_COPIED.size:
        return None
    one, other = content[: _INDEX.size], content[_INDEX.size : 2 * _INDEX.size]
    own = struct.pack("=II", *_checksum(one[:-8], (0, 0), sys.byteorder))
    if one != other or one[-8:] != own:
        return None
    _, _, _, is_valid, _, _, frames, _, _, salts, _ = _INDEX.unpack(one)
    (copied,) = _INDEX_COPIED.unpack_from(content, 2 * _INDEX.size)
    return _Index(frames, copied, salts) if is_valid else None
