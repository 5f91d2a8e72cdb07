"""Whose identity key is believed, and for how long."""

import pytest

from client_sdk.sealed.outcome import CannotOpen
from client_sdk.sealed.trust import Trust

R2, R3, OTHER = b"2" * 32, b"3" * 32, b"x" * 32


def after_restart(trust: Trust, *, first_use: bool) -> Trust:
    """Return what the next process believes that begins with the same memory."""
    [record] = trust.take()
    assert record.value is not None
    later = Trust({}, first_use=first_use)
    later.recall(record.value)
    return later


@pytest.mark.parametrize("first_use", [True, False])
def test_a_key_that_was_only_seen_first_counts_as_long_as_such_keys_do(first_use: bool):
    trust = Trust({}, first_use=True)
    trust.check("r2", R2)
    trust.pin("r3", R3)
    later = after_restart(trust, first_use=first_use)
    assert later.identity("r2") == (R2 if first_use else None)
    assert later.identity("r3") == R3, "the program said so itself"
    if not first_use:
        with pytest.raises(CannotOpen):
            later.check("r2", R2)


def test_a_key_that_was_seen_first_stays_so_over_many_restarts():
    trust = Trust({}, first_use=True)
    trust.check("r2", R2)
    again = after_restart(trust, first_use=True)
    again.pin("r3", R3)
    with pytest.raises(CannotOpen):
        again.check("r2", OTHER)
    assert after_restart(again, first_use=False).identity("r2") is None
