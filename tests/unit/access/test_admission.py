"""The queue of newcomers: whose turn it is, and what is promised to those who are turned away."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from imserver.access import admission as module
from imserver.access.admission import (
    OPENINGS_AT_ONCE,
    OPENINGS_WAITING_MAX,
    RETRY_MAX_S,
    UPGRADES_A_TURN,
    WAITING_ALWAYS,
    Admission,
)
from tests.until import PATIENCE_S


class Arrivals:
    """Newcomers with numbers, and the order in which they were let in."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.served: list[int] = []

    def come(self, *numbers: int) -> None:
        for number in numbers:
            self.admission.enter(self._on_turn(number))

    def _on_turn(self, number: int) -> Callable[[], None]:
        return lambda: self.served.append(number)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.served) < count:
                await asyncio.sleep(0)


@pytest.fixture
async def arrivals() -> Arrivals:
    return Arrivals(Admission(wait_max_s=1.0))


def is_full(admission: Admission) -> bool:
    return admission.is_full


async def busy(admission: Admission, leave: asyncio.Event) -> list[asyncio.Task[None]]:
    """Fill the openings, and as many more wait as may before handshakes stop."""

    async def stay() -> None:
        async with admission.openings:
            await leave.wait()

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(stay()) for _ in range(OPENINGS_AT_ONCE + OPENINGS_WAITING_MAX)]
    while admission.openings.waiting < OPENINGS_WAITING_MAX:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_whoever_comes_alone_is_let_in_at_once(arrivals: Arrivals) -> None:
    arrivals.come(1)
    assert arrivals.served == [1]


async def test_a_crowd_is_let_in_as_it_came_and_a_few_in_each_turn_of_the_loop(
    arrivals: Arrivals,
) -> None:
    everybody = list(range(10 * UPGRADES_A_TURN))
    arrivals.come(*everybody)
    steps = [len(arrivals.served)]
    while len(arrivals.served) < len(everybody):
        await asyncio.sleep(0)
        steps.append(len(arrivals.served))
    assert arrivals.served == everybody
    most = max(later - earlier for earlier, later in itertools.pairwise(steps))
    assert most <= UPGRADES_A_TURN


async def test_those_inside_get_their_turns_while_a_crowd_waits(arrivals: Arrivals) -> None:
    arrivals.come(*range(20 * UPGRADES_A_TURN))
    turns = 0
    while len(arrivals.served) < 20 * UPGRADES_A_TURN:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 15


async def test_nobody_is_let_in_while_those_before_wait_for_the_store(arrivals: Arrivals) -> None:
    leave = asyncio.Event()
    tasks = await busy(arrivals.admission, leave)
    arrivals.come(*range(3 * UPGRADES_A_TURN))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(arrivals.served) <= UPGRADES_A_TURN
    leave.set()
    await arrivals.until(3 * UPGRADES_A_TURN)
    await asyncio.wait(tasks)


async def test_the_openings_are_entered_by_a_few_at_a_time_in_the_order_they_came() -> None:
    openings = Admission(wait_max_s=1.0).openings
    inside, most, order = 0, 0, []

    async def open_(number: int) -> None:
        nonlocal inside, most
        async with openings:
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for number in range(5 * OPENINGS_AT_ONCE):
            group.create_task(open_(number))
    assert most <= OPENINGS_AT_ONCE
    assert order == list(range(5 * OPENINGS_AT_ONCE))
    assert openings.waiting == 0


async def test_who_gives_up_waiting_for_an_opening_leaves_no_trace() -> None:
    admission = Admission(wait_max_s=1.0)
    leave = asyncio.Event()
    tasks = await busy(admission, leave)
    tasks[-1].cancel()
    await asyncio.wait([tasks[-1]])
    assert admission.openings.waiting == OPENINGS_WAITING_MAX - 1
    leave.set()
    await asyncio.wait(tasks)
    assert admission.openings.waiting == 0


async def test_one_that_fails_at_its_turn_does_not_hold_up_the_others(arrivals: Arrivals) -> None:
    problems: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: problems.append(str(context["exception"]))
    )

    def fail() -> None:
        raise ZeroDivisionError("at its turn")

    arrivals.come(*range(2 * UPGRADES_A_TURN))
    arrivals.admission.enter(fail)
    arrivals.come(*range(100, 100 + 3 * UPGRADES_A_TURN))
    await arrivals.until(5 * UPGRADES_A_TURN)
    assert problems == ["at its turn"]


async def test_a_queue_that_would_take_too_long_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_GUESS_S", 0.01)
    admission = Admission(wait_max_s=1.0)
    arrivals = Arrivals(admission)
    arrivals.come(*range(UPGRADES_A_TURN + 100))
    assert not is_full(admission)
    arrivals.come(1_000)
    assert is_full(admission)
    await arrivals.until(UPGRADES_A_TURN + 101)
    assert not is_full(admission)


async def test_a_few_may_always_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_GUESS_S", 60.0)
    admission = Admission(wait_max_s=0.001)
    arrivals = Arrivals(admission)
    arrivals.come(*range(UPGRADES_A_TURN + WAITING_ALWAYS - 1))
    assert not is_full(admission)
    arrivals.come(1_000)
    assert is_full(admission)


async def test_those_turned_away_together_are_called_back_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FIRST_GUESS_S", 0.002)
    admission = Admission(wait_max_s=1.0)
    promises = Counter(admission.promise_s() for _ in range(5_000))
    assert sorted(promises) == list(range(1, max(promises) + 1)), "no second is left out"
    assert max(promises) >= 5, "at most a thousand a second"
    later = [count for second, count in promises.items() if second > 1]
    assert max(later) <= 2 * sum(later) / len(later)


async def test_nobody_is_sent_away_for_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FIRST_GUESS_S", 1.0)
    admission = Admission(wait_max_s=1.0)
    assert max(admission.promise_s() for _ in range(1_000)) <= RETRY_MAX_S


async def test_the_end_calls_everybody_who_waits(arrivals: Arrivals) -> None:
    everybody = list(range(5 * UPGRADES_A_TURN))
    arrivals.come(*everybody)
    arrivals.admission.call_all()
    assert arrivals.served == everybody
