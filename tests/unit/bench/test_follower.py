import random

import msgpack
import pytest
from websockets.frames import Opcode

from bench.load import ledger as ledgers
from bench.load.follower import Follower
from bench.load.histogram import Histogram
from bench.load.ledger import Ledger, Tape
from bench.load.wire import Broken, SentSeen
from tests.unit.bench.streams import BODY, deliver, event, sent, server_frame

CREATED = event(1, "@1", kind="group_created", body={"members": []})


class Readers:
    """Followers of one group that share a tape and a ledger, as in a scenario."""

    def __init__(self, connection, count):
        self.tape = Tape()
        self.ledger = Ledger(lambda cid: int(cid.startswith("sender0-")), BODY)
        self.followers = [
            Follower(connection, conv="g/bench", window=16, tape=self.tape, ledger=self.ledger)
            for _ in range(count)
        ]

    def __getitem__(self, index):
        return self.followers[index]


@pytest.fixture
def readers(connection):
    return Readers(connection, 3)


def take(follower, stream, now_ns=1_000):
    follower.take(memoryview(stream), now_ns)


def batches(sizes):
    """Return deliver frames that hold that many events each, the group's creation first."""
    frames, seq = [deliver(CREATED)], 2
    for size in sizes:
        frames.append(deliver(*(event(seq + place) for place in range(size))))
        seq += size
    return frames, seq - 1


def test_every_event_is_counted_however_the_stream_is_cut(readers):
    seeded = random.Random(7)
    frames, head = batches([1, 5, 300, 2, 40, 1, 1, 90])
    stream = b"".join(frames)
    places = [0, 0, 0]
    while min(places) < len(stream):
        which = seeded.randrange(3)
        size = seeded.choice([1, 2, 3, 50, 4_000, 20_000])
        chunk = stream[places[which] : places[which] + size]
        if chunk:
            take(readers[which], chunk)
            places[which] += len(chunk)
    assert [follower.seq for follower in readers] == [head] * 3
    assert len(readers.ledger.cids) == head


def test_followers_behind_the_first_compare_and_do_not_decode(readers):
    frames, _ = batches([1] * 50)
    for frame in frames:
        for follower in readers:
            take(follower, frame)
    assert [follower.decoded for follower in readers] == [len(frames), 0, 0]


def test_followers_whose_batches_are_cut_differently_count_the_same_events(readers):
    for follower, sizes in zip(readers, ([4, 4], [1, 6, 1], [8]), strict=True):
        frames, head = batches(sizes)
        take(follower, b"".join(frames))
        assert follower.seq == head


def test_a_follower_finds_back_to_the_tape_after_a_ping_in_between(readers, peer):
    frames, head = batches([3, 3, 3])
    for frame in frames:
        take(readers[0], frame)
    ping = server_frame(b"are you there", Opcode.PING)
    take(readers[1], frames[0] + frames[1] + ping + frames[2])
    take(readers[1], frames[3])
    assert (readers[1].seq, readers[1].decoded) == (head, 0)


def test_a_follower_that_is_left_behind_by_the_tape_reads_on_without_it(readers, monkeypatch):
    monkeypatch.setattr(ledgers, "_TAPE_BYTES_MAX", 2_000)
    frames, head = batches([2] * 40)
    take(readers[0], frames[0] + frames[1])
    take(readers[1], frames[0])
    take(readers[1], frames[1][:-100])
    for frame in frames[2:]:
        take(readers[0], frame)
    take(readers[1], frames[1][-100:] + b"".join(frames[2:]))
    assert (readers[0].seq, readers[1].seq) == (head, head)
    assert len(readers.tape.recorded) <= 2_000


def test_a_gap_voids_the_run(readers):
    take(readers[0], deliver(CREATED))
    with pytest.raises(Broken, match="seq 3 was delivered where 2 was due"):
        take(readers[0], deliver(event(3)))


def test_an_event_that_comes_twice_voids_the_run(readers):
    take(readers[0], deliver(CREATED) + deliver(event(2)))
    with pytest.raises(Broken, match="seq 2 was delivered where 3 was due"):
        take(readers[0], deliver(event(2)))


def test_a_reader_that_sees_another_event_at_a_seq_voids_the_run(readers):
    take(readers[0], deliver(CREATED) + deliver(event(2)))
    take(readers[1], deliver(CREATED))
    with pytest.raises(Broken, match="different events at seq 2"):
        take(readers[1], deliver(event(2, "sender0-0000000009")))


def test_a_body_that_was_changed_on_the_way_voids_the_run(readers):
    with pytest.raises(Broken, match="the body at seq 2"):
        take(readers[0], deliver(CREATED, event(2, body="y" * 100)))


def test_an_error_of_the_server_voids_the_run(readers):
    error = {"t": "error", "code": "internal", "message": "oops", "fatal": False}
    with pytest.raises(Broken, match="oops"):
        take(readers[0], server_frame(msgpack.packb(error)))


def test_frames_that_deliver_nothing_go_to_whoever_asked_for_them(readers):
    others = []
    readers[0].on_other = lambda frame, now_ns: others.append((frame, now_ns))
    take(readers[0], deliver(CREATED) + sent(5, 9), now_ns=77)
    assert others == [(SentSeen(id=5, seq=9, dup=False), 77)]


def test_an_ack_is_sent_after_a_quarter_of_the_window(readers, peer):
    frames, _ = batches([1, 1, 1, 1])
    take(readers[0], frames[0] + frames[1] + frames[2])
    take(readers[0], frames[3])
    assert msgpack.unpackb(peer.received.get(timeout=5)) == {
        "t": "ack",
        "conv": "g/bench",
        "seq": 4,
    }
    assert peer.received.empty()


def test_latency_counts_from_the_time_a_message_was_due(connection):
    due_ns = {"sender0-0000000000": 1_000_000, "sender0-0000000001": 4_000_000}
    ledger, tape, latency = Ledger(lambda cid: due_ns.get(cid, 0), BODY), Tape(), Histogram()
    for _ in range(2):
        follower = Follower(connection, conv="g/bench", window=16, tape=tape, ledger=ledger)
        follower.latency = latency
        take(follower, deliver(CREATED) + deliver(event(2), event(3)), now_ns=6_000_000)
    assert latency.total == 4
    assert latency.percentile_ms(50) == pytest.approx(2, rel=0.001)
    assert latency.percentile_ms(100) == pytest.approx(5, rel=0.001)
