"""The loads of ``make pressure``, small and for their outcome alone: how fast they go is not asserted."""

import pytest

from tests.pressure.findings import Findings
from tests.pressure.flood import Flood
from tests.pressure.long_backlog import LongBacklog
from tests.pressure.many_conversations import ManyConversations
from tests.pressure.never_acks import NeverAcks
from tests.pressure.siege import Siege
from tests.pressure.stalled_readers import StalledReaders
from tests.pressure.terminate import Terminate
from tests.pressure.unread_answers import UnreadAnswers

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


def assert_kept(found: Findings) -> None:
    assert not found.broken, found


def test_honest_sends_are_never_refused_beside_robots_that_flood(tmp_path):
    flood = Flood(
        connections=4,
        in_flight=32,
        body_bytes=20 * 1024,
        rate=20,  # all that the honest send at that fits in the room that is kept for who sends little
        seconds=1,
        turns=1,
        pending_bytes_max=512 * 1024,  # less than is read from the flooders in one turn of the loop
    )
    assert_kept(flood.run(tmp_path))


def test_members_that_stop_reading_keep_nothing_from_those_who_read(tmp_path):
    stalled = StalledReaders(readers=30, rate=200, body_bytes=8 * 1024, seconds=1, turns=1)
    assert_kept(stalled.run(tmp_path))


def test_who_never_acks_gets_its_window_and_not_one_event_more(tmp_path):
    assert_kept(NeverAcks(windows=(1, 50, 5_000), events=300, body_bytes=100).run(tmp_path))


def test_a_robot_in_hundreds_of_groups_gets_all_that_it_missed(tmp_path):
    assert_kept(ManyConversations(groups=300, missed=2).run(tmp_path))


def test_a_robot_that_comes_back_late_gets_everything_whatever_its_window(tmp_path):
    assert_kept(LongBacklog(events=5_000, windows=(7, 1_024)).run(tmp_path))


def test_pages_that_nobody_reads_are_not_made_in_advance(tmp_path):
    found = UnreadAnswers(requests=400, greedy=3, events=1_000).run(tmp_path)
    assert not found.broken and not found.missed, found


def test_a_server_that_is_terminated_under_load_answers_exactly_what_it_stores(tmp_path):
    assert_kept(Terminate(rounds=1, robots=5, in_flight=20, load=200).run(tmp_path))


def test_a_robot_beyond_its_rate_and_visitors_without_a_word_harm_nobody(tmp_path):
    siege = Siege(robot_frames_per_s=100, dribblers=50, silent=200, rate=50, seconds=3, turns=1)
    assert_kept(siege.run(tmp_path))
