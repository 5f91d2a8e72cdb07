"""A robot on a bad network: whatever is cut, lost, doubled or late, it sees each event once and in order.

The machine is driven by hand against the server in memory, with a network in between that hypothesis rules.
The robot's process may end at any step, and has a memory or not.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from client_sdk import VolatileMemory
from client_sdk.records import Sent
from tests.unit.client_sdk.world import World

ACTIONS = {
    "send": lambda world, n: world.send(),
    "post": lambda world, n: world.server.post(world.conv, n, sender="r2"),
    "up": lambda world, n: world.carry_up(n),
    "down": lambda world, n: world.carry_down(n),
    "lose": lambda world, n: world.lose_down(),
    "double": lambda world, n: world.double_down(),
    "swap": lambda world, n: world.swap_down(),
    "cut": lambda world, n: world.lose(),
    "take": lambda world, n: world.take(n),
    "restart": lambda world, n: world.restart() if n == 1 else None,
    "forget": lambda world, n: world.forget_acks(n),
    "keep": lambda world, n: world.keep(),
    "die": lambda world, n: world.keep(and_die=True) if n < 3 else None,
    "wait": lambda world, n: world.pass_time(n / 4),
}

OFTEN = ["up", "down", "post", "take", "keep"] * 3  # most of the time the network works


def assert_seen_in_order(lives, log):
    """Within a life each event once and in order; a new life begins no later than the last one ended."""
    done = 0
    for seen in lives:
        if seen:
            first = seen[0][0]
            assert first <= done + 1, f"events {done + 1} to {first - 1} were skipped"
            assert seen == log[first - 1 : first - 1 + len(seen)]
            done = max(done, seen[-1][0])
    assert done == len(log)


def stories():
    return st.lists(
        st.tuples(st.sampled_from(sorted(ACTIONS) + OFTEN), st.integers(1, 6)),
        min_size=80,
        max_size=250,
    )


def play(world, story):
    for name, number in story:
        world.step()
        ACTIONS[name](world, number)
    world.heal()
    log = world.server.log(world.conv)
    stored = {event.cid: event.seq for event in log}
    assert len(stored) == len(log), "a send was stored twice"
    for request_id, cid in world.asked.items():
        outcome = world.outcomes[request_id]
        assert isinstance(outcome, Sent)
        assert outcome.seq == stored[cid]
    return log


@settings(max_examples=150, deadline=None)
@given(story=stories(), seed=st.integers(0, 2**16))
def test_each_event_is_seen_once_and_in_order_and_each_send_stored_once(story, seed):
    world = World(seed)
    log = play(world, story)
    assert_seen_in_order(world.lives, [(event.seq, event.cid) for event in log])


@settings(max_examples=200, deadline=None)
@given(story=stories(), seed=st.integers(0, 2**16))
def test_with_a_memory_nothing_that_was_kept_is_lost_by_a_restart(story, seed):
    world = World(seed, VolatileMemory())
    log = play(world, story)
    assert_seen_in_order(world.lives, [(event.seq, event.cid) for event in log])
    for place, seen in zip(world.begun, world.lives, strict=True):
        assert not seen or seen[0][0] == place + 1, "a process began elsewhere than its memory says"
    mine = [event.cid for event in log if event.cid.startswith("mine-")]
    assert mine == world.kept, "lost, doubled or out of order"
    assert not world.memory._sends
