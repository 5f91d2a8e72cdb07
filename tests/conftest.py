"""What all tests share: seeded randomness, and strictness about the event loop in unit tests."""

import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests import processor
from tests.mongo_server import MongoSet

_SEED = pytest.StashKey[int]()
BLOCKED_LOOP_S = 2.0
"""How long one step of the loop may take in a unit test, beside what the process waited for a processor."""

_UNIT_TESTS = Path(__file__).parent / "unit"

hypothesis.settings.register_profile("imserver", deadline=None, print_blob=True)
hypothesis.settings.load_profile("imserver")


ENGINES_SHARED = ("tests/contract",)
"""Folders whose tests share a server that is slow to start: they stay in one process."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the scenarios of tests/e2e on a cluster, if asked for."""
    parser.addoption(
        "--cluster",
        action="store_true",
        help="let the scenarios of tests/e2e take place on three nodes instead of one",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed of the run; where several processes share the work, all have the same.

    And have the programs that tests start hear of Ctrl-C, however the run itself was started.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job ignores Ctrl-C, and so would every program that a test starts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    given = os.environ.get("IMSERVER_TEST_SEED") or secrets.randbits(32)
    config.stash[_SEED] = int(getattr(config, "workerinput", {}).get("seed", given))


def pytest_configure_node(node: WorkerController) -> None:
    """Tell a process that shares the work the seed."""
    node.workerinput["seed"] = node.config.stash[_SEED]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Keep the tests of a file in one process, since they share servers."""
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):  # type: ignore[misc,unused-ignore]
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((folder for folder in ENGINES_SHARED if path.startswith(folder)), path)


def pytest_report_header(config: pytest.Config) -> str:
    seed = config.stash[_SEED]
    return f"random seed: {seed} (repeat with IMSERVER_TEST_SEED={seed})"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of the run, for those who pass it on to other programs."""
    return request.config.stash[_SEED]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Randomness of this test's own: the same for the same seed, whichever tests run beside it."""
    return random.Random(f"{request.config.stash[_SEED]} {request.node.nodeid}")


@pytest.fixture(scope="session")
def mongo_set() -> Iterator[MongoSet]:
    """A MongoDB replica set of one member, for all tests of a run; each takes a database of its own."""
    servers = MongoSet().start()
    yield servers
    servers.stop()


@pytest.fixture(autouse=True)
def _blocked_loop_fails(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a unit test in which one step blocked the event loop."""
    if not _is_unit_test(request.node):
        yield
        return
    slow: list[str] = []
    monkeypatch.setattr(asyncio.Handle, "_run", _watched(asyncio.Handle._run, slow))
    yield
    if slow:
        pytest.fail("blocked the event loop: " + "; ".join(slow))


def _watched(run: Callable[[asyncio.Handle], None], slow: list[str]) -> Any:
    """Return what runs a step of a loop, and notes it where it took too long.

    asyncio's debug mode can tell, too, but it makes every step several times as long.
    """
    clock, used, waited_at_first_s = time.monotonic, processor.used_by_this_thread, _waited_s()

    def watched(step: asyncio.Handle) -> None:
        began_s, before = clock(), used()
        run(step)
        took_s = clock() - began_s
        if took_s > BLOCKED_LOOP_S:
            did = before.until(used())
            others_s = did.computed_s + _waited_s() - waited_at_first_s
            slept_s = took_s - others_s if did.has_slept_by_itself else 0.0
            if max(did.computed_s, slept_s) > BLOCKED_LOOP_S:
                slow.append(f"{step!r} took {took_s:.1f} s")

    return watched


def _waited_s() -> float:
    return processor.waited_s(os.getpid(), only_main=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let every event loop that a unit test makes by itself be in debug mode."""
    if _is_unit_test(item):
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    else:
        os.environ.pop("PYTHONASYNCIODEBUG", None)


def _is_unit_test(item: pytest.Item) -> bool:
    return item.path.is_relative_to(_UNIT_TESTS)
