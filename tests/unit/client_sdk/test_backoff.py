"""How long a robot waits when it was told how long to wait."""

import random

import pytest

from client_sdk.backoff import TOLD_MAX_MS, Backoff


@pytest.mark.parametrize("told_ms", [0, 1, 1_000, 60_000, TOLD_MAX_MS])
def test_what_the_server_said_is_waited_for_at_least(told_ms):
    for seed in range(20):
        backoff = Backoff(0.1, 30.0, random.Random(seed))
        assert told_ms / 1000 <= backoff.next_s(told_ms) <= told_ms / 1000 + 30.0


@pytest.mark.parametrize("told_ms", [TOLD_MAX_MS + 1, 2**53 - 1])
def test_a_server_that_says_for_ever_is_asked_again_after_an_hour(told_ms):
    backoff = Backoff(0.1, 30.0, random.Random(1))
    assert backoff.next_s(told_ms) <= TOLD_MAX_MS / 1000 + 30.0
