"""What the application sees of what comes in: everything, once, in order."""

import msgspec
import pytest

from client_sdk.conversation import ACK_DELAY_S, PATIENCE_S
from client_sdk.inbox import Inbox
from client_sdk.memory import Place, Recollection
from client_sdk.records import Event, Gap
from imserver.protocol.client_frames import Ack, Position
from imserver.protocol.server_frames import Deliver, Head
from imserver.protocol.server_frames import Gap as GapFrame
from tests.unit.client_sdk.frames import CONV, EPOCH, event, run, state

BYTES = 100_000


@pytest.fixture
def inbox():
    inbox = Inbox(msgspec.msgpack.decode, window=8)
    inbox.resume(BYTES)
    inbox.welcome([state()])
    return inbox


def take(inbox, *, process=True):
    """Take everything that waits, and say of each that it is processed."""
    items = []
    while (item := inbox.next()) is not None:
        items.append(item)
        if process:
            inbox.processed(item, 0.0)
    return items


def seqs(items):
    return [item.seq if isinstance(item, Event) else (item.first, item.last) for item in items]


def test_events_come_out_decoded_and_in_order(inbox):
    inbox.deliver(run(1, 2), 0.0)
    first, second = take(inbox)
    assert first == Event(CONV, EPOCH, 1, 1001, "r2", "c1", "message", None, {"n": 1})
    assert second.seq == 2


def test_a_run_that_comes_twice_is_shown_once(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.deliver(run(1, 3), 0.0)
    inbox.deliver(run(2, 5), 0.0)
    assert seqs(take(inbox)) == [1, 2, 3, 4, 5]
    assert inbox.repeated == 5


def test_a_run_that_begins_too_late_is_asked_for_again_and_not_shown(inbox):
    inbox.deliver(run(1, 1), 0.0)
    inbox.deliver(run(3, 4), 0.0)
    assert seqs(take(inbox)) == [1]
    assert inbox.repairs.take() == [(CONV, 1)]
    inbox.deliver(run(2, 4), 0.1)
    assert seqs(take(inbox)) == [2, 3, 4]


def test_a_hole_is_asked_for_once_until_patience_ends(inbox):
    inbox.deliver(run(2, 2), 0.0)
    inbox.deliver(run(3, 3), 0.1)
    assert inbox.repairs.take() == [(CONV, 0)]
    inbox.repairs.tick(PATIENCE_S - 0.1)
    assert inbox.repairs.take() == []
    inbox.repairs.tick(PATIENCE_S)
    assert inbox.repairs.take() == [(CONV, 0)]


def test_a_hole_after_a_reconnect_is_asked_for_at_once(inbox):
    inbox.deliver(run(2, 2), 0.0)
    inbox.resume(BYTES)
    inbox.welcome([state(head=3)])
    inbox.deliver(run(3, 3), 0.1)
    assert inbox.repairs.take() == [(CONV, 0)]


def test_a_run_with_a_hole_inside_is_not_trusted(inbox):
    frame = run(1, 3)
    del frame.events[1]
    inbox.deliver(frame, 0.0)
    assert take(inbox) == []
    assert inbox.repairs.take() == [(CONV, 0)]


@pytest.mark.parametrize("order", [[1, 3, 2, 4], [1, 1, 3, 4], [1, 9, 3, 4], [4, 3, 2, 1]])
def test_a_run_that_does_not_go_forwards_one_by_one_is_not_trusted(inbox, order):
    frame = Deliver(CONV, EPOCH, [event(seq) for seq in order])
    inbox.deliver(frame, 0.0)
    assert take(inbox) == []
    inbox.deliver(run(1, 4), 0.1)
    assert seqs(take(inbox)) == [1, 2, 3, 4]


def test_an_announced_head_whose_events_do_not_come_is_asked_for(inbox):
    inbox.deliver(run(1, 1), 0.0)
    inbox.announced(Head(CONV, EPOCH, 3), 0.0)
    assert inbox.repairs.next_deadline_s() == PATIENCE_S
    inbox.repairs.tick(PATIENCE_S)
    assert inbox.repairs.take() == [(CONV, 1)]


def test_an_announced_head_that_comes_in_time_is_not_asked_for(inbox):
    inbox.announced(Head(CONV, EPOCH, 2), 0.0)
    inbox.deliver(run(1, 2), 0.5)
    inbox.repairs.tick(PATIENCE_S)
    assert inbox.repairs.take() == []


def test_a_used_up_window_is_no_loss(inbox):
    inbox.deliver(run(1, 8), 0.0)
    inbox.announced(Head(CONV, EPOCH, 20), 0.0)
    inbox.repairs.tick(PATIENCE_S)
    assert inbox.repairs.take() == []


def test_acks_wait_a_moment_for_company(inbox):
    inbox.deliver(run(1, 2), 0.0)
    for item in take(inbox, process=False):
        assert not inbox.processed(item, 5.0)
    assert inbox.acks.due_s == pytest.approx(5.0 + ACK_DELAY_S)
    assert inbox.acks.take() == [Ack(CONV, 2)]
    assert inbox.acks.take() == []


def test_acks_go_out_before_the_window_runs_dry(inbox):
    inbox.deliver(run(1, 8), 0.0)
    urgent = [inbox.processed(item, 0.0) for item in take(inbox, process=False)]
    assert urgent[:4] == [False, False, False, True]


def test_what_is_not_processed_is_not_acked(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox, process=False)
    assert inbox.acks.take() == []


def test_of_what_came_only_what_is_processed_is_acked(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.processed(inbox.next(), 0.0)
    assert inbox.acks.take() == [Ack(CONV, 1)]


def test_a_gap_that_is_told_again_after_a_reconnect_is_shown_once(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox)
    gap = GapFrame(CONV, EPOCH, from_=4, to=6, why="retention")
    inbox.gap(gap, 0.0)
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 3)}
    inbox.welcome([state(head=8, acked=1)])
    inbox.gap(gap, 0.0)
    inbox.deliver(run(7, 8), 0.0)
    assert seqs(take(inbox)) == [(4, 6), 7, 8]


