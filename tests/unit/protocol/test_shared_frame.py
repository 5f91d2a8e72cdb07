"""One frame for many readers is encoded once for each form."""

import pytest
from msgspec import Struct

from imserver.protocol.server_frames import Pong
from imserver.protocol.shared_frame import SharedFrame


class CountingForm:
    """A form that tells how often it had to encode."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark
        self.count = 0

    def encode(self, frame: Struct) -> bytes:
        self.count += 1
        return self.mark + repr(frame).encode()


@pytest.fixture
def shared() -> SharedFrame:
    return SharedFrame(Pong(1, 2))


def test_nothing_is_encoded_before_somebody_asks(shared: SharedFrame) -> None:
    form = CountingForm(b"a")
    assert form.count == 0
    shared.encoded(form)
    assert form.count == 1


def test_a_form_is_encoded_once_for_all_its_readers(shared: SharedFrame) -> None:
    form = CountingForm(b"a")
    first = shared.encoded(form)
    assert shared.encoded(form) is first
    assert form.count == 1


def test_each_form_gets_its_own_bytes(shared: SharedFrame) -> None:
    one, other = CountingForm(b"a"), CountingForm(b"b")
    assert shared.encoded(one) != shared.encoded(other)
    assert shared.encoded(one).startswith(b"a")
    assert (one.count, other.count) == (1, 1)
