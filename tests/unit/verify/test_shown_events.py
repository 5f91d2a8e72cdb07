"""What may explain that a session is not simply shown the next event, and what may not."""

import pytest

from imserver.verify.guarantees import Guarantee
from tests.unit.verify.story import GROUP, Story

OTHER_EPOCH = "epoch-2"


@pytest.fixture
def story():
    """Three members, a log of ten events by a sender without a history, and nobody online."""
    story = Story()
    body = {"members": {"r1": "owner", "r2": "member", "r3": "member"}, "open": True}
    story.append_change("group_created", "r9", body)
    for number in range(2, 11):
        story.append(GROUP, "r9", cid=f"c{number}", kind="message", body=number)
    return story


@pytest.fixture
def judge(story, tmp_path):
    """Return which guarantees are violated."""
    return lambda **options: story.judge(tmp_path, **options).violated()


def show(client, *seqs):
    for seq in seqs:
        client.shown(GROUP, seq)


def tell_gap(client, first, last, *, why="retention", **more):
    client.note("gap", conv=GROUP, epoch="epoch-1", **{"from": first}, to=last, why=why, **more)


def test_a_new_member_begins_with_the_event_that_added_it(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3)
    assert judge() == set()


def test_a_new_member_may_not_begin_later(story, judge):
    story["r1"].open()
    show(story["r1"], 2, 3)
    assert judge() == {"G11"}


def test_a_second_device_may_begin_where_the_robot_is(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4)
    story["r1"].lives += 1
    story["r1"].note("session_open", device="spare", clock="host")
    show(story["r1"], 5, 6)
    assert judge() == set()


def test_a_second_device_may_not_begin_beyond_the_robot(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4)
    story["r1"].lives += 1
    story["r1"].note("session_open", device="spare", clock="host")
    show(story["r1"], 6)
    assert judge() == {"G11"}


def test_a_later_session_does_not_excuse_an_earlier_one(story, judge):
    story["r1"].open()
    show(story["r1"], 5)
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4, 5)
    assert judge() == {"G11"}


def test_a_new_session_may_be_shown_again_what_was_not_acked(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4)
    story["r1"].open()
    show(story["r1"], 2, 3, 4, 5)
    assert judge() == set()


def test_a_session_that_resumes_by_itself_may_not_be_shown_anything_again(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4)
    story["r1"].lives += 1
    resume = {GROUP: {"epoch": "epoch-1", "seq": 4}}
    story["r1"].note("session_open", clock="host", resume=resume)
    show(story["r1"], 4, 5)
    assert judge() == {"G11"}


def test_a_client_that_follows_may_read_anything_again(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3, 4)
    story["r1"].note("follow", conv=GROUP, after=1)
    show(story["r1"], 2, 3, 4, 5)
    story["r1"].note("follow", conv=GROUP, after=8)
    show(story["r1"], 9, 10)
    assert judge() == set()


def test_a_gap_excuses_its_range(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2)
    tell_gap(story["r1"], 3, 5)
    show(story["r1"], 6, 7)
    assert judge() == set()


def test_a_gap_does_not_excuse_what_lies_behind_it(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2)
    tell_gap(story["r1"], 3, 5)
    show(story["r1"], 7)
    assert judge() == {"G9"}


def test_a_gap_does_not_excuse_what_lies_before_it(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2)
    tell_gap(story["r1"], 4, 5)
    show(story["r1"], 6)
    assert judge() == {"G9"}


def test_a_gap_of_retention_does_not_excuse_a_repetition(story, judge):
    story["r1"].open()
    show(story["r1"], 1, 2, 3)
    tell_gap(story["r1"], 4, 5)
    show(story["r1"], 3)
    assert judge() == {"G9"}


def test_behind_a_restore_the_numbers_are_given_again(story, judge):
    story["r1"].open()
    for event in story.logs[GROUP][:8]:
        story["r1"].shown(GROUP, event["seq"])["epoch"] = "epoch-0"
    tell_gap(story["r1"], 6, 8, why="restored")
    show(story["r1"], 6, 7, 8)
    assert judge() == set()


def test_behind_a_restore_nothing_may_be_skipped(story, judge):
    story["r1"].open()
    for event in story.logs[GROUP][:5]:
        story["r1"].shown(GROUP, event["seq"])["epoch"] = "epoch-0"
    tell_gap(story["r1"], 6, 6, why="restored")
    show(story["r1"], 8)
    assert judge() == {"G9"}


def test_behind_a_gap_the_log_goes_on_where_the_client_was_told(story, judge):
    story["r1"].open()
    for event in story.logs[GROUP][:8]:
        story["r1"].shown(GROUP, event["seq"])["epoch"] = "epoch-0"
    tell_gap(story["r1"], 6, 8, why="restored", after=5)
    show(story["r1"], 7)
    assert judge() == {"G9"}


