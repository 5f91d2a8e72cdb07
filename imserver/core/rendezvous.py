"""Rendezvous hashing: who of several should do something, agreed upon without a word.

Everybody who knows the same names comes to the same answer. Each name is the answer for its share of the
keys, give or take chance; when one goes, only its keys move, evenly to all others, and one that comes takes
its share evenly from all.

Source of the idea: D. Thaler and C. Ravishankar, "Using name-based mappings to increase hit rates",
IEEE/ACM Transactions on Networking 6(1), 1998, as highest random weight (HRW).
"""

from collections.abc import Iterable
from hashlib import blake2b

_WEIGHT_BYTES = 8


def preferred(key: str, names: Iterable[str]) -> str:
    """Return the name that weighs most for ``key``; the order of ``names`` does not matter.

    Raises:
        ValueError: there is no name.
    """
    return max(names, key=lambda name: (_weight(key, name), name))


def _weight(key: str, name: str) -> bytes:
    # A length first, so that no other pair of a name and a key has the same text.
    text = f"{len(name)}:{name}{key}".encode()
    return blake2b(text, digest_size=_WEIGHT_BYTES).digest()
