"""Error codes are all explained; close codes say by their range what a client does."""

import pytest

from imserver.protocol.errors import MEANING, AfterClose, CloseCode, ErrorCode, after_close


def test_every_error_code_has_a_meaning_and_nothing_else_does() -> None:
    assert set(MEANING) == set(ErrorCode)


def test_error_codes_are_spelled_as_their_names() -> None:
    assert all(code.value == code.name.lower() for code in ErrorCode)


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        (4000, AfterClose.RECONNECT),
        (4099, AfterClose.RECONNECT),
        (4100, AfterClose.RECONNECT_LATER),
        (4199, AfterClose.RECONNECT_LATER),
        (4200, AfterClose.AUTHENTICATE),
        (4299, AfterClose.AUTHENTICATE),
        (4300, AfterClose.STAY_AWAY),
        (4399, AfterClose.STAY_AWAY),
        (4400, AfterClose.RECONNECT),
        (1000, AfterClose.RECONNECT),
        (1006, AfterClose.RECONNECT),
        (1012, AfterClose.RECONNECT),
        (3999, AfterClose.RECONNECT),
    ],
)
def test_a_range_of_close_codes_asks_one_thing(code: int, asks: AfterClose) -> None:
    assert after_close(code) is asks


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        (CloseCode.IDLE, AfterClose.RECONNECT),
        (CloseCode.DRAINING, AfterClose.RECONNECT_LATER),
        (CloseCode.OVERLOADED, AfterClose.RECONNECT_LATER),
        (CloseCode.HELLO_TIMEOUT, AfterClose.AUTHENTICATE),
        (CloseCode.UNAUTHENTICATED, AfterClose.AUTHENTICATE),
        (CloseCode.REPLACED, AfterClose.STAY_AWAY),
        (CloseCode.REVOKED, AfterClose.STAY_AWAY),
    ],
)
def test_our_own_close_codes_lie_in_their_ranges(code: CloseCode, asks: AfterClose) -> None:
    assert after_close(code) is asks


def test_close_codes_are_the_rfcs_or_lie_in_the_private_range() -> None:
    assert all(1000 <= code <= 1015 or 4000 <= code <= 4399 for code in CloseCode)
