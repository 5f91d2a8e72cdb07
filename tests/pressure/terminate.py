"""SIGTERM in the middle of full load: what was accepted is stored and answered, once, and nothing else is.

Every robot keeps many sends in flight, so that the signal always finds some in every place: in a socket,
waiting for the store, in a commit, answered but not yet written. What was answered is compared with what
stands in the store the moment the process is gone, before anybody asks again: each stored event was answered,
and each answer is stored. Then the server comes back, the robots ask again for what stayed unknown, and the
verifier judges their histories with the store.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from imserver.verify import HistoryWriter, read_data_directory, verify
from tests.e2e.server_process import ServerProcess
from tests.pressure.findings import Findings
from tests.pressure.line import PATIENCE_S
from tests.pressure.site import Site
from tests.pressure.witness import Witness

EXIT_MAX_S: Final = 12.0
GROUP_OF: Final = 5


class Terminate(Struct, frozen=True):
    """The run; in full by default.

    Attributes:
        load: how many sends are answered, at the least, before the signal comes.
    """

    rounds: int = 10
    robots: int = 20
    in_flight: int = 50
    load: int = 10_000
    seed: int = 1

    def run(self, folder: Path) -> Findings:
        """Load, terminate, judge, start again: as many rounds as asked for."""
        found = Findings()
        with ExitStack() as stack:
            site = stack.enter_context(Site.open(folder))
            owner = site.line("owner", auto=False)
            crew = []
            for number in range(self.robots):
                if number % GROUP_OF == 0:
                    members = [f"r{number + other}" for other in range(GROUP_OF)]
                    for member in members:
                        site.line(member).close()
                    conv = site.group(owner, f"group{number}", *members)
                history = stack.enter_context(HistoryWriter(folder / f"r{number}.jsonl"))
                crew.append(Witness(f"r{number}", conv, history, in_flight=self.in_flight))
            owner.close()
            took_s = asyncio.run(self._play(site.server, crew, found))
            site.server.stop()
            histories = sorted(folder.glob("r*.jsonl"))
            stack.pop_all().close()
        report = verify(histories, read_data_directory(site.server.data))
        found.expect(report.clean, f"the verifier found violated: {sorted(report.violated())}")
        acked = sum(len(witness.acked) for witness in crew)
        found.show(
            {
                "rounds, robots × sends in flight": f"{self.rounds}, {self.robots} × {self.in_flight}",
                "acked sends": f"{acked:,}",
                "seconds to exit, the longest": f"{max(took_s):.2f}",
            }
        )
        found.aim(max(took_s) < EXIT_MAX_S, f"the server took {max(took_s):.1f} s to exit")
        return found

    async def _play(
        self, server: ServerProcess, crew: list[Witness], found: Findings
    ) -> list[float]:
        dice, took_s = random.Random(self.seed), []
        tokens = {witness.name: server.token(witness.name) for witness in crew}
        for witness in crew:
            await witness.connect(server.port, tokens[witness.name])
        for _ in range(self.rounds):
            goal = _acked(crew) + self.load // self.rounds + dice.randrange(200)
            for witness in crew:
                witness.begin()
            await _until(partial(_has_acked, crew, goal), "the load")
            server.terminate()
            began = time.monotonic()
            for witness in crew:
                await asyncio.wait_for(witness.closed.wait(), PATIENCE_S)
            status = await asyncio.to_thread(server.wait_stopped)
            took_s.append(time.monotonic() - began)
            found.expect(status == 0, f"the exit status was {status}")
            _compare(server, crew, found)
            server.start()
            await self._settle(server, crew, tokens)
        for witness in crew:
            witness.end()
        return took_s

    async def _settle(
        self, server: ServerProcess, crew: list[Witness], tokens: dict[str, str]
    ) -> None:
        """Bring every robot back, ask for what is unknown, and wait until all have all."""
        for witness in crew:
            await witness.connect(server.port, tokens[witness.name])
            witness.ask_again()
        await _until(lambda: not any(witness.waits for witness in crew), "the answers")
        assert not any(witness.unknown for witness in crew), "an idle server takes every send"
        await _until(lambda: _is_level(crew), "the delivery of everything")


def _acked(crew: list[Witness]) -> int:
    return sum(len(witness.acked) for witness in crew)


def _has_acked(crew: list[Witness], goal: int) -> bool:
    return _acked(crew) >= goal


def _is_level(crew: list[Witness]) -> bool:
    """Tell whether the members of each group have its creation and all that was acked."""
    for start in range(0, len(crew), GROUP_OF):
        group = crew[start : start + GROUP_OF]
        if any(witness.seq < 1 + _acked(group) for witness in group):
            return False
    return True


def _compare(server: ServerProcess, crew: list[Witness], found: Findings) -> None:
    """Hold what was answered against what is stored, before anybody asks again."""
    stored = {
        (entry.sender, entry.cid)
        for log in read_data_directory(server.data)
        for entry in log.entries.values()
        if entry.sender != "owner"
    }
    acked = {(witness.name, cid) for witness in crew for cid in witness.acked}
    found.expect(not acked - stored, f"answered and not stored: {len(acked - stored)}")
    found.expect(not stored - acked, f"stored and not answered: {len(stored - acked)}")
    for witness in crew:
        found.expect(witness.goodbye is not None, f"{witness.name} was not told `bye`")
        for problem in witness.problems:
            found.expect(None, problem)


async def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {PATIENCE_S:g} s")
        await asyncio.sleep(0.005)
