"""A robot's machine, its application, its memory, a bad network and the server in memory, driven by hand."""

import random
from collections import deque

from client_sdk.introduction import Credentials, Introduction
from client_sdk.machine import Machine
from client_sdk.memory import Keep, Owner
from client_sdk.options import Options
from client_sdk.outbox import Repeat
from client_sdk.records import Event
from client_sdk.states import CONNECTED, State
from client_sdk.testing import MemoryServer
from client_sdk.testing.session import MemorySession
from client_sdk.transport import TransportClosed
from imserver.protocol.client_frames import Ack, Send
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
    """A robot, its application, the server, and time.

    Attributes:
        memory: what outlives the robot's process, if it has one.
        lives: what the application saw, in each process of the robot.
        begun: where each process began to read: the place in its memory.
        kept: cids that the memory has, or had.
    """

    def __init__(self, seed, memory=None):
        self.server = MemoryServer()
        self.conv = self.server.add_group("dock", ["r1", "r2"])
        self.dice = random.Random(seed)
        self.now_s = 0.0
        self.sends = 0
        self.lives = []
        self.begun = []
        self.kept = []
        self.wire = None
        self.memory = memory
        self.begin()

    def begin(self):
        """Start the robot's process, which remembers what its memory holds."""
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
        self.begun.append(0)
        if self.memory is not None:
            recollection = self.memory.open(Owner("r1", "main"))
            self.begun[-1] = max([0, *(place.seq for place in recollection.places)])
            self.machine.recall(recollection)

    def keep(self, *, and_die=False):
        """Carry what is due to the memory; ``and_die`` before the robot learns that it is durable."""
        changes = self.machine.notes.take(self.now_s)
        if self.memory is None or not changes:
            return
        self.memory.write(changes)
        self.kept += [change.send.cid for change in changes if isinstance(change, Keep)]
        if and_die:
            self.restart()
        else:
            self.machine.notes.written()

    def forget_acks(self, count):
        """Let the server lose acks, as a crash does to those of the last second."""
        key = ("r1", "main", self.conv)
        cursors = self.server._node.cursors
        if key in cursors:
            cursors[key] = max(0, cursors[key] - count)

    def restart(self):
        """Kill the robot's process and start it again."""
        if self.wire is not None:
            self.wire.cut(1006, "killed")
            self.wire = None
        if self.memory is not None:
            self.memory.close()
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
                self.check_promises(frames)
                self.wire.up.extend(MSGPACK.encode(frame) for frame in frames)
            if machine.hang_up is not None:
                self.wire.cut(*machine.hang_up)
                self.lose()
        for request_id, answer in machine.requests.take_ended():
            assert request_id not in self.outcomes, "a send ended twice"
            self.outcomes[request_id] = answer

    def check_promises(self, frames):
        """Nothing goes on the wire that the memory should have before and has not."""
        if self.memory is None:
            return
        place = max([0, *(place.seq for place in self.memory._places.values())])
        for frame in frames:
            assert not isinstance(frame, Send) or frame.cid in self.kept
            assert not isinstance(frame, Ack) or frame.seq <= place

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
            self.keep()
            self.carry_up(1000)
            self.carry_down(1000)
            self.take(1000)
            self.pass_time(0.3)
            head = self.server._node.conversations.get(self.conv).head
            if self.machine.state is State.ONLINE and self.wire is not None:
                self.wire.session.write(Head(self.conv, "memory", head))
            is_idle = len(self.outcomes) == len(self.asked) and not self.machine.requests.kept
            if is_idle and self.level(head) and self.machine.notes.is_settled:
                return
        raise AssertionError(f"not level: {self.seen} of {head}, {self.machine.state}")
