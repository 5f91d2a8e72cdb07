"""What every memory of a robot promises, whichever keeps it."""

import pytest

from client_sdk import MemoryFileError
from client_sdk.memory import (
    Bound,
    Drop,
    Keep,
    KeptRecord,
    KeptSend,
    Owner,
    Place,
    Recollection,
)

R1 = Owner("r1", "main")
NOTHING = Recollection(None, [], [])


def send(number, *, body=b"\x01", ref=None):
    return KeptSend(number, "g/dock", f"c{number}", "message", ref, body, 1_700_000_000_000)


class RobotMemoryContract:
    """Subclasses give `make`: a fixture that returns what returns the same memory, closed, each time."""

    def reopened(self, make, memory):
        memory.close()
        again = make()
        return again.open(R1)

    def test_a_new_memory_holds_nothing(self, make):
        assert make().open(R1) == NOTHING

    def test_what_was_written_is_there_again(self, make):
        memory = make()
        memory.open(R1)
        memory.write([Bound("srv"), Keep(send(1)), Place("g/dock", "e1", 7)])
        memory.write([Keep(send(2, body=bytes(range(256)), ref=3))])
        found = self.reopened(make, memory)
        sends = [send(1), send(2, body=bytes(range(256)), ref=3)]
        assert found == Recollection("srv", sends, [Place("g/dock", "e1", 7)])

    def test_sends_come_in_the_order_of_their_numbers(self, make):
        memory = make()
        memory.open(R1)
        memory.write([Keep(send(10)), Keep(send(2)), Keep(send(9))])
        assert [kept.number for kept in self.reopened(make, memory).sends] == [2, 9, 10]

    def test_a_dropped_send_is_gone_and_dropping_twice_is_dropping_once(self, make):
        memory = make()
        memory.open(R1)
        memory.write([Keep(send(1)), Keep(send(2))])
        memory.write([Drop(1), Drop(1)])
        assert [kept.number for kept in self.reopened(make, memory).sends] == [2]

    def test_a_send_may_be_kept_and_dropped_in_one_write(self, make):
        memory = make()
        memory.open(R1)
        memory.write([Keep(send(1)), Drop(1)])
        assert self.reopened(make, memory) == NOTHING

    def test_a_place_takes_the_place_of_the_one_before_also_backwards(self, make):
        memory = make()
        memory.open(R1)
        memory.write([Place("g/dock", "e1", 7), Place("g/yard", "e5", 1)])
        memory.write([Place("g/dock", "e2", 3)])
        places = self.reopened(make, memory).places
        assert sorted(places, key=lambda place: place.conv) == [
            Place("g/dock", "e2", 3),
            Place("g/yard", "e5", 1),
        ]

    def test_a_record_takes_the_place_of_the_one_before_and_none_forgets_it(self, make):
        memory = make()
        memory.open(R1)
        memory.write([KeptRecord("one", b"1"), KeptRecord("two", b"2"), KeptRecord("gone", b"3")])
        memory.write([KeptRecord("one", bytes(range(256))), KeptRecord("gone", None)])
        memory.write([KeptRecord("never", None)])
        assert self.reopened(make, memory).records == {"one": bytes(range(256)), "two": b"2"}

    @pytest.mark.parametrize("other", [Owner("r2", "main"), Owner("r1", "camera")])
    def test_the_memory_of_another_is_refused(self, make, other):
        memory = make()
        memory.open(R1)
        memory.close()
        with pytest.raises(MemoryFileError, match=r"belongs to robot r1, device main.*of its own"):
            make().open(other)

    def test_a_memory_in_use_is_refused(self, make):
        memory = make()
        memory.open(R1)
        with pytest.raises(MemoryFileError, match="in use"):
            make().open(R1)
        memory.write([Keep(send(1))])
        assert len(self.reopened(make, memory).sends) == 1

    def test_a_closed_memory_takes_nothing(self, make):
        memory = make()
        memory.open(R1)
        memory.close()
        memory.close()
        with pytest.raises(MemoryFileError, match="closed"):
            memory.write([Drop(1)])
