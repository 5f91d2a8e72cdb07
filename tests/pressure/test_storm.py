"""A small storm, on every run; `make storm` raises the one of thousands."""

from pathlib import Path

import pytest

from tests.e2e.server_process import ServerProcess
from tests.pressure.storm import Shape, Storm

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


async def test_everybody_is_level_again_when_all_come_back_at_once_after_a_kill(
    tmp_path: Path,
) -> None:
    # So little patience that some are turned away and told when to come.
    server = ServerProcess(tmp_path / "data", arguments=("--set", "access.admission_wait_s=0.01"))
    shape = Shape(robots=200, team=50, missed=5, calm_s=0.2)
    try:
        found = await Storm(shape, server).raise_()
    finally:
        if server.running:
            server.kill()
    assert not found.broken, str(found)
