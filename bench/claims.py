"""What imserver has to show: each a ratio of medians of one bench, or a bound of its own figure."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bench.peers import OURS
from bench.results import Results

NOT_RUN: Final = "was not measured"
_CHALLENGED: Final = "imserver, challenge"
_NATS: Final = "nats core"


class Verdict(NamedTuple):
    """A claim, what was found, and whether it holds; None: not measured."""

    claim: str
    found: str
    holds: bool | None


class Ratio(NamedTuple):
    """Our figure of a scenario is at least, or at most, so many times a peer's; ``ours`` says who we are."""

    scenario: str
    figure: str
    peer: str
    least: float | None = None
    most: float | None = None
    ours: str = OURS

    def judge(self, results: Results) -> Verdict:
        """Hold the medians against each other."""
        bound = (
            f"at least {self.least:g} ×" if self.least is not None else f"at most {self.most:g} ×"
        )
        who = "" if self.ours == OURS else f" ({self.ours})"
        claim = f"{self.scenario}: {self.figure} {bound} {self.peer}{who}"
        ours = results.spread(self.scenario, self.ours, self.figure)
        theirs = results.spread(self.scenario, self.peer, self.figure)
        if ours is None or theirs is None:
            return Verdict(claim, _why_not(results, self.scenario, (self.ours, self.peer)), None)
        ratio = ours.median / theirs.median
        rounds = _ratios(results, self.scenario, (self.ours, self.peer), self.figure)
        holds = ratio >= self.least if self.least is not None else ratio <= (self.most or 0)
        behind = [peer for peer in (self.ours, self.peer) if results.is_behind(self.scenario, peer)]
        note = f"; {' and '.join(behind)} fell behind" if behind else ""
        found = f"{ratio:.2f} ×{_span(rounds)} ({ours.median:.4g} to {theirs.median:.4g}{note})"
        return Verdict(claim, found, holds)


class Bound(NamedTuple):
    """A figure of ours within a bound."""

    scenario: str
    figure: str
    least: float | None = None
    most: float | None = None
    peer: str = OURS

    def judge(self, results: Results) -> Verdict:
        """Hold the median against the bound."""
        bound = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        claim = f"{self.scenario}: {self.figure} {bound} ({self.peer})"
        found = results.spread(self.scenario, self.peer, self.figure)
        if found is None:
            return Verdict(claim, _why_not(results, self.scenario, (self.peer,)), None)
        holds = (
            found.median >= self.least
            if self.least is not None
            else found.median <= (self.most or 0)
        )
        return Verdict(claim, f"{found.median:.4g} ({found.least:.4g} to {found.most:.4g})", holds)


class Within(NamedTuple):
    """A figure of ours no more than so much above a peer's."""

    scenario: str
    figure: str
    peer: str
    more: float

    def judge(self, results: Results) -> Verdict:
        """Hold the difference of the medians against the bound."""
        claim = f"{self.scenario}: {self.figure} within {self.more:g} of {self.peer}"
        ours = results.spread(self.scenario, OURS, self.figure)
        theirs = results.spread(self.scenario, self.peer, self.figure)
        if ours is None or theirs is None:
            return Verdict(claim, _why_not(results, self.scenario, (OURS, self.peer)), None)
        found = (
            f"{ours.median:.3g} ({ours.least:.3g} to {ours.most:.3g}) and "
            f"{theirs.median:.3g} ({theirs.least:.3g} to {theirs.most:.3g})"
        )
        return Verdict(claim, found, ours.median - theirs.median <= self.more)


class Growth(NamedTuple):
    """The cost of a send on a long log, against that on a short one of the same run."""

    scenario: str
    most: float

    def judge(self, results: Results) -> Verdict:
        """Hold the last point of the curve against the first."""
        runs = [run for run in results.runs(self.scenario, OURS) if not run.void]
        claim = (
            f"{self.scenario}: cost of a send on the longest log at most {self.most:g} × the first"
        )
        if not runs:
            return Verdict(claim, _why_not(results, self.scenario, (OURS,)), None)
        curve = runs[-1].findings.curve
        ratio = curve[-1]["cpu_us_per_send"] / curve[0]["cpu_us_per_send"]
        told = ", ".join(
            f"{point['events']:,.0f}: {point['cpu_us_per_send']:.1f} µs" for point in curve
        )
        return Verdict(claim, f"{ratio:.2f} × ({told})", ratio <= self.most)


