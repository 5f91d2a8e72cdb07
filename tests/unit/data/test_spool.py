"""The spool: acts wait in it until somebody has them, whoever is killed meanwhile."""

import fcntl
import multiprocessing
from collections.abc import Sequence

import pytest

from imserver.core.acts import Act, ActKind, TokenEnded
from imserver.core.errors import DataDirectoryUnusable, StoreUnavailable
from imserver.data.spool import SPOOL_BYTES_MAX, ActSpool


def act(name):
    facts = {"n": 1, "of": ["x\n", "ü"]}
    return Act(name, 5, "cli:me", ActKind.REVOKED, None, "t", facts, TokenEnded(9))


class Taker:
    """Takes what is handed over, or fails at it."""

    def __init__(self, fails=None):
        self.acts = []
        self.fails = fails

    async def __call__(self, acts: Sequence[Act]) -> None:
        self.acts += acts
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.jsonl"


async def test_acts_are_handed_over_in_order_and_once(path):
    spool, taker = ActSpool(path), Taker()
    assert spool.is_empty
    await spool.hand_over(taker)
    spool.append([act("a"), act("b")])
    spool.append([act("c")])
    assert not spool.is_empty
    await spool.hand_over(taker)
    await spool.hand_over(taker)
    assert taker.acts == [act("a"), act("b"), act("c")]
    assert spool.is_empty


async def test_what_could_not_be_taken_waits_on(path):
    spool = ActSpool(path)
    spool.append([act("a")])
    with pytest.raises(StoreUnavailable):
        await spool.hand_over(Taker(StoreUnavailable("not now")))
    taker = Taker()
    await spool.hand_over(taker)
    assert taker.acts == [act("a")]


async def test_a_line_that_was_cut_off_spoils_no_other(path, caplog):
    spool, taker = ActSpool(path), Taker()
    spool.append([act("a")])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    spool.append([act("b")])
    await spool.hand_over(taker)
    assert taker.acts == [act("a"), act("b")]
    assert "spool.line_dropped" in caplog.messages


async def test_nobody_waits_for_who_writes(path):
    spool, taker = ActSpool(path), Taker()
    spool.append([act("a")])
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await spool.hand_over(taker)
        assert taker.acts == []
    await spool.hand_over(taker)
    assert taker.acts == [act("a")]


def _append(path, name):
    for number in range(50):
        ActSpool(path).append([act(f"{name}-{number}")])


async def test_processes_that_write_at_once_lose_nothing(path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    spool, taker = ActSpool(path), Taker()
    while any(writer.is_alive() for writer in writers):
        await spool.hand_over(taker)
    for writer in writers:
        writer.join()
    await spool.hand_over(taker)
    for name in "abc":
        mine = [one.id for one in taker.acts if one.id.startswith(name)]
        assert mine == [f"{name}-{number}" for number in range(50)]


def test_a_spool_that_nobody_empties_takes_no_more_at_some_size(path):
    with path.open("wb") as file:
        file.truncate(SPOOL_BYTES_MAX)
    with pytest.raises(DataDirectoryUnusable, match="start one"):
        ActSpool(path).append([act("a")])


def test_only_its_owner_reads_it(path):
    ActSpool(path).append([act("a")])
    assert path.stat().st_mode & 0o077 == 0
