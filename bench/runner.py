"""One run: a server started for it alone on the first core, the load generator on the last, its findings."""

import os
import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from bench.cluster_server import Running
from bench.figures import fault_of, figures_of, is_behind
from bench.generator import generate
from bench.peers.peer import Peer
from bench.process import Place, ServerFailed
from bench.results import Run
from bench.scenario import Scenario
from bench.task import Findings, Order, Task

_FILES_MAX: Final = 20_000


def allow_many_files() -> None:
    """Raise this process's limit of open files, which those it starts inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _FILES_MAX if hard == resource.RLIM_INFINITY else min(_FILES_MAX, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


class Runner:
    """Runs scenarios. ``nice``: by how much server and generator go before others, as root."""

    def __init__(self, parent: Path, *, nice: int, seconds: float | None) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._server_place: Final = Place(cores[0], nice)
        self._generator_place: Final = Place(cores[-1], nice)
        self._parent: Final = parent
        self._seconds: Final = seconds

    def run(self, scenario: Scenario, peer: Peer, number: int) -> Run:
        """Run a scenario against one peer; whatever goes wrong makes the run void, and no more than that."""
        task = scenario.task_for(peer, self._seconds)
        with tempfile.TemporaryDirectory(
            prefix="run-", dir=self._parent, ignore_cleanup_errors=True
        ) as directory:
            try:
                found = self._measure(task, peer, Path(directory))
            except ServerFailed as exc:
                found = Findings(void=f"the server failed: {exc}")
            except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as exc:
                found = Findings(void=f"the run failed: {type(exc).__name__}: {exc}")
        void = fault_of(task, found)
        if self._server_place.core == self._generator_place.core:
            void = void or "server and generator share the only core"
        return Run(
            scenario=scenario.name,
            peer=peer.name,
            round=number,
            task=task,
            findings=found,
            figures={} if void else figures_of(task, found),
            behind=found.behind or is_behind(task, found),
            void=void,
        )

    def _measure(self, task: Task, peer: Peer, directory: Path) -> Findings:
        with peer.start(directory, self._server_place) as server:
            found = generate(task, order_for(peer, server, task), self._generator_place)
            if found.void:
                found.void += f" (the server's log ends: {server.log[-300:]!r})"
            else:
                found.counts |= server.tally()
        return found


def order_for(peer: Peer, server: Running, task: Task) -> Order:
    """Return what the load generator has to know to carry out a task against a server that was started."""
    return Order(
        dialect=peer.dialect,
        port=server.port,
        server_pid=server.pid,
        options=peer.options,
        tokens=peer.tokens(server, task.names()),
        ports=list(server.ports),
        parts={part: list(pids) for part, pids in server.parts.items()},
    )