class Agreement(NamedTuple):
    """The same server measured twice differs by no more than a share."""

    scenario: str
    figure: str
    most: float

    def judge(self, results: Results) -> Verdict:
        """Hold the medians against each other."""
        claim = (
            f"{self.scenario}: {self.figure} of two runs of the same server within {self.most:.0%}"
        )
        once = results.spread(self.scenario, OURS, self.figure)
        again = results.spread(self.scenario, "imserver, once more", self.figure)
        if once is None or again is None:
            return Verdict(claim, _why_not(results, self.scenario, (OURS,)), None)
        apart = abs(once.median - again.median) / min(once.median, again.median)
        return Verdict(
            claim,
            f"{once.median:.4g} and {again.median:.4g}: {apart:.1%} apart",
            apart <= self.most,
        )


def _ratios(
    results: Results, scenario: str, peers: tuple[str, str], figure: str
) -> Sequence[float]:
    """Return how many times the second one's figure the first one's is, round by round."""
    ours, theirs = (results.by_round(scenario, peer, figure) for peer in peers)
    return [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]


def _span(values: Sequence[float]) -> str:
    return f", by round {min(values):.2f} to {max(values):.2f}" if len(values) > 1 else ""


def _why_not(results: Results, scenario: str, peers: tuple[str, ...]) -> str:
    for peer in peers:
        runs = results.runs(scenario, peer)
        if not runs:
            return NOT_RUN
        if all(run.void for run in runs):
            return f"{peer} is void: {runs[-1].void[:120]}"
    return NOT_RUN


Claim = Ratio | Bound | Within | Growth | Agreement


def _all() -> Iterator[Claim]:
    flat = "fanout-100-flat-out"
    yield Ratio(flat, "deliveries_per_s", _NATS, least=1.2)
    yield Ratio(flat, "cpu_us_per_delivery", _NATS, most=0.8)
    for rate, most in ((5_000, 0.9), (2_000, 0.9), (200, 1.25), (50, 1.25)):
        yield Ratio(f"fanout-100-at-{rate}", "cpu_us_per_delivery", _NATS, most=most)
    yield Within("fanout-100-at-200", "p99_ms", _NATS, 2.0)
    for peer in ("centrifugo", "python-socketio", "websockets broadcast"):
        for scenario in (flat, "fanout-100-at-5000", "fanout-100-at-2000"):
            yield Ratio(scenario, "cpu_us_per_delivery", peer, most=0.5)
    sends = "sends-10x10"
    for peer, least in (
        ("jetstream, sync always", 5.0),
        ("rabbitmq classic", 2.0),
        ("rabbitmq quorum", 2.0),
        ("mosquitto qos 1", 3.0),
        ("mosquitto qos 1, saved", 3.0),
        ("redis streams, fsync always", 0.5),
    ):
        yield Ratio(sends, "sends_per_s", peer, least=least)
    yield Ratio(sends, "cpu_us_per_send", "jetstream", most=1.0)
    for count in (1_000, 10_000):
        yield Bound(f"idle-{count}", "kib_per_connection", most=8.0, peer=_CHALLENGED)
        yield Bound(f"idle-{count}", "accepts_per_s", least=1_000.0, peer=_CHALLENGED)
    for backlog in ("1x200000", "1x1000000"):
        yield Bound(f"catchup-{backlog}", "events_per_s", least=300_000.0)
        yield Ratio(f"catchup-{backlog}", "events_per_s", "jetstream", least=2.0)
    yield Growth("growth-log-short", 1.3)
    yield Growth("growth-log", 1.3)
    for seconds, least_ms in ((10, 400.0), (60, 400.0)):
        yield Bound(f"stall-{seconds}s", "p99_ms", least=least_ms)
    for sends in ("cluster-sends", "cluster-sends-10x10"):
        for peer in ("jetstream R3", "jetstream R3, sync always"):
            yield Ratio(sends, "sends_per_cpu_s", peer, least=1.0, ours="imserver, 3 nodes")
    yield Agreement("twice-at-2000", "cpu_us_per_delivery", 0.1)
    yield Agreement("twice-sends", "sends_per_s", 0.1)


ALL: Final[tuple[Claim, ...]] = tuple(_all())


def judged(results: Results, claims: tuple[Claim, ...] = ALL) -> list[Verdict]:
    """Return the verdicts on the claims whose scenarios were run."""
    return [claim.judge(results) for claim in claims if claim.scenario in results.scenarios()]
