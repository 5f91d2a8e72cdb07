"""The parts of the demo that decide and tell: the board, the reception, the latencies, the words."""

import pytest

from client_sdk import Event
from imserver.cli.demo.board import CLAIM, DONE, JOB, JOBS_KEPT_MAX, PROGRESS, Board
from imserver.cli.demo.fleet import Outings
from imserver.cli.demo.latencies import SAMPLES_MAX, Latencies
from imserver.cli.demo.reception import Reception
from imserver.cli.demo.scene import Scene


def event(seq, sender, kind, *, ref=None, body=None):
    return Event("g/dock", "e", seq, 0, sender, f"cid-{seq}", kind, ref, body)


def board_after(*events):
    board = Board()
    for one in events:
        board.apply(one)
    return board


POSTED = event(1, "dispatcher", JOB, body={"title": "fetch 3 crates"})


def test_the_first_claim_in_the_log_wins():
    job = board_after(POSTED, event(2, "r2", CLAIM, ref=1)).apply(event(3, "r1", CLAIM, ref=1))
    assert job.worker == "r2"


def test_a_job_is_open_until_it_is_claimed():
    board = board_after(POSTED)
    assert [job.seq for job in board.open_jobs()] == [1]
    board.apply(event(2, "r1", CLAIM, ref=1))
    assert not board.has_open_jobs()


def test_only_the_worker_can_finish_a_job():
    board = board_after(POSTED, event(2, "r1", CLAIM, ref=1), event(3, "r2", DONE, ref=1))
    assert board.done == 0
    assert board.unfinished_of("r1").seq == 1
    board.apply(event(4, "r1", DONE, ref=1))
    assert board.done == 1
    assert board.unfinished_of("r1") is None


@pytest.mark.parametrize(
    ("body", "percent"), [({"percent": 50}, 50), ({"percent": 900}, 100), ("x", 0)]
)
def test_progress_is_between_0_and_100_whatever_was_sent(body, percent):
    board = board_after(POSTED, event(2, "r1", CLAIM, ref=1))
    assert board.apply(event(3, "r1", PROGRESS, ref=1, body=body)).percent == percent


def test_an_event_about_an_unknown_job_changes_nothing():
    assert board_after().apply(event(2, "r1", CLAIM, ref=1)) is None


def test_the_oldest_jobs_are_forgotten_beyond_the_bound():
    board = board_after(*(event(seq, "dispatcher", JOB) for seq in range(1, JOBS_KEPT_MAX + 2)))
    assert next(board.open_jobs()).seq == 2


def reception_of(*seqs):
    reception = Reception()
    for seq in seqs:
        reception.take(seq)
    return reception


def test_a_log_without_gaps_or_repeats_counts_none():
    reception = reception_of(5, 6, 7)
    assert (reception.received, reception.gaps, reception.repeats) == (3, 0, 0)


def test_gaps_and_repeats_are_counted():
    reception = reception_of(1, 2, 2, 5, 1)
    assert (reception.received, reception.gaps, reception.repeats) == (3, 1, 2)


def test_a_catch_up_is_told_once_it_has_reached_the_head():
    reception = reception_of(1, 2)
    reception.returned(head=4)
    reception.take(3)
    assert reception.caught_up() is None
    reception.take(4)
    assert str(reception.caught_up()) == (
        "missed 2 events (seq 3 to 4) and received exactly 2: contiguous, none twice"
    )
    assert reception.caught_up() is None


def test_a_catch_up_with_a_hole_is_told_as_what_it_is():
    reception = reception_of(1)
    reception.returned(head=3)
    reception.take(3)
    assert "NOT AS PROMISED: 1 gaps" in str(reception.caught_up())


def test_a_return_to_an_unchanged_log_has_missed_nothing():
    reception = reception_of(1)
    reception.returned(head=1)
    assert "missed 0 events (nothing)" in str(reception.caught_up())


def test_percentiles_are_by_nearest_rank():
    latencies = Latencies()
    for ms in range(1, 101):
        latencies.add(ms / 1_000)
    assert str(latencies) == "p50 50.0 ms, p99 99.0 ms"


def test_latencies_are_those_of_the_last_sends():
    latencies = Latencies()
    for seconds in [9.0] * 10 + [1.0] * SAMPLES_MAX:
        latencies.add(seconds)
    assert latencies.percentile_ms(100) == 1_000


def told(*events):
    """Return the lines of a scene in which ``events`` arrived."""
    lines = []
    scene = Scene("g/dock", lines.append)
    for one in events:
        scene.arrived(one, 0.0)
    return [line.split(maxsplit=2)[2] for line in lines]


def test_the_conversation_is_told_in_words():
    assert told(
        POSTED,
        event(2, "r2", CLAIM, ref=1),
        event(3, "r1", CLAIM, ref=1),
        event(4, "r2", PROGRESS, ref=1, body={"percent": 50}),
        event(5, "r2", DONE, ref=1),
    ) == [
        "posts job 1: fetch 3 crates",
        "claims job 1 and is the first",
        "claims job 1, too late: r2 was first",
        "job 1 is 50 % done",
        "finishes job 1",
    ]


def test_what_strangers_say_cannot_steer_the_terminal():
    assert told(event(1, "x", "message", body="a\x1b[2J\nb\u202e")) == [
        "message a\\x1b[2J\\nb\\u202e"
    ]


def test_a_send_is_timed_to_its_ack_and_to_its_arrival():
    scene = Scene("g/dock", lambda _: None)
    scene.sending("cid-1", 10.0)
    scene.acked("cid-1", 10.002)
    scene.arrived(POSTED, 10.003)
    assert "acked: p50 2.0 ms, p99 2.0 ms; delivered: p50 3.0 ms" in scene.figures()


def test_the_first_outing_fits_into_a_short_demo():
    plan = Outings.within(4)
    assert plan.first_s + plan.away_s < 4