def test_resume_tells_what_was_processed(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.processed(inbox.next(), 0.0)
    inbox.next()
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 1)}


def test_resume_tells_where_it_began_if_nothing_is_processed_yet():
    inbox = Inbox(msgspec.msgpack.decode, window=8)
    assert inbox.resume(BYTES) == {}
    inbox.welcome([state(head=9, acked=6), state(conv="g/new", head=2)])
    inbox.deliver(run(7, 9), 0.0)
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 6)}
    inbox.welcome([state(head=9, acked=8)])
    inbox.deliver(run(7, 9), 0.0)
    assert seqs(take(inbox)) == [7, 8, 9]
    assert inbox.acks.take() == [Ack(CONV, 9)]


def test_where_it_began_counts_no_longer_in_a_log_that_was_cut_back():
    inbox = Inbox(msgspec.msgpack.decode, window=8)
    inbox.resume(BYTES)
    inbox.welcome([state(head=9, acked=6)])
    inbox.resume(BYTES)
    inbox.welcome([state(head=2, acked=1)])
    inbox.gap(GapFrame(CONV, EPOCH, from_=2, to=6, why="ahead"), 0.0)
    inbox.deliver(run(2, 3), 0.0)
    assert seqs(take(inbox, process=False)) == [(2, 6), 2, 3]
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 1)}


