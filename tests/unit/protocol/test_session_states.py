"""The table of states: every frame of a client has its place, and only one."""

from collections import Counter

from imserver.protocol import client_frames as frames
from imserver.protocol.session_states import ALLOWED, SessionState
from tests.unit.protocol.frame_strategies import CLIENT_FRAMES


def test_every_frame_is_allowed_in_exactly_one_state() -> None:
    places = Counter(frame for allowed in ALLOWED.values() for frame in allowed)
    assert places == dict.fromkeys(CLIENT_FRAMES, 1)


def test_every_state_says_what_it_allows() -> None:
    assert set(ALLOWED) == set(SessionState)


def test_before_hello_nothing_but_register_and_hello_is_allowed() -> None:
    assert ALLOWED[SessionState.FRESH] == {frames.Register, frames.Hello}


def test_a_challenge_can_only_be_answered() -> None:
    assert ALLOWED[SessionState.CHALLENGED] == {frames.Prove}


def test_a_closed_session_takes_nothing() -> None:
    assert ALLOWED[SessionState.CLOSED] == frozenset()
