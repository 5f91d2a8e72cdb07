"""From what was counted to the figures of a run, and whether the run counts.

Nothing is smoothed here: one run, one set of figures.
"""

from collections.abc import Callable
from typing import Final, Literal

from msgspec import Struct

from bench.histogram import percentile_ms
from bench.task import Findings, Task

GENERATOR_SHARE_MAX: Final = 0.7
OTHERS_SHARE_MAX: Final = 0.1
LAG_P99_MS_MAX: Final = 5.0
ACHIEVED_MIN: Final = 0.99


class Figure(Struct, frozen=True):
    """A figure, in words, and which way is better."""

    key: str
    unit: str
    better: Literal["more", "less"]


_ALL: Final = (
    Figure("sends_per_s", "acked sends/s", "more"),
    Figure("deliveries_per_s", "deliveries/s", "more"),
    Figure("cpu_us_per_delivery", "µs CPU per delivery", "less"),
    Figure("cpu_us_per_send", "µs CPU per send", "less"),
    Figure("accepts_per_s", "handshakes/s", "more"),
    Figure("kib_per_connection", "KiB per connection", "less"),
    Figure("events_per_s", "events/s", "more"),
    Figure("cpu_us_per_event", "µs CPU per event", "less"),
    Figure("p50_ms", "p50 ms", "less"),
    Figure("p99_ms", "p99 ms", "less"),
    Figure("p999_ms", "p99.9 ms", "less"),
    Figure("idle_core", "% of a core, idle", "less"),
    Figure("signals_skipped", "signals overtaken by a newer one", "less"),
    Figure("sends_per_cpu_s", "acked sends per CPU second", "more"),
    Figure("cpu_us_nodes", "µs CPU of the nodes per send", "less"),
    Figure("cpu_us_mongod", "µs CPU of all mongods per send", "less"),
    Figure("cpu_us_primary", "µs CPU of the primary per send", "less"),
    Figure("cpu_us_redis", "µs CPU of Redis per send", "less"),
    Figure("cpu_us_per_hint", "µs CPU of Redis per hint", "less"),
    Figure("hints_per_send", "hints per send", "less"),
    Figure("batch", "events per commit", "more"),
    Figure("commit_ms", "ms a commit", "less"),
    Figure("ack_p50_ms", "p50 ms to the answer", "less"),
    Figure("ack_p99_ms", "p99 ms to the answer", "less"),
    Figure("within_p50_ms", "p50 ms within a node", "less"),
    Figure("within_p99_ms", "p99 ms within a node", "less"),
    Figure("across_p50_ms", "p50 ms across nodes", "less"),
    Figure("across_p99_ms", "p99 ms across nodes", "less"),
    Figure("generator_core", "% generator", "less"),
)
BY_KEY: Final = {figure.key: figure for figure in _ALL}


def figures_of(task: Task, found: Findings) -> dict[str, float]:
    """Return the figures of a run that counts."""
    figures = _OF_LOAD[task.load](found)
    return {**figures, "generator_core": found.generator_cpu_s / found.seconds * 100}


def _latencies(found: Findings, of: str) -> dict[str, float]:
    buckets = found.histograms.get(of) or []
    if not buckets:
        return {}
    return {
        "p50_ms": percentile_ms(buckets, 50),
        "p99_ms": percentile_ms(buckets, 99),
        "p999_ms": percentile_ms(buckets, 99.9),
    }


def _delivered(found: Findings) -> dict[str, float]:
    deliveries = found.counts["delivered"]
    return {
        "deliveries_per_s": deliveries / found.seconds,
        "cpu_us_per_delivery": found.server_cpu_s / deliveries * 1e6,
        **_latencies(found, "delivery"),
        **{key: found.counts[key] for key in ("signals_skipped",) if key in found.counts},
    }


def _answered(found: Findings) -> dict[str, float]:
    answered = found.counts["answered"]
    return {
        "sends_per_s": answered / found.seconds,
        "cpu_us_per_send": found.server_cpu_s / answered * 1e6,
        **_latencies(found, "ack"),
    }