def test_what_is_queued_survives_a_reconnect_and_is_not_shown_twice(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.processed(inbox.next(), 0.0)
    inbox.resume(BYTES)
    inbox.welcome([state(head=5)])
    inbox.deliver(run(2, 5), 0.0)
    assert seqs(take(inbox)) == [2, 3, 4, 5]


def test_after_a_reconnect_no_more_is_acked_than_came_over_it(inbox):
    inbox.deliver(run(1, 3), 0.0)
    first, *others = take(inbox, process=False)
    inbox.processed(first, 0.0)
    inbox.resume(BYTES)
    inbox.welcome([state(head=3, acked=1)])
    for item in others:
        inbox.processed(item, 0.0)
    assert inbox.acks.take() == []
    inbox.deliver(run(2, 3), 0.0)
    assert inbox.acks.take() == [Ack(CONV, 3)]


def test_acks_go_on_behind_the_resumed_place_though_another_device_is_further(inbox):
    inbox.deliver(run(1, 2), 0.0)
    take(inbox)
    inbox.resume(BYTES)
    inbox.welcome([state(head=9, acked=9)])
    inbox.deliver(run(3, 4), 0.0)
    take(inbox)
    assert inbox.acks.take() == [Ack(CONV, 4)]


def test_what_the_server_has_lost_is_not_acked(inbox):
    inbox.deliver(run(1, 5), 0.0)
    take(inbox)
    inbox.resume(BYTES)
    inbox.welcome([state(head=3, acked=3)])
    assert inbox.acks.take() == []


def test_a_server_that_has_less_than_was_received_is_told_by_a_new_hello(inbox):
    inbox.deliver(run(1, 5), 0.0)
    inbox.processed(inbox.next(), 0.0)
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 1)}
    inbox.welcome([state(head=3, acked=1)])
    assert inbox.is_lost
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 5)}
    assert not inbox.is_lost
    inbox.welcome([state(head=3, acked=1)])
    assert not inbox.is_lost
    inbox.gap(GapFrame(CONV, EPOCH, from_=2, to=5, why="ahead"), 0.0)
    inbox.deliver(run(2, 3), 0.0)
    assert seqs(take(inbox)) == [(2, 5), 2, 3]
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 3)}


def test_a_conversation_that_was_left_meanwhile_is_not_acked(inbox):
    inbox.deliver(run(1, 2), 0.0)
    first, second = take(inbox, process=False)
    inbox.processed(first, 0.0)
    inbox.resume(BYTES)
    inbox.welcome([])
    inbox.processed(second, 0.0)
    assert inbox.acks.take() == []


def test_an_ack_that_the_server_lost_is_said_again(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox)
    assert inbox.acks.take() == [Ack(CONV, 3)]
    inbox.resume(BYTES)
    inbox.welcome([state(head=3, acked=0)])
    assert inbox.acks.take() == [Ack(CONV, 3)]


def test_what_comes_again_although_it_was_acked_is_acked_again(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox)
    assert inbox.acks.take() == [Ack(CONV, 3)]
    inbox.deliver(run(2, 3), 1.0)
    assert take(inbox) == []
    assert inbox.acks.take() == [Ack(CONV, 3)]


def test_a_gap_stands_in_its_place(inbox):
    inbox.deliver(run(1, 1), 0.0)
    inbox.gap(GapFrame(CONV, EPOCH, from_=2, to=4, why="retention"), 0.0)
    inbox.deliver(run(5, 5), 0.0)
    assert seqs(take(inbox)) == [1, (2, 4), 5]
    assert inbox.repairs.take() == []


def test_a_restored_log_is_told_and_its_numbers_are_shown_again(inbox):
    inbox.deliver(run(1, 5), 0.0)
    take(inbox)
    inbox.resume(BYTES)
    inbox.welcome([state(epoch="e2", head=4, acked=3)])
    inbox.gap(GapFrame(CONV, "e2", from_=4, to=5, why="restored"), 0.0)
    inbox.deliver(run(4, 4, epoch="e2"), 0.0)
    gap, event = take(inbox)
    assert gap == Gap(CONV, "e2", 4, 5, "restored", 3)
    assert (event.epoch, event.seq) == ("e2", 4)
    assert inbox.acks.take() == [Ack(CONV, 4)]


def test_what_is_queued_of_a_tail_that_is_lost_is_not_shown(inbox):
    inbox.deliver(run(1, 6), 0.0)
    for _ in range(3):
        inbox.processed(inbox.next(), 0.0)
    inbox.resume(BYTES)
    inbox.welcome([state(epoch="e2", head=2, acked=2)])
    inbox.gap(GapFrame(CONV, "e2", from_=3, to=3, why="restored"), 0.0)
    inbox.deliver(run(3, 4, epoch="e2"), 0.0)
    gap, *events = take(inbox)
    assert gap == Gap(CONV, "e2", 3, 6, "restored", 2)
    assert [(event.epoch, event.seq) for event in events] == [("e2", 3), ("e2", 4)]


