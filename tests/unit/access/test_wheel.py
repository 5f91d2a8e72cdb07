"""The wheel of deadlines."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.access import wheel as wheel_module
from imserver.access.wheel import Wheel
from tests.until import PATIENCE_S


class Alarm:
    """Notes the ticks at which it was called back, and asks for the next ones it was given."""

    def __init__(self, wheel: Wheel, *again_s: float) -> None:
        self.rang: list[int] = []
        self._wheel = wheel
        self._again_s = list(again_s)

    def on_timer(self) -> float | None:
        self.rang.append(self._wheel.tick)
        return self._again_s.pop(0) if self._again_s else None


def turn(wheel: Wheel, ticks: int) -> None:
    for _ in range(ticks):
        for _ in wheel._turn():
            pass


@given(before=st.integers(0, 300), after_s=st.floats(0, 1_000))
def test_a_deadline_is_kept_within_a_tick_wherever_the_wheel_stands(
    before: int, after_s: float
) -> None:
    wheel = Wheel()
    turn(wheel, before)
    alarm = Alarm(wheel)
    due = wheel.add(alarm, after_s)
    turn(wheel, 1_100)
    assert alarm.rang == [due]
    assert abs(due - before - max(after_s, 1)) <= 0.5


def test_whoever_asks_again_is_called_again() -> None:
    wheel = Wheel()
    alarm = Alarm(wheel, 3, 5)
    wheel.add(alarm, 2)
    turn(wheel, 40)
    assert alarm.rang == [2, 5, 10]


def test_many_share_a_tick_and_a_member_may_have_several() -> None:
    wheel = Wheel()
    alarms = [Alarm(wheel) for _ in range(3)]
    for alarm in alarms:
        wheel.add(alarm, 4)
        wheel.add(alarm, 6)
    turn(wheel, 10)
    assert [alarm.rang for alarm in alarms] == [[4, 6]] * 3


async def test_the_wheel_turns_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel_module, "TICK_S", 0.001)
    wheel = Wheel()
    alarm = Alarm(wheel)
    wheel.add(alarm, 0.003)
    turning = asyncio.get_running_loop().create_task(wheel.run())
    async with asyncio.timeout(PATIENCE_S):
        while not alarm.rang:
            await asyncio.sleep(0.001)
    assert alarm.rang == [3]
    turning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turning
