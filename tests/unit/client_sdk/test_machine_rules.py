"""The SDK's machine in any order of what robot, network, server and memory may do, with looks in between.

What `test_simulation` tells as stories whose end is judged, is judged here after each step.
"""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from client_sdk import VolatileMemory
from client_sdk.records import Sent
from client_sdk.states import CONNECTED, State
from imserver.protocol.server_frames import Head
from tests.unit.client_sdk.world import WINDOW, World

few = st.integers(1, 6)


class Robots(RuleBasedStateMachine):
    """A robot without a memory."""

    memory: Callable[[], VolatileMemory | None] = staticmethod(lambda: None)

    def __init__(self):
        super().__init__()
        self.world = World(0, self.memory())
        self.outcomes = {}
        self.world.step()
        self.flow()

    @property
    def machine(self):
        return self.world.machine

    # The robot and its application.

    @rule(count=few)
    def send(self, count):
        for _ in range(count):
            self.world.send()
        self.world.step()

    @rule(count=few)
    def take(self, count):
        self.world.take(count)
        self.world.step()

    @rule(quarters=st.integers(1, 40))
    def wait(self, quarters):
        self.world.pass_time(quarters / 4)
        self.world.step()

    @rule()
    def restart(self):
        self.world.restart()
        self.outcomes = {}
        self.world.step()

    # The network, which works most of the time.

    @rule()
    def flow(self):
        for _ in range(3):
            self.world.carry_up(20)
            self.world.carry_down(20)
            self.world.step()

    @rule(posted=few, taken=few)
    def go_on(self, posted, taken):
        self.post(posted)
        self.flow()
        self.take(taken)

    @rule(count=few)
    def send_and_go_on(self, count):
        self.send(count)
        self.flow()

    @rule(count=few)
    def carry_up(self, count):
        self.world.carry_up(count)
        self.world.step()

    @rule(count=few)
    def carry_down(self, count):
        self.world.carry_down(count)
        self.world.step()

    @precondition(lambda self: self.world.wire is not None and self.world.wire.down)
    @rule(what=st.sampled_from(["lose_down", "double_down", "swap_down"]))
    def spoil(self, what):
        getattr(self.world, what)()
        self.world.step()

    @rule(quarters=st.integers(1, 60))
    def cut(self, quarters):
        """Cut the connection; at times it is back when the robot has waited that long."""
        self.world.lose()
        self.world.pass_time(quarters / 4)
        self.world.step()

    # The server.

    @rule(count=few)
    def post(self, count):
        for number in range(count):
            self.world.server.post(self.world.conv, number, sender="r2")
        self.world.step()

    @rule(count=few)
    def forget_acks(self, count):
        self.world.forget_acks(count)

    @precondition(lambda self: self.machine.state is State.ONLINE and self.world.wire is not None)
    @rule()
    def announce(self):
        head = self.world.server._node.conversations.get(self.world.conv).head
        self.world.wire.session.write(Head(self.world.conv, "memory", head))

    # What must be so at any time.

    @invariant()
    def the_application_saw_a_run_of_the_log(self):
        log = [(event.seq, event.cid) for event in self.world.server.log(self.world.conv)]
        for seen in self.world.lives:
            if seen:
                first = seen[0][0]
                assert seen == log[first - 1 : first - 1 + len(seen)]

    @invariant()
    def what_is_told_to_be_stored_is_stored(self):
        places = {event.cid: event.seq for event in self.world.server.log(self.world.conv)}
        for request_id, outcome in self.world.outcomes.items():
            assert isinstance(outcome, Sent)
            assert places[self.world.asked[request_id]] == outcome.seq
            assert self.outcomes.setdefault(request_id, outcome) == outcome

    @invariant()
    def what_waits_for_the_application_is_bounded(self):
        assert len(self.machine.inbox) <= 2 * WINDOW

    @invariant()
    def there_is_a_wire_just_when_there_is_a_connection(self):
        assert (self.machine.state in CONNECTED) == (self.world.wire is not None)

    @invariant()
    def what_is_due_has_a_time(self):
        due_s = self.machine.next_deadline_s()
        assert due_s is None or due_s >= 0.0

    def teardown(self):
        """Let everything arrive: then all was seen, each event once, and each send is stored once."""
        world = self.world
        world.heal()
        log = world.server.log(world.conv)
        assert len({event.cid for event in log}) == len(log)
        assert all(isinstance(outcome, Sent) for outcome in world.outcomes.values())
        self.the_application_saw_a_run_of_the_log()


class Keepers(Robots):
    """A robot with a memory, which may die while it writes there."""

    memory: Callable[[], VolatileMemory | None] = staticmethod(VolatileMemory)

    @rule(and_die=st.booleans())
    def keep(self, and_die):
        self.world.keep(and_die=and_die)
        if and_die:
            self.outcomes = {}
        self.world.step()


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestRobot = Robots.TestCase
TestRobot.settings = SETTINGS
TestRobotWithAMemory = Keepers.TestCase
TestRobotWithAMemory.settings = SETTINGS
