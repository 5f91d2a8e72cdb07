"""The results as PNG: cost over rate, bars of each scenario, latencies as curves, and growth."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import BY_KEY
from bench.histogram import curve
from bench.peers import ALL as PEERS
from bench.peers import OURS
from bench.results import Results
from bench.scenarios import ALL as SCENARIOS
from bench.scenarios.fanout import RATES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OURS_COLOUR: Final = "#d62728"
_PEERS_COLOUR: Final = "#4c72b0"
_SIZE_INCHES: Final = (9.0, 5.0)
_DOTS_PER_INCH: Final = 110
_REST_MIN: Final = 1e-5


def draw(results: Results) -> list[Path]:
    """Write the plots beside the results and return their paths; nothing where matplotlib is missing."""
    try:
        import matplotlib as mpl  # noqa: PLC0415
    except ModuleNotFoundError:
        return []
    mpl.use("agg")
    drawn = [_costs_over_rates(results)]
    for scenario in SCENARIOS:
        if scenario.name not in results.scenarios():
            continue
        drawn.append(_bars(results, scenario.name, scenario.title, scenario.headline[0]))
        drawn += [
            _latencies(results, scenario.name, scenario.title, of) for of in ("delivery", "ack")
        ]
    drawn.append(_growth(results))
    return [path for path in drawn if path is not None]


def _plot(path: Path, title: str, fill: Callable[["Axes"], None]) -> Path:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.25)
    fill(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path


def _colour(peer: str) -> str | None:
    return _OURS_COLOUR if peer.startswith(OURS) else None


def _costs_over_rates(results: Results) -> Path | None:
    lines: dict[str, list[tuple[float, float]]] = {}
    for peer in (peer.name for peer in PEERS):
        points = [
            (float(rate), found.median)
            for rate in RATES
            if (found := results.spread(f"fanout-100-at-{rate}", peer, "cpu_us_per_delivery"))
        ]
        if len(points) > 1:
            lines[peer] = points
    if not lines:
        return None

    def fill(axes: "Axes") -> None:
        for peer, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=peer, color=_colour(peer))
        axes.set(xscale="log", yscale="log", xlabel="messages/s into a group of 100")
        axes.set_ylabel("µs of the server's CPU per delivery")
        axes.legend()

    return _plot(results.folder / "cost-over-rate.png", "What a delivery costs", fill)


def _bars(results: Results, name: str, title: str, key: str) -> Path | None:
    found = {
        peer.name: spread
        for peer in PEERS
        if (spread := results.spread(name, peer.name, key)) is not None
    }
    if len(found) < 2:
        return None

    def fill(axes: "Axes") -> None:
        peers = list(found)[::-1]
        medians = [found[peer].median for peer in peers]
        low = [found[peer].median - found[peer].least for peer in peers]
        high = [found[peer].most - found[peer].median for peer in peers]
        colours = [_colour(peer) or _PEERS_COLOUR for peer in peers]
        axes.barh(peers, medians, xerr=(low, high), color=colours)
        axes.set_xlabel(f"{BY_KEY[key].unit}; {BY_KEY[key].better} is better")

    return _plot(results.folder / f"{name}.png", title, fill)


def _latencies(results: Results, name: str, title: str, of: str) -> Path | None:
    histograms = results.latencies(name, of)
    if not histograms:
        return None

    def fill(axes: "Axes") -> None:
        for peer, buckets in histograms.items():
            points = [(ms, rest) for ms, rest in curve(buckets) if rest >= _REST_MIN]
            if points:
                axes.plot(*zip(*points, strict=True), label=peer, color=_colour(peer))
        axes.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share that took longer")
        axes.legend()

    return _plot(results.folder / f"{name}-{of}-latency.png", f"{title}: {of}", fill)


def _growth(results: Results) -> Path | None:
    curves = {
        f"{run.peer}, {run.scenario}": run.findings.curve
        for name in ("growth-log", "growth-log-short")
        for run in results.runs(name)
        if not run.void
    }
    if not curves:
        return None

    def fill(axes: "Axes") -> None:
        for label, points in curves.items():
            axes.plot(
                [point["events"] for point in points],
                [point["cpu_us_per_send"] for point in points],
                marker="o",
                label=label,
            )
        axes.set(xscale="log", xlabel="events in the log", ylabel="µs of CPU per send")
        axes.set_ylim(bottom=0)
        axes.legend()

    return _plot(results.folder / "growth-log.png", "What a send costs as the log grows", fill)