def _spread(found: Findings) -> dict[str, float]:
    answered, delivered = found.counts["answered"], found.counts["delivered"]
    figures = {
        "sends_per_s": answered / found.seconds,
        "cpu_us_per_send": found.server_cpu_s / answered * 1e6,
        "sends_per_cpu_s": answered / found.server_cpu_s,
        **{f"cpu_us_{part}": s / answered * 1e6 for part, s in found.parts_cpu_s.items()},
    }
    if "primary" in found.parts_cpu_s:
        figures["cpu_us_mongod"] = figures["cpu_us_primary"] + figures["cpu_us_secondaries"]
    if delivered:
        figures["deliveries_per_s"] = delivered / found.seconds
        figures["cpu_us_per_delivery"] = found.server_cpu_s / delivered * 1e6
    for of in ("ack", "within", "across"):
        buckets = found.histograms.get(of) or []
        if buckets:
            figures[f"{of}_p50_ms"] = percentile_ms(buckets, 50)
            figures[f"{of}_p99_ms"] = percentile_ms(buckets, 99)
    return figures | _counted(found)


def _counted(found: Findings) -> dict[str, float]:
    """Return what follows from the nodes' own counts, which go from their start to the end of the run."""
    counts = found.counts
    if not counts.get("commits"):
        return {}
    hints_per_send = counts["hints"] / counts["ever_sent"]
    hints = counts["answered"] * hints_per_send
    return {
        "hints_per_send": hints_per_send,
        "hints_in_per_send": counts["hints_received"] / counts["ever_sent"],
        "cpu_us_per_hint": found.parts_cpu_s["redis"] / hints * 1e6,
        "batch": counts["committed"] / counts["commits"],
        "commit_ms": counts["commit_s"] / counts["commits"] * 1e3,
        "event_bytes": counts["events_bytes"] / counts["events_kept"],
        "hint_bytes": counts["redis_in_bytes"] / counts["redis_publishes"],
    }


def _idle(found: Findings) -> dict[str, float]:
    connections = found.counts["connections"]
    return {
        "accepts_per_s": connections / found.seconds,
        "kib_per_connection": found.counts["bytes"] / connections / 1024,
        "idle_core": found.counts["idle_cpu_s"] / found.counts["idle_seconds"] * 100,
    }


def _caught_up(found: Findings) -> dict[str, float]:
    events = found.counts["delivered"]
    return {
        "events_per_s": events / found.seconds,
        "cpu_us_per_event": found.server_cpu_s / events * 1e6,
    }


_OF_LOAD: Final[dict[str, Callable[[Findings], dict[str, float]]]] = {
    "fanout": _delivered,
    "spread": _spread,
    "direct": _delivered,
    "mixed": _delivered,
    "sends": _answered,
    "growth": _answered,
    "idle": _idle,
    "catchup": _caught_up,
}


def fault_of(task: Task, found: Findings) -> str:
    """Return why a run counts for nothing; empty if it counts."""
    if found.void:
        return found.void
    share = found.generator_cpu_s / found.seconds
    if share > GENERATOR_SHARE_MAX:
        return f"the generator used {share:.0%} of its core and may have been the limit"
    lag_ms = percentile_ms(found.histograms.get("lag") or [], 99)
    if lag_ms > LAG_P99_MS_MAX:
        return f"the generator sent {lag_ms:.1f} ms late (p99)"
    if not any(found.counts.get(key) for key in ("delivered", "answered", "connections")):
        return "nothing happened in the measured window"
    return ""


def is_behind(task: Task, found: Findings) -> bool:
    """Tell whether less was delivered in the window than was offered."""
    if not task.rate or task.stall_seconds:
        return False
    offered = task.rate * found.seconds * (task.members or 1)
    return found.counts.get("durable", 0.0) < ACHIEVED_MIN * offered - task.members


def doubts_of(found: Findings) -> list[str]:
    """Return what may have disturbed a run."""
    busy_s = found.machine_cpu_s - found.server_cpu_s - found.generator_cpu_s
    doubts = []
    if busy_s > OTHERS_SHARE_MAX * found.seconds:
        doubts.append(f"other processes used {busy_s / found.seconds:.0%} of a core")
    if found.steal_cpu_s > OTHERS_SHARE_MAX * found.seconds:
        doubts.append(f"the host took away {found.steal_cpu_s / found.seconds:.0%} of a core")
    return doubts