def test_a_server_that_lost_its_tail_moves_the_places_back(inbox):
    inbox.deliver(run(1, 5), 0.0)
    take(inbox)
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 5)}
    inbox.welcome([state(head=3, acked=3)])
    inbox.gap(GapFrame(CONV, EPOCH, from_=4, to=5, why="ahead"), 0.0)
    assert take(inbox) == [Gap(CONV, EPOCH, 4, 5, "ahead", 3)]
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 3)}
    inbox.welcome([state(head=4, acked=3)])
    inbox.deliver(run(4, 4), 0.0)
    assert inbox.acks.take() == []
    assert seqs(take(inbox)) == [4]
    assert inbox.acks.take() == [Ack(CONV, 4)]


def test_an_event_in_hand_does_not_move_the_place_in_a_tail_that_was_given_anew(inbox):
    inbox.deliver(run(1, 5), 0.0)
    *_, in_hand = take(inbox, process=False)
    inbox.gap(GapFrame(CONV, EPOCH, from_=3, to=5, why="ahead"), 0.0)
    inbox.deliver(run(3, 6), 0.0)
    inbox.processed(in_hand, 0.0)
    assert inbox.acks.take() == []
    assert seqs(take(inbox)) == [(3, 5), 3, 4, 5, 6]


def test_until_the_application_took_the_gap_the_place_does_not_move(inbox):
    inbox.recall(Recollection(None, [], [Place(CONV, EPOCH, 5)]))
    inbox.resume(BYTES)
    inbox.gap(GapFrame(CONV, "e2", from_=4, to=5, why="restored"), 0.0)
    assert inbox.places.take() == []
    inbox.processed(inbox.next(), 0.0)
    assert inbox.places.take() == [Place(CONV, "e2", 3)]


def test_a_gap_of_old_events_moves_the_place_behind_it(inbox):
    inbox.recall(Recollection(None, [], []))
    inbox.gap(GapFrame(CONV, EPOCH, from_=1, to=4, why="retention"), 0.0)
    take(inbox)
    assert inbox.places.take() == [Place(CONV, EPOCH, 4)]
    assert inbox.acks.take() == [Ack(CONV, 4)]


def test_behind_a_gap_of_old_events_nothing_may_be_missing_either(inbox):
    inbox.gap(GapFrame(CONV, EPOCH, from_=1, to=4, why="retention"), 0.0)
    inbox.deliver(run(6, 6), 0.0)
    assert inbox.repairs.take() == [(CONV, 4)]
    inbox.deliver(run(5, 6), 0.0)
    assert seqs(take(inbox)) == [(1, 4), 5, 6]


def test_a_gap_that_begins_too_late_is_a_hole_before_it(inbox):
    inbox.deliver(run(1, 2), 0.0)
    inbox.gap(GapFrame(CONV, EPOCH, from_=5, to=6, why="retention"), 0.0)
    assert seqs(take(inbox)) == [1, 2]
    assert inbox.repairs.take() == [(CONV, 2)]


