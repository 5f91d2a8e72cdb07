"""Who goes first when more waits for the store than one commit takes."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from imserver.core.errors import Refusal
from imserver.core.model import Added, Append, MembershipChange, Outcome, Removed
from imserver.logic.fair_queue import EVENT_BYTES, Entry, FairQueue, weigh
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName

LARGE, SMALL = 255 * 1024, 100
BATCH = {"events_max": 512, "bytes_max": 4 * 1024 * 1024}
GROUP, OTHER = ConversationName("g/dock"), ConversationName("g/yard")


class Silent:
    """A waiter of whom nothing is asked here."""

    def on_outcome(self, outcome: Outcome) -> None:
        raise AssertionError(outcome)

    def on_refusal(self, refusal: Refusal) -> None:
        raise AssertionError(refusal)


def entry(
    robot: str,
    cid: str,
    *,
    size: int = SMALL,
    conv: ConversationName = GROUP,
    change: MembershipChange | None = None,
) -> Entry:
    return Append(conv, 1, RobotName(robot), cid, "message", bytes(size), None, change), Silent()


def queue_of(*entries: Entry) -> FairQueue:
    queue = FairQueue()
    for each in entries:
        queue.put(each)
    return queue


def flood(robot: str, count: int, *, size: int = LARGE) -> list[Entry]:
    return [entry(robot, f"{robot}-{number}", size=size) for number in range(count)]


def cids(entries: list[Entry]) -> list[str]:
    return [append.cid for append, _ in entries]


def test_a_robots_events_keep_their_order():
    queue = queue_of(*flood("r1", 5), *flood("r2", 5))
    taken = cids(queue.take(**BATCH).batch)
    for robot in ("r1", "r2"):
        mine = [cid for cid in taken if cid.startswith(robot)]
        assert mine == [f"{robot}-{number}" for number in range(5)]


def test_a_small_event_goes_into_the_next_batch_however_much_another_robot_has_waiting():
    queue = queue_of(*flood("flooder", 400))
    queue.take(**BATCH)
    queue.put(entry("honest", "late"))
    assert "late" in cids(queue.take(**BATCH).batch)


def test_a_small_event_goes_before_the_large_ones_of_a_thousand_robots():
    queue = queue_of(*(e for number in range(1_000) for e in flood(f"f{number}", 2)))
    for _ in range(30):
        queue.take(**BATCH)
        queue.put(entry("honest", "late"))
        assert "late" in cids(queue.take(**BATCH).batch)


def test_a_robot_that_sends_a_little_all_the_time_never_waits_longer_than_a_batch():
    queue = queue_of(*flood("flooder", 2_000))
    for turn in range(50):
        for number in range(20):
            queue.put(entry("honest", f"{turn}-{number}", size=1_000))
        taken = cids(queue.take(**BATCH).batch)
        assert {f"{turn}-{number}" for number in range(20)} <= set(taken)


def test_robots_with_small_and_with_large_events_get_the_same_weight():
    queue = queue_of(*flood("large", 400), *flood("small", 40_000, size=2_000))
    given_to: dict[str, int] = defaultdict(int)
    for _ in range(15):
        for append, _ in queue.take(**BATCH).batch:
            given_to[append.sender] += weigh(append)
    assert abs(given_to["large"] - given_to["small"]) <= 2 * (LARGE + EVENT_BYTES)


def test_a_robot_saves_no_turns_while_it_is_silent():
    queue = queue_of(*flood("busy", 100), *flood("late", 1))
    while queue.weight_of(RobotName("busy")) > 50 * LARGE:
        queue.take(events_max=4, bytes_max=BATCH["bytes_max"])
    for each in flood("late", 50):
        queue.put(each)
    taken = cids(queue.take(events_max=10, bytes_max=2**40).batch)
    assert sum(cid.startswith("late") for cid in taken) <= 6


def test_an_event_that_is_larger_than_a_batch_goes_alone():
    queue = queue_of(*flood("r1", 2))
    assert cids(queue.take(events_max=512, bytes_max=1_000).batch) == ["r1-0"]


def test_a_batch_is_full_by_number_too():
    queue = queue_of(*flood("r1", 30, size=1), *flood("r2", 30, size=1))
    assert len(queue.take(events_max=7, bytes_max=2**30).batch) == 7


def test_nothing_of_a_robot_follows_its_removal_from_the_group():
    removal = Removed((RobotName("flooder"),))
    queue = queue_of(
        *flood("flooder", 100),
        entry("flooder", "elsewhere", conv=OTHER),
        entry("owner", "removal", change=removal),
    )
    taken = queue.take(**BATCH)
    after = cids(taken.batch)[cids(taken.batch).index("removal") + 1 :]
    assert [cid for cid in after if cid.startswith("flooder")] == []
    assert len(taken.withdrawn) == 100
    assert cids(queue.take(**BATCH).batch + taken.batch).count("elsewhere") == 1
    assert queue.weight == 0 and not queue


def test_what_a_robot_asked_for_in_a_role_that_it_lost_is_withdrawn():
    demotion = Added((RobotName("second"),), Role.OBSERVER)
    waiting = flood("second", 20)
    queue = queue_of(*waiting, entry("first", "demotion", change=demotion))
    taken = queue.take(**BATCH)
    assert cids(taken.withdrawn) == cids(waiting)


def test_a_robot_that_others_join_keeps_its_place():
    joined = Added((RobotName("new"),), Role.MEMBER)
    queue = queue_of(*flood("r1", 3), entry("owner", "joined", change=joined))
    taken = queue.take(**BATCH)
    assert taken.withdrawn == []
    assert len(taken.batch) == 4


ROBOTS = st.sampled_from(["r1", "r2", "r3"])
PUTS = st.lists(st.tuples(ROBOTS, st.integers(0, 300), st.sampled_from([GROUP, OTHER])), max_size=8)
ROUNDS = st.lists(st.tuples(PUTS, st.integers(1, 6), st.integers(1, 3_000)), max_size=12)


@given(ROUNDS)
def test_everything_that_was_put_is_taken_once_and_in_its_robots_order(rounds):
    queue, waiting, number = FairQueue(), defaultdict(list), 0
    for puts, events_max, bytes_max in [*rounds, ([], 1_000, 2**40)]:
        for robot, size, conv in puts:
            number += 1
            queue.put(entry(robot, f"{number}", size=size, conv=conv))
            waiting[robot].append(f"{number}")
        batch = queue.take(events_max=events_max, bytes_max=bytes_max).batch
        assert len(batch) <= events_max
        assert len(batch) <= 1 or sum(weigh(append) for append, _ in batch) <= bytes_max
        for append, _ in batch:
            assert waiting[append.sender].pop(0) == append.cid
        assert bool(queue) is any(waiting.values())
        assert queue.weight == sum(weigh(append) for append, _ in queue.entries())
    assert not any(waiting.values())
