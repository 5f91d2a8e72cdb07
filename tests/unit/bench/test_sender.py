import msgpack
import pytest

from bench.load.sender import Answers, Sender
from bench.load.wire import Broken
from tests.unit.bench.streams import BODY, sent, server_frame


@pytest.fixture
def sender(connection):
    return Sender(connection, conv="g/bench", name="sender0", body=BODY)


def take(connection, sender, stream):
    Answers(connection, sender).take(memoryview(stream), 1)


def test_a_closed_loop_keeps_its_number_in_flight(connection, sender, peer):
    sender.in_flight_max = 3
    sender.refill()
    take(connection, sender, sent(0, 2) + sent(1, 3))
    sender.refill()
    frames = [msgpack.unpackb(peer.received.get(timeout=5)) for _ in range(5)]
    assert [frame["id"] for frame in frames] == [0, 1, 2, 3, 4]
    assert len({frame["cid"] for frame in frames}) == 5
    assert (sender.answered, sender.idle) == (2, False)


def test_answers_are_counted_however_the_stream_is_cut(connection, sender):
    sender.push([1] * 20)
    stream = b"".join(sent(number, number + 2) for number in range(20))
    answers = Answers(connection, sender)
    for start in range(0, len(stream), 7):
        answers.take(memoryview(stream[start : start + 7]), 1)
    assert sender.seqs == list(range(2, 22))
    assert sender.idle


def test_an_answer_that_comes_twice_voids_the_run(connection, sender):
    sender.push([1])
    with pytest.raises(Broken, match="answered twice"):
        take(connection, sender, sent(0, 2) + sent(0, 2))


def test_an_answer_that_calls_a_new_message_a_repetition_voids_the_run(connection, sender):
    sender.push([1])
    with pytest.raises(Broken, match="repetition"):
        take(connection, sender, sent(0, 2, dup=True))


def test_a_refusal_voids_the_run(connection, sender):
    error = {"t": "error", "id": 0, "code": "forbidden", "message": "no", "fatal": False}
    with pytest.raises(Broken, match="forbidden"):
        take(connection, sender, server_frame(msgpack.packb(error)))
