"""Looks through SQLite's write-ahead log before SQLite does, because SQLite takes damage for its end.

SQLite stops at the first frame whose checksum is wrong and drops the rest without a word. Rightly so if that
is the commit that a power cut tore: nothing can follow it. If something does, it was written after the commit
with the wrong frame was durable, so that was damaged later, and durable commits would be lost. This holds for
a log that began empty when it was opened last, as `sqlite_memory` sees to. Format: "WAL file format",
sqlite.org/fileformat2.html.
"""

import struct
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
"""The last bit tells the byte order of checksums: 1 for big-endian."""


class _Frame(NamedTuple):
    """A frame: whether its checksum is right, whether it is of this log, whether a commit ends with it."""

    is_right: bool
    is_ours: bool
    ends_commit: bool


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a log, or None if SQLite will find every commit that was made durable.

    A flipped bit in the very last commit looks like a torn one, and is not found.
    """
    try:
        log = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(log) <= _HEADER.size:
        return None  # nothing was ever written behind the header
    magic, _, page_bytes, _, _, _, *checksum = _HEADER.unpack_from(log)
    order = ">" if magic & 1 else "<"
    expected = _checksum(log[: _HEADER.size - 8], (0, 0), order)
    if magic & ~1 != _MAGIC or expected != tuple(checksum):
        return f"the header of {path.name} does not match its checksum"
    frames = _frames(log, page_bytes, order, expected)
    wrong = next((n for n, frame in enumerate(frames) if not frame.is_right), None)
    if wrong is None:
        return None
    end = wrong
    if not (frames[wrong].is_ours and frames[wrong].ends_commit):
        ends = (n for n in range(wrong + 1, len(frames)) if frames[n].ends_commit)
        end = next(ends, len(frames))
    if end + 1 >= len(frames):
        return None
    return f"frame {wrong} of {path.name} does not match its checksum, and later commits follow it"


def _frames(log: bytes, page_bytes: int, order: str, checksum: tuple[int, int]) -> list[_Frame]:
    """Return the frames of this log; behind them there may be some of an earlier one, with other salts."""
    salts = log[16:24]
    size = _FRAME.size + page_bytes
    frames = []
    for start in range(_HEADER.size, len(log) - size + 1, size):
        _, pages, _, _, *told = _FRAME.unpack_from(log, start)
        checked = log[start : start + 8] + log[start + _FRAME.size : start + size]
        is_ours = log[start + 8 : start + 16] == salts
        is_right = is_ours and _checksum(checked, checksum, order) == tuple(told)
        frames.append(_Frame(is_right, is_ours, ends_commit=pages != 0))
        checksum = (told[0], told[1])
    while frames and not frames[-1].is_ours:
        frames.pop()
    return frames


def _checksum(content: bytes, checksum: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = checksum
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
