"""The costs that the model is made of, fitted to what a bench has measured.

Every run is one equation for each part of the cluster: what it used in a second is the sum of what it was
asked to do, each times what that costs. The costs are the least squares of the relative errors with none
below zero, so a run at a trickle counts as much as one flat out.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from bench.results import Results

CLUSTERS: Final = {"imserver, 1 node": 1, "imserver, 2 nodes": 2, "imserver, 3 nodes": 3}
LARGEST: Final = "imserver, 3 nodes"
HELD_OUT: Final = 2
"""So many nodes are not fitted to, only compared with."""

_ROUNDS: Final = 20_000
_STILL: Final = 1e-9


class Work(Struct, frozen=True):
    """What a cluster is asked to do in a second.

    Attributes:
        events: stored.
        commits: batches in which they are.
        deliveries: events handed to members.
        hints_in: hints that nodes receive from others.
        hints_out: hints that nodes publish.
    """

    nodes: float
    events: float
    commits: float
    deliveries: float
    hints_out: float
    hints_in: float


class Costs(Struct, frozen=True):
    """What things cost: CPU by part and kind, in microseconds; what is idle, in microseconds a second.

    Attributes:
        event_bytes: what an event takes on one member's disk, indexes included.
        hint_bytes: what Redis is sent for a hint.
        commit_ms: how long a commit takes at a moderate load.
    """

    nodes: dict[str, float]
    primary: dict[str, float]
    secondaries: dict[str, float]
    redis: dict[str, float]
    event_bytes: float
    hint_bytes: float
    commit_ms: float


PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "nodes": ("nodes", "events", "commits", "deliveries", "hints_in"),
    "primary": ("idle", "events", "commits"),
    "secondaries": ("idle", "events", "commits"),
    "redis": ("idle", "hints_out", "hints_in"),
}
"""What each part's use of CPU depends on. ``nodes`` is what a node uses while it does nothing."""


class Observation(Struct, frozen=True):
    """A run: what was asked, and the CPU that it took, in microseconds a second, by part."""

    scenario: str
    nodes: int
    work: Work
    used: dict[str, float]


def observations(results: Results) -> list[Observation]:
    """Return what was measured of our clusters, the medians over the rounds that count."""
    found = (
        _observation(results, scenario, peer, nodes)
        for scenario in sorted(results.scenarios())
        for peer, nodes in CLUSTERS.items()
    )
    return [one for one in found if one is not None]


def _observation(results: Results, scenario: str, peer: str, nodes: int) -> Observation | None:
    def median(figure: str) -> float:
        found = results.spread(scenario, peer, figure)
        return found.median if found else 0.0

    sends = median("sends_per_s")
    if not sends or not median("batch"):
        return None
    work = Work(
        nodes=nodes,
        events=sends,
        commits=sends / median("batch"),
        deliveries=median("deliveries_per_s"),
        hints_out=sends * median("hints_per_send"),
        hints_in=sends * median("hints_in_per_send"),
    )
    return Observation(
        scenario, nodes, work, {part: sends * median(f"cpu_us_{part}") for part in PARTS}
    )


def costs_of(results: Results) -> Costs:
    """Return the costs, fitted to the clusters of one and of three nodes: those of two are left to test them.

    Raises:
        ValueError: clusters were not measured.
    """
    seen = [one for one in observations(results) if one.nodes != HELD_OUT]
    if len(seen) < max(map(len, PARTS.values())):
        raise ValueError("too few runs of clusters count: make bench-cluster measures them")

    def median(scenario: str, figure: str) -> float:
        found = results.spread(scenario, LARGEST, figure)
        return found.median if found else 0.0

    return Costs(
        **{part: fitted(seen, part) for part in PARTS},
        event_bytes=median("cluster-sends", "event_bytes"),
        hint_bytes=median("cluster-fanout", "hint_bytes"),
        commit_ms=median("cluster-fanout", "commit_ms"),
    )


def used(cost: Mapping[str, float], work: Work) -> float:
    """Return what a part uses for some work, in microseconds of CPU a second."""
    return sum(us * _amount(work, kind) for kind, us in cost.items())


def _amount(work: Work, kind: str) -> float:
    amount: float = 1.0 if kind == "idle" else getattr(work, kind)
    return amount


def fitted(observations: Sequence[Observation], part: str) -> dict[str, float]:
    """Return what each thing costs a part."""
    kinds = PARTS[part]
    rows = [[_amount(one.work, kind) / one.used[part] for kind in kinds] for one in observations]
    return dict(zip(kinds, least_squares(rows, [1.0] * len(rows)), strict=True))


def least_squares(rows: Sequence[Sequence[float]], wanted: Sequence[float]) -> list[float]:
    """Return the factors, none below zero, with which the rows come closest to what is wanted.

    By descent along one factor at a time, which for this convex problem ends at the least.
    """
    count = len(rows[0])
    columns = [[row[index] for row in rows] for index in range(count)]
    norms = [sum(value * value for value in column) for column in columns]
    found = [0.0] * count
    rest = list(wanted)
    for _ in range(_ROUNDS):
        moved = 0.0
        for index, column in enumerate(columns):
            if not norms[index]:
                continue
            step = sum(a * b for a, b in zip(column, rest, strict=True)) / norms[index]
            step = max(step, -found[index])
            found[index] += step
            rest = [value - step * a for value, a in zip(rest, column, strict=True)]
            moved = max(moved, abs(step) * norms[index] ** 0.5)
        if moved < _STILL:
            break
    return found
