"""The latest values of signals: the newest of each, and not too many."""

from msgspec import Raw

from imserver.logic.last_values import BYTES_MAX, VALUES_MAX, LastValues
from imserver.protocol.server_frames import SignalValue


def value(rev: int, *, sender: str = "r1", key: str = "pose", size: int = 1) -> SignalValue:
    return SignalValue("g/dock", sender, key, Raw(b"x" * size), rev)


def revs(values: LastValues) -> list[int]:
    return [value.rev for value in values.values()]


def test_the_newest_value_of_each_sender_and_key_is_kept():
    values = LastValues()
    for given in (value(1), value(2, key="load"), value(3, sender="r2"), value(4)):
        values.keep(given)
    assert revs(values) == [2, 3, 4]


def test_an_older_value_that_comes_late_changes_nothing():
    values = LastValues()
    values.keep(value(5))
    values.keep(value(4))
    assert revs(values) == [5]


def test_of_too_many_the_oldest_are_forgotten():
    values = LastValues()
    for rev in range(VALUES_MAX + 10):
        values.keep(value(rev, key=f"k{rev}"))
    assert revs(values) == list(range(10, VALUES_MAX + 10))


def test_of_too_large_ones_the_oldest_are_forgotten_but_never_the_last():
    values = LastValues()
    for rev in range(5):
        values.keep(value(rev, key=f"k{rev}", size=BYTES_MAX // 3))
    assert revs(values) == [2, 3, 4]
    values.keep(value(5, key="huge", size=2 * BYTES_MAX))
    assert revs(values) == [5]
    values.keep(value(6, key="huge"))
    values.keep(value(7, key="small"))
    assert revs(values) == [6, 7]