def test_a_new_epoch_may_come_without_a_loss(story, judge):
    story["r1"].open()
    for event in story.logs[GROUP][:3]:
        story["r1"].shown(GROUP, event["seq"])["epoch"] = "epoch-0"
    tell_gap(story["r1"], 4, 3, why="restored", after=3)
    show(story["r1"], 4, 5)
    assert judge() == set()


def test_a_beginning_is_judged_by_the_log_it_was_a_part_of(story, judge):
    story["r2"].open()
    for seq in (4, 5):  # where it was added again, in a log that was restored since
        shown = story["r2"].shown(GROUP, seq)
        shown |= {"epoch": "epoch-0", "kind": "members_added", "body_sha": "0" * 64}
    tell_gap(story["r2"], 3, 5, why="restored", after=2)
    show(story["r2"], 3, 4)
    assert judge() == set()


def test_acks_before_a_restore_are_told_and_not_called_lost(story, tmp_path):
    story["r1"].open()
    story["r1"].send(GROUP)["epoch"] = "epoch-0"
    story["r1"].stored(story["r1"].invoke(GROUP), 12)["epoch"] = "epoch-0"
    report = story.judge(tmp_path)
    assert report.clean, report.to_text()
    assert report.of(Guarantee.G1).count == 1
    assert report.notes["acked events that a restore of the store has lost"] == 1


def test_whoever_left_goes_on_with_the_event_that_added_it_again(story, judge):
    story["r3"].open()
    story["r3"].place[GROUP] = 0
    story["r3"].receive(GROUP)
    story.leave(story["r3"])
    story["r3"].receive(GROUP)
    story.append(GROUP, "r9", cid="unseen", kind="message", body=0)
    story.join(story["r3"])
    story["r3"].receive(GROUP)
    assert judge() == set()
    assert judge(raw=False) == set()


def test_whoever_left_may_not_skip_the_event_that_added_it_again(story, judge):
    story["r3"].open()
    story["r3"].receive(GROUP)
    story.leave(story["r3"])
    story["r3"].receive(GROUP)
    story.join(story["r3"])
    seq = story.append(GROUP, "r9", cid="next", kind="message", body=0)
    show(story["r3"], seq)
    assert judge() == {"G9"}


def test_an_admin_may_read_without_being_a_member(story, judge):
    story["r1"].note("session_open", admin=True, auto=False, clock="host")
    story.logs["g/other"] = []
    story.append("g/other", "r9", cid="1", kind="message", body=0)
    story["r1"].note("follow", conv="g/other", after=0)
    story["r1"].shown("g/other", 1)
    assert judge() == set()


@pytest.mark.parametrize(("auto", "violated"), [(True, {"G10"}), (False, set())])
def test_only_who_receives_everything_must_have_everything(story, judge, auto, violated):
    story["r1"].note("session_open", auto=auto, clock="host")
    story["r1"].note("follow", conv="g/other", after=0)
    story.append("g/other", "r9", cid="1", kind="message", body=0)
    story["r2"].open()
    show(story["r2"], 1)
    story["r1"].close(drained=True)
    assert judge() == violated


def test_who_was_removed_at_the_end_need_not_have_seen_it(story, judge):
    story["r3"].open()
    story.leave(story["r3"])
    show(story["r3"], 1)
    story["r3"].close(drained=True)
    assert judge() == set()


def test_a_session_that_was_not_drained_owes_nothing(story, judge):
    story["r1"].open()
    show(story["r1"], 1)
    story["r1"].close(drained=False)
    assert judge() == set()


def test_a_device_without_news_is_level_with_its_robot(story, judge):
    story["r1"].open()
    show(story["r1"], *range(1, 11))
    story["r1"].note("session_open", device="spare", clock="host")["session"] = "spare"
    story["r1"].note("session_close", drained=True)["session"] = "spare"
    assert judge() == set()


def test_events_below_the_floor_are_no_hole_and_their_acks_no_loss(story, tmp_path):
    story["r1"].open()
    sent = story["r1"].send(GROUP)
    story.append(GROUP, "r9", cid="last", kind="message", body=0)
    tell_gap(story["r1"], 1, 11)
    show(story["r1"], 12)
    story.logs[GROUP] = [{**story.logs[GROUP][-1], "floor": sent["seq"] + 1}]
    story["r1"].close(drained=True)
    report = story.judge(tmp_path)
    assert report.clean, report.to_text()
    assert report.notes["acked events that retention has removed since"] == 1
