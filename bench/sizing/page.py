"""The section of docs/scaling.md that is made of figures: all of them measured, or computed from such."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from msgspec import structs

from bench.report import number
from bench.results import Results
from bench.sizing.costs import HELD_OUT, PARTS, Costs, costs_of, observations, used
from bench.sizing.model import (
    BUSY,
    MONGOD_CORES,
    US,
    Load,
    Need,
    need_of,
    nodes_of_a_group,
    sends_until,
)
from bench.sizing.simulation import checks

ROBOTS: Final = 1_000_000
GROUPS: Final = 100_000
_PERIODS_S: Final = (600, 60, 10)
_RARE_COMMIT_MS: Final = 100
_PRIMARY: Final = f"one replica set whose primary has {MONGOD_CORES} cores"
_MIB: Final = 1024 * 1024
Teller: TypeAlias = Callable[[Need], str]
_IDLE: Final = ("idle-1000", "imserver", "kib_per_connection")
_KINDS: Final = {
    "nodes": "idle, each node",
    "idle": "idle",
    "events": "an event",
    "commits": "a commit",
    "deliveries": "a delivery",
    "hints_in": "a hint received",
    "hints_out": "a hint published",
}


def section(results: Results) -> str:
    """Return the section.

    Raises:
        ValueError: clusters were not measured.
    """
    costs = costs_of(results)
    return "\n".join(
        (
            *_unit_costs(costs),
            *_against_nodes(results, costs),
            *_against_simulation(costs),
            *_million(results, costs),
            *_walls(results, costs),
        )
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _unit_costs(costs: Costs) -> Iterator[str]:
    yield from ("## What each thing costs", "")
    kinds = list(_KINDS)
    rows = []
    for part in PARTS:
        cost = getattr(costs, part)
        rows.append([part, *(number(cost[kind]) if kind in cost else "" for kind in kinds)])
    yield "Microseconds of CPU; what is idle, in microseconds a second."
    yield ""
    yield from _table(["", *_KINDS.values()], rows)
    yield ""
    yield (
        f"An event takes {number(costs.event_bytes)} bytes on each member's disk, a hint "
        f"{number(costs.hint_bytes)} bytes to Redis, a commit {number(costs.commit_ms)} ms."
    )


def _against_nodes(results: Results, costs: Costs) -> Iterator[str]:
    yield from ("", "## The model beside 1, 2 and 3 nodes", "")
    yield f"Cores used; the costs were fitted without the runs of {HELD_OUT} nodes."
    yield ""
    rows = []
    for one in observations(results):
        cells = [f"`{one.scenario}`", str(one.nodes), number(one.work.events)]
        for parts in (("nodes",), ("primary", "secondaries"), ("redis",)):
            modelled = sum(used(getattr(costs, part), one.work) for part in parts) / US
            measured = sum(one.used[part] for part in parts) / US
            cells.append(f"{modelled:.3f} / {measured:.3f} ({modelled / measured - 1:+.0%})")
        rows.append(cells)
    head = ("scenario", "nodes", "events/s", "nodes: model / measured", "mongods", "Redis")
    yield from _table(head, rows)


def _against_simulation(costs: Costs) -> Iterator[str]:
    yield from ("", "## The model beside a simulation", "")
    rows = [
        [one.what, number(one.modelled), number(one.simulated), f"{one.deviation:+.1%}"]
        for one in checks(costs.commit_ms / 1_000)
    ]
    yield from _table(("", "model", "simulation", "deviation"), rows)


def _million(results: Results, costs: Costs) -> Iterator[str]:
    yield from ("", f"## {ROBOTS:,} robots in {GROUPS:,} groups", "")
    yield (
        f"Nodes are of one core and Redis of one thread, both used up to {BUSY:.0%}; a mongod has "
        f"{MONGOD_CORES} cores."
    )
    yield ""
    needs = [_need(costs, period_s) for period_s in _PERIODS_S]
    yield from _table(
        ("each robot sends", *(f"every {period_s} s" for period_s in _PERIODS_S)),
        list(_million_rows(results, needs)),
    )


def _need(costs: Costs, period_s: int) -> Need | None:
    try:
        return need_of(Load(ROBOTS, GROUPS, 1 / period_s), costs)
    except ValueError:
        return None


def _million_rows(results: Results, needs: Sequence[Need | None]) -> Iterator[list[str]]:
    members = ROBOTS / GROUPS
    kib = results.spread(*_IDLE)

    def row(what: str, *values: str) -> list[str]:
        return [what, *values]

    def each(what: str, tell: Teller) -> list[str]:
        return row(what, *(tell(need) if need else "not carried" for need in needs))

    yield each("acked sends/s", lambda n: number(n.work.events))
    yield each("deliveries/s", lambda n: number(n.work.deliveries))
    yield each("nodes", lambda n: f"{n.nodes:,}")
    yield each("robots on each", lambda n: number(ROBOTS / n.nodes))
    if kib:
        yield each(
            "memory of its connections, MiB",
            lambda n: number(ROBOTS / n.nodes * kib.median / 1024),
        )
    yield each("nodes of a group", lambda n: number(nodes_of_a_group(members, n.nodes)))
    yield each("primaries, cores", lambda n: number(n.primary_cores))
    yield each("secondaries, cores", lambda n: number(n.secondary_cores))
    yield each("shards (replica sets of three)", lambda n: f"{n.shards:,}")
    yield each("log, MiB/s on each member of all shards", lambda n: number(n.log_bytes / _MIB))
    yield each("log, TiB a day, three copies", lambda n: number(n.log_bytes * 3 * 86_400 / 1024**4))
    yield each("Redis, cores", lambda n: number(n.redis_cores))
    yield each("Redis, MiB/s", lambda n: number(n.redis_bytes / _MIB))


def _walls(results: Results, costs: Costs) -> Iterator[str]:
    yield from ("", "## The first wall", "")
    yield "Acked sends/s at which one of each kind is used up, everything else growing along:"
    yield ""
    load = Load(ROBOTS, GROUPS, 1.0)
    rare = structs.replace(costs, commit_ms=_RARE_COMMIT_MS)
    rows = [
        (sends_until(costs, "redis", 1, load), "one Redis"),
        (sends_until(costs, "primary", MONGOD_CORES, load), _PRIMARY),
        (
            sends_until(rare, "primary", MONGOD_CORES, load),
            f"{_PRIMARY}, were commits of a node {_RARE_COMMIT_MS} ms apart",
        ),
    ]
    for peer, what in (
        ("imserver, 1 node", "one conversation, through one node"),
        ("imserver, 3 nodes", "one conversation, through three nodes at once"),
    ):
        found = results.spread("cluster-one-group", peer, "sends_per_s")
        if found:
            rows.append((found.median, f"{what}, measured with all on one core"))
    yield from _table(
        ("", "acked sends/s"), [[what, number(sends)] for sends, what in sorted(rows)]
    )
