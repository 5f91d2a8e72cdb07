"""Everybody agrees on who does what, and little moves when somebody comes or goes."""

import random
from collections import Counter

import pytest

from imserver.core.rendezvous import preferred

NODES = [f"node-{number:08x}" for number in range(0, 5_000, 1_000)]
KEYS = [f"g/group-{number}" for number in range(5_000)]


def choices(nodes: list[str]) -> dict[str, str]:
    return {key: preferred(key, nodes) for key in KEYS}


def test_the_order_of_the_names_does_not_matter(rng: random.Random) -> None:
    mixed = rng.sample(NODES, len(NODES))
    assert choices(mixed) == choices(NODES)


def test_each_has_its_share() -> None:
    shares = Counter(choices(NODES).values())
    assert set(shares) == set(NODES)
    assert all(800 < share < 1_200 for share in shares.values()), shares


def test_when_one_goes_only_its_keys_move_and_to_all_others() -> None:
    before, after = choices(NODES), choices(NODES[1:])
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == NODES[0]}
    heirs = Counter(after[key] for key in moved)
    assert set(heirs) == set(NODES[1:])
    assert max(heirs.values()) < 2 * min(heirs.values())


def test_when_one_comes_it_takes_its_share_and_nothing_else_moves() -> None:
    before, after = choices(NODES), choices([*NODES, "node-new"])
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} == {"node-new"}
    assert 650 < len(moved) < 1_000, "a sixth, or so"


def test_nodes_of_all_versions_come_to_the_same_answer() -> None:
    """What a version that is in use answers may never change: half of a cluster would disagree."""
    assert [preferred(f"g/{name}", NODES) for name in ("a", "b", "c", "dock")] == PINNED


PINNED = ["node-00000000", "node-00000bb8", "node-00000fa0", "node-00000000"]


def test_one_alone_is_always_preferred_and_nobody_never() -> None:
    assert preferred("g/a", ["only"]) == "only"
    with pytest.raises(ValueError, match="empty"):
        preferred("g/a", [])
