"""A robot on a bad network: whatever is cut, lost, doubled or late, it sees each event once and in order.

The machine is driven by hand against the server in memory, with a network in between that hypothesis rules.
"""

import random
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from client_sdk.introduction import Credentials, Introduction
from client_sdk.machine import Machine
from client_sdk.options import Options
from client_sdk.outbox import Repeat
from client_sdk.records import Event, Sent
from client_sdk.states import CONNECTED, State
from client_sdk.testing import MemoryServer
from client_sdk.testing.session import MemorySession
from client_sdk.transport import TransportClosed
from imserver.protocol.client_frames import Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.server_frames import Deliver, Head
from imserver.protocol.server_frames import Sent as SentFrame
from tests.unit.client_sdk.frames import raw

WINDOW = 6
PATIENCE_STEPS = 400


class Wire:
    """The network between one robot and the server: two queues of frames, ruled by hand."""

    def __init__(self, server):
        self.up = deque()
        self.down = deque()
        self.closed = None
        self.session = MemorySession(server._node, self, server._handle)

    def push(self, message):
        if self.closed is None:
            self.down.append(message)

    def cut(self, code, reason):
        if self.closed is None:
            self.closed = TransportClosed(code, reason)
            self.session.on_closed()


class World:
    """A robot, its application, the server, and time."""

    def __init__(self, seed):
        self.server = MemoryServer()
        self.conv = self.server.add_group("dock", ["r1", "r2"])
        self.dice = random.Random(seed)
        self.now_s = 0.0
        self.sends = 0
        self.lives = []
        self.wire = None
        self.begin()

    def begin(self):
        """Start the robot's process, which remembers nothing."""
        introduction = Introduction(
            Credentials(key=None, token=None, bearer="b"),
            robot="r1",
            device="main",
            instance="i",
            window=WINDOW,
            auto=True,
            server=None,
        )
        options = Options(window=WINDOW)
        self.machine = Machine(introduction, options, codec=MSGPACK, dice=self.dice)
        self.seen = []
        self.lives.append(self.seen)
        self.asked = {}
        self.outcomes = {}

    def restart(self):
        """Kill the robot's process and start it again."""
        if self.wire is not None:
            self.wire.cut(1006, "killed")
            self.wire = None
        self.begin()

    def step(self):
        """Do what the shell does: connect when it is time, write, collect answers."""
        machine = self.machine
        if machine.state is State.NEW or (
            machine.state is State.WAITING and machine.retry_at_s <= self.now_s
        ):
            machine.connecting(self.now_s)
            self.wire = Wire(self.server)
            machine.connected()
        if self.wire is not None and machine.state in CONNECTED:
            while frames := machine.take_frames():
                self.wire.up.extend(MSGPACK.encode(frame) for frame in frames)
            if machine.hang_up is not None:
                self.wire.cut(*machine.hang_up)
                self.lose()
        for request_id, answer in machine.requests.take_ended():
            assert request_id not in self.outcomes, "a send ended twice"
            self.outcomes[request_id] = answer

    def lose(self):
        if self.wire is not None and self.machine.state in CONNECTED:
            self.wire.cut(1006, "cut")
            self.wire = None
            self.machine.disconnected(1006, "cut", self.now_s)

    def send(self):
        request_id = next(self.machine.ids)
        self.sends += 1
        cid = f"mine-{self.sends}"
        self.asked[request_id] = cid
        frame = Send(request_id, self.conv, cid, raw(self.sends))
        self.machine.requests.submit(frame, repeat=Repeat.SAFE, deadline_s=self.now_s + 10_000)

    def level(self, head):
        """Tell whether the application has seen everything up to ``head``."""
        last = max((seen[-1][0] for seen in self.lives if seen), default=0)
        return last >= head

    def carry_up(self, count):
        while self.wire is not None and self.wire.up and count:
            self.wire.session.on_message(self.wire.up.popleft())
            count -= 1

    def carry_down(self, count):
        while self.wire is not None and self.wire.down and count:
            self.machine.received(MSGPACK.decode_server(self.wire.down.popleft()), self.now_s)
            count -= 1

    def lose_down(self):
        if self.wire is not None and self.wire.down and isinstance(self._next(), Deliver):
            self.wire.down.popleft()

    def double_down(self):
        if self.wire is not None and self.wire.down and isinstance(self._next(), Deliver):
            self.wire.down.insert(self.dice.randrange(4), self.wire.down[0])

    def swap_down(self):
        down = self.wire.down if self.wire is not None else ()
        if len(down) > 1:
            kinds = {type(MSGPACK.decode_server(down[n])) for n in (0, 1)}
            if kinds == {Deliver, SentFrame}:
                down[0], down[1] = down[1], down[0]

    def _next(self):
        return MSGPACK.decode_server(self.wire.down[0])

    def take(self, count):
        while count and (item := self.machine.inbox.next()) is not None:
            assert isinstance(item, Event), item
            self.seen.append((item.seq, item.cid))
            self.machine.inbox.processed(item, self.now_s)
            count -= 1

    def pass_time(self, seconds):
        self.now_s += seconds
        self.machine.tick(self.now_s)

    def heal(self):
        """Let everything arrive, the announcement of the head too, until all is level."""
        for _ in range(PATIENCE_STEPS):
            self.step()
            self.carry_up(1000)
            self.carry_down(1000)
            self.take(1000)
            self.pass_time(0.3)
            head = self.server._node.conversations.get(self.conv).head
            if self.machine.state is State.ONLINE and self.wire is not None:
                self.wire.session.write(Head(self.conv, "memory", head))
            if len(self.outcomes) == len(self.asked) and self.level(head):
                return
        raise AssertionError(f"not level: {self.seen} of {head}, {self.machine.state}")


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
    "wait": lambda world, n: world.pass_time(n / 4),
}

OFTEN = ["up", "down", "post", "take"] * 3  # most of the time the network works


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


@settings(max_examples=150, deadline=None)
@given(
    script=st.lists(
        st.tuples(st.sampled_from(sorted(ACTIONS) + OFTEN), st.integers(1, 6)),
        min_size=80,
        max_size=250,
    ),
    seed=st.integers(0, 2**16),
)
def test_each_event_is_seen_once_and_in_order_and_each_send_stored_once(script, seed):
    world = World(seed)
    for name, number in script:
        world.step()
        ACTIONS[name](world, number)
    world.heal()
    log = world.server.log(world.conv)
    assert_seen_in_order(world.lives, [(event.seq, event.cid) for event in log])
    stored = {event.cid: event.seq for event in log}
    assert len(stored) == len(log)
    for request_id, cid in world.asked.items():
        outcome = world.outcomes[request_id]
        assert isinstance(outcome, Sent)
        assert outcome.seq == stored[cid]