def test_a_gap_that_begins_early_is_told_from_what_is_missing(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.gap(GapFrame(CONV, EPOCH, from_=2, to=5, why="retention"), 0.0)
    assert seqs(take(inbox)) == [1, 2, 3, (4, 5)]


def test_a_server_whose_cursor_is_further_names_what_it_leaves_out(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox)
    inbox.gap(GapFrame(CONV, "e2", from_=6, to=3, why="restored"), 0.0)
    inbox.deliver(run(6, 6, epoch="e2"), 0.0)
    gap, event = take(inbox)
    assert gap == Gap(CONV, "e2", 4, 5, "restored", 5)
    assert event.seq == 6


def test_a_head_of_a_conversation_that_never_came_asks_for_a_new_welcome(inbox):
    inbox.announced(Head("g/unseen", EPOCH, 3), 0.0)
    assert inbox.is_lost
    inbox.resume(BYTES)
    assert not inbox.is_lost


def test_positions_that_do_not_fit_into_a_hello_are_left_to_the_server(inbox):
    for n in range(100):
        inbox.deliver(run(1, 2, conv=f"g/{n}"), 0.0)
    take(inbox)
    positions = inbox.resume(1000)
    assert 5 < len(positions) < 30
    inbox.welcome([state(conv=f"g/{n}", head=2, acked=1) for n in range(100)])
    assert {ack.conv for ack in inbox.acks.take()} == set(positions)
    for n in range(100):
        inbox.deliver(run(2, 3, conv=f"g/{n}"), 0.0)
    assert seqs(take(inbox)) == [3] * 100


def test_a_new_epoch_is_never_silent(inbox):
    inbox.deliver(run(1, 5), 0.0)
    take(inbox)
    inbox.deliver(run(4, 4, epoch="e2"), 0.0)
    assert seqs(take(inbox)) == [(4, 5), 4]


def test_a_new_epoch_that_begins_further_on_asks_for_a_new_welcome(inbox):
    inbox.deliver(run(1, 3), 0.0)
    take(inbox)
    inbox.deliver(run(7, 8, epoch="e2"), 0.0)
    assert take(inbox) == []
    assert inbox.is_lost
    assert inbox.resume(BYTES) == {CONV: Position(EPOCH, 3)}
    inbox.welcome([state(epoch="e2", head=8, acked=2)])
    inbox.gap(GapFrame(CONV, "e2", from_=3, to=3, why="restored"), 0.0)
    inbox.deliver(run(3, 8, epoch="e2"), 0.0)
    assert seqs(take(inbox)) == [(3, 3), 3, 4, 5, 6, 7, 8]


def test_what_is_queued_of_a_log_that_was_restored_is_not_shown(inbox):
    inbox.deliver(run(1, 5), 0.0)
    inbox.processed(inbox.next(), 0.0)
    inbox.resume(BYTES)
    inbox.welcome([state(epoch="e2", head=1, acked=1)])
    assert take(inbox) == []
    inbox.deliver(run(2, 3, epoch="e2"), 0.0)
    assert seqs(take(inbox)) == [(2, 5), 2, 3]


def test_a_new_epoch_of_which_no_place_was_resumed_is_shown_from_where_the_old_one_began(inbox):
    inbox.deliver(run(1, 3), 0.0)
    inbox.next()
    assert inbox.resume(BYTES) == {}
    inbox.welcome([state(epoch="e2", head=5, acked=4)])
    inbox.deliver(run(5, 5, epoch="e2"), 0.0)
    assert inbox.repairs.take() == [(CONV, 0)]
    inbox.deliver(run(1, 5, epoch="e2"), 0.1)
    assert seqs(take(inbox)) == [(1, 3), 1, 2, 3, 4, 5]


def test_events_of_an_old_epoch_do_not_move_the_new_cursor(inbox):
    inbox.deliver(run(1, 5), 0.0)
    old = take(inbox, process=False)
    inbox.deliver(run(1, 1, epoch="e2"), 0.0)
    inbox.processed(old[-1], 0.0)
    assert inbox.acks.take() == []


def test_a_hole_that_the_server_refuses_to_fill_becomes_a_gap(inbox):
    inbox.deliver(run(3, 4), 0.0)
    inbox.beyond_repair(CONV, "you are no member")
    (gap,) = take(inbox)
    assert (gap.first, gap.last, gap.why) == (1, 4, "you are no member")
    inbox.deliver(run(5, 5), 0.0)
    assert seqs(take(inbox)) == [5]


def test_of_several_refusals_the_first_tells_the_gap_and_nothing_that_comes_later_is_in_it(inbox):
    inbox.deliver(run(3, 4), 0.0)
    for _ in range(3):
        inbox.beyond_repair(CONV, "you are no member")
    inbox.deliver(run(5, 6), 0.0)
    assert seqs(take(inbox)) == [(1, 4), 5, 6]


def test_a_new_conversation_begins_where_the_server_begins(inbox):
    inbox.deliver(run(7, 8, conv="g/new"), 0.0)
    assert seqs(take(inbox)) == [7, 8]


def test_placing_a_conversation_shows_it_again_from_there(inbox):
    inbox.deliver(run(1, 4), 0.0)
    take(inbox)
    inbox.place(CONV, 1)
    inbox.deliver(run(2, 4), 0.0)
    assert seqs(take(inbox)) == [2, 3, 4]
