"""Makes a failing input as small and plain as it can be while it still fails."""

from collections.abc import Callable, Iterator

from tests.fuzz.given import Input


def shrunk(given: Input, fails: Callable[[Input], bool], *, tries_max: int = 4_000) -> Input:
    """Return the smallest input found for which ``fails`` holds, as it does for ``given``."""
    tries = 0
    improved = True
    while improved:
        improved = False
        for candidate in _simpler(given):
            tries += 1
            if tries > tries_max:
                return given
            if fails(candidate):
                given, improved = candidate, True
                break
    return given


def _simpler(given: Input) -> Iterator[Input]:
    """Yield inputs that are simpler than this one, the boldest steps first."""
    variant, pieces = given
    for at in range(len(pieces)):
        yield Input(variant, pieces[:at] + pieces[at + 1 :])
    for at in range(len(pieces) - 1):
        yield Input(variant, (*pieces[:at], pieces[at] + pieces[at + 1], *pieces[at + 2 :]))
    for at, piece in enumerate(pieces):
        for simpler in _smaller_piece(piece):
            yield Input(variant, (*pieces[:at], simpler, *pieces[at + 1 :]))


def _smaller_piece(piece: bytes) -> Iterator[bytes]:
    size = len(piece)
    step = size
    while step:
        for start in range(0, size, step):
            yield piece[:start] + piece[start + step :]
        step //= 2
    for at, byte in enumerate(piece):
        for plain in (0x00, 0x61):
            if byte not in (0x00, 0x61):
                yield piece[:at] + bytes((plain,)) + piece[at + 1 :]
