import time

import msgpack
import pytest

from bench.load.loop import Loop
from bench.load.pace import Pace
from bench.load.sender import Sender
from tests.unit.bench.streams import BODY


@pytest.fixture
def sender(connection):
    return Sender(connection, conv="g/bench", name="sender0", body=BODY)


def test_messages_are_due_at_the_rate(sender, peer):
    loop = Loop()
    pace = Pace(loop, sender, rate=1_000)
    loop.run_until(lambda: len(sender.due_ns) >= 200, seconds=5, what="200 messages")
    pace.stop()
    steps = {later - due for due, later in zip(sender.due_ns, sender.due_ns[1:], strict=False)}
    assert steps == {1_000_000}
    assert pace.lag.percentile_ms(50) < 5
    assert msgpack.unpackb(peer.received.get(timeout=5))["id"] == 0


def test_a_late_generator_sends_what_is_overdue_with_the_time_it_was_due(sender):
    loop = Loop()
    pace = Pace(loop, sender, rate=100)
    stalled_until = time.monotonic() + 0.2
    while time.monotonic() < stalled_until:
        pass
    loop.run_until(lambda: len(sender.due_ns) >= 15, seconds=5, what="what was overdue")
    pace.stop()
    assert sender.due_ns[10] - sender.due_ns[0] == 100_000_000
    assert pace.lag.percentile_ms(100) > 100
