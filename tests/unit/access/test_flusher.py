"""The flusher: writes once per tick, and pushes once per beat."""

import asyncio
from collections.abc import Callable

import pytest

from imserver.access import flusher as flusher_module
from imserver.access.flusher import BEAT_S_MIN, MANY, Flusher
from tests.until import PATIENCE_S, until

LONG_S = 3_600.0


class Tap:
    """Counts how often it was flushed."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.count = 0
        self.pushed_in = 0
        self._then = then

    def flush(self) -> None:
        self.count += 1
        if self._then is not None:
            self._then()


async def test_nothing_is_flushed_within_the_tick() -> None:
    flusher, tap = Flusher(beat_s_max=LONG_S), Tap()
    flusher.add(tap)
    assert tap.count == 0
    await asyncio.sleep(0)
    assert tap.count == 1


async def test_all_are_flushed_in_the_order_they_came_and_once() -> None:
    flusher, order = Flusher(beat_s_max=LONG_S), []
    taps = [Tap(lambda n=n: order.append(n)) for n in range(5)]  # type: ignore[misc]
    for tap in taps:
        flusher.add(tap)
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == [0, 1, 2, 3, 4]


async def test_what_is_queued_during_a_flush_waits_for_the_next_tick() -> None:
    flusher = Flusher(beat_s_max=LONG_S)
    second = Tap()
    first = Tap(lambda: flusher.add(second))
    flusher.add(first)
    await asyncio.sleep(0)
    assert (first.count, second.count) == (1, 0)
    await asyncio.sleep(0)
    assert (first.count, second.count) == (1, 1)


async def test_what_is_pushed_to_a_quiet_connection_goes_out_in_the_next_tick() -> None:
    flusher, tap = Flusher(beat_s_max=LONG_S), Tap()
    assert flusher.add_pushed(tap)
    await asyncio.sleep(0)
    assert tap.count == 1


async def test_what_is_pushed_in_the_same_beat_goes_out_together_with_the_next() -> None:
    flusher, tap = Flusher(beat_s_max=LONG_S), Tap()
    flusher.add_pushed(tap)
    await asyncio.sleep(0)
    assert not flusher.add_pushed(tap)
    await asyncio.sleep(0)
    assert tap.count == 1
    await until(lambda: tap.count == 2, step_s=0)
    assert not flusher.add_pushed(tap), "the write with the beat counts as one in that beat"


async def test_a_beat_in_which_nothing_was_pushed_is_the_last() -> None:
    flusher, tap = Flusher(beat_s_max=LONG_S), Tap()
    flusher.add_pushed(tap)
    await until(lambda: not flusher._is_beating, step_s=0)
    assert flusher.add_pushed(tap), "the connection was quiet"


async def test_a_beat_is_the_longer_the_more_it_writes_up_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flusher_module, "BEAT_S_EACH", LONG_S)
    held, short = Flusher(beat_s_max=LONG_S), Flusher(beat_s_max=0.001)
    taps = [Tap(), Tap()]
    for flusher, tap in zip((held, short), taps, strict=True):
        flusher.add_pushed(tap)
        await asyncio.sleep(0)
        flusher.add_pushed(tap)
    await until(lambda: taps[1].count == 2, step_s=0)
    assert taps[0].count == 1


async def test_a_beat_is_longer_where_writing_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0

    def write() -> None:
        nonlocal seconds
        seconds += 10.0

    monkeypatch.setattr(flusher_module, "monotonic", lambda: seconds)
    slow = Flusher(beat_s_max=LONG_S), [Tap(write) for _ in range(MANY)]
    quick = Flusher(beat_s_max=LONG_S), [Tap() for _ in range(MANY)]
    for flusher, taps in (slow, quick):
        for tap in taps * 2:
            flusher.add_pushed(tap)
        await until(lambda taps=taps: taps[-1].count == 2, step_s=0)  # type: ignore[misc]
        for tap in taps:
            assert not flusher.add_pushed(tap), "the beat is not over"
    await until(lambda: quick[1][-1].count == 3, step_s=0)
    assert slow[1][0].count == 2


async def test_beats_of_a_few_are_short_again_after_writing_took_long_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 0.0

    def stall() -> None:
        nonlocal seconds
        seconds += 0.01

    monkeypatch.setattr(flusher_module, "monotonic", lambda: seconds)
    flusher, many = Flusher(beat_s_max=LONG_S), [Tap(stall) for _ in range(MANY)]
    for tap in many * 2:
        flusher.add_pushed(tap)
    await until(lambda: many[-1].count == 2, step_s=0)
    few = [Tap() for _ in range(MANY // 2)]
    lengths = []
    for _ in range(200):
        flusher._pushed = list(few)
        flusher._begin_beat()
        lengths.append(flusher._length_s())
    assert lengths[0] > 10 * lengths[-1]
    assert lengths[-1] == BEAT_S_MIN


async def test_what_is_pushed_so_seldom_that_a_beat_would_gather_one_or_two_is_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flusher_module, "BEAT_S_EACH", 10.0)
    flusher, tap, loop = Flusher(beat_s_max=LONG_S), Tap(), asyncio.get_running_loop()
    now_s = loop.time()
    for seconds in (0.0, 6.0, 12.0):
        monkeypatch.setattr(loop, "time", lambda seconds=seconds: now_s + seconds)
        assert flusher.add_pushed(tap), "the beat before is over"
        monkeypatch.setattr(loop, "time", lambda seconds=seconds: now_s + seconds + 5.0)
        flusher._end_beat()


async def test_a_commit_waits_for_the_beat_only_while_many_connections_do() -> None:
    flusher, taps = Flusher(beat_s_max=LONG_S), [Tap() for _ in range(MANY)]
    for tap in taps:
        flusher.add_pushed(tap)
    assert flusher.wait_for_beat() is None
    for tap in taps:
        flusher.add_pushed(tap)
    beat = flusher.wait_for_beat()
    assert beat is not None
    async with asyncio.timeout(PATIENCE_S):
        await beat
    assert [tap.count for tap in taps] == [2] * MANY
    assert flusher.wait_for_beat() is None


async def test_who_waited_for_the_beat_and_is_gone_stops_nothing() -> None:
    flusher, taps = Flusher(beat_s_max=LONG_S), [Tap() for _ in range(MANY)]
    for tap in taps * 2:
        flusher.add_pushed(tap)
    beat = flusher.wait_for_beat()
    assert beat is not None
    beat.cancel()
    await until(lambda: taps[-1].count == 2, step_s=0)
    flusher.add_pushed(taps[0])
    await until(lambda: taps[0].count == 3, step_s=0)
