"""Which part of a file a request asks for (RFC 9110, 14): one range, from the front or from the end. Pure.

What is no range, or names several, is answered with the whole, as the standard allows.
"""

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """The part that is asked for begins behind the end."""


class Part(NamedTuple):
    """Bytes from ``first`` to before ``end``."""

    first: int
    end: int


def wanted_part(
    header: str | None, *, if_range: str | None, size: int, etag: str, modified: str
) -> Part | None:
    """Return the part that ``Range`` asks for, None for the whole.

    ``if_range`` must be the file's own ``ETag`` or ``Last-Modified``, else it is the whole.

    Raises:
        Unsatisfiable: there is nothing there.
    """
    if header is None or (if_range is not None and if_range.strip() not in (etag, modified)):
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        begin = max(size - int(last), 0)
        if begin == size:
            raise Unsatisfiable
        return Part(begin, size)
    begin, end = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < begin:
        return None  # invalid, so it is not there
    if begin >= size:
        raise Unsatisfiable
    return Part(begin, end)
