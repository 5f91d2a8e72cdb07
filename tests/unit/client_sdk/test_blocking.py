"""The twin for scripts and threads, from outside any event loop."""

import inspect
import threading

import pytest

from client_sdk import (
    BlockingRobot,
    ConnectionLost,
    Event,
    Refused,
    Robot,
    Role,
    State,
    VolatileMemory,
)
from client_sdk.testing import MemoryServer
from tests.until import PATIENCE_S


@pytest.fixture
def server():
    server = MemoryServer()
    server.add_group("dock", ["r1", "r2"])
    return server


def robot(server, name):
    return BlockingRobot("ws://m", name=name, bearer="b", connector=server)


def test_it_is_made_as_a_robot_is():
    assert inspect.signature(BlockingRobot) == inspect.signature(Robot)
    with pytest.raises(TypeError, match="colour"):
        BlockingRobot("ws://m", name="r1", bearer="b", colour="red")
    with pytest.raises(ValueError, match="must look like"):
        BlockingRobot("gopher://m", name="r1", bearer="b")


def test_a_script_sends_and_receives(server):
    with robot(server, "r1") as r1:
        sent = r1.send("g/dock", {"task": "pick"})
        events: list[Event] = []
        # A loop may end early where the machine is busy: none came for so long.
        while len(events) < 2:
            events += r1.events(timeout_s=0.05)
        assert r1.state is State.ONLINE
    assert [event.seq for event in events] == [1, sent.seq]
    assert events[1].body == {"task": "pick"}
    assert server.acked("r1", "g/dock") == 2


def test_an_event_is_acked_when_the_loop_comes_round(server):
    with robot(server, "r1") as r1:
        events = r1.events()
        event = next(events)
        assert server.acked("r1", "g/dock") == 0
        r1.done(event)
    assert server.acked("r1", "g/dock") == 1


def test_many_threads_share_a_robot(server):
    with robot(server, "r1") as r1:
        threads = [
            threading.Thread(target=lambda: [r1.send("g/dock", n) for n in range(20)])
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert r1.statistics().sent == 100


def test_refusals_are_raised_where_the_call_stands(server):
    with robot(server, "r3") as r3, pytest.raises(Refused):
        r3.send("g/dock", 1)


def test_groups_can_be_made(server):
    with robot(server, "r1") as r1:
        conv = r1.create_group("yard", ["r2"])
        assert [row.role for row in r1.members(conv)] == [Role.OWNER, Role.MEMBER]
        r1.signal(conv, "battery", 5)
        assert r1.direct("r2") == "d/r1/r2"


def test_leaving_the_context_ends_a_loop_in_another_thread(server):
    seen = []
    with robot(server, "r1") as r1:
        arrived = threading.Event()

        def read():
            for event in r1.events():
                seen.append(event.seq)
                arrived.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert arrived.wait(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert seen == [1]


def test_outside_its_context_it_says_so(server):
    with pytest.raises(ConnectionLost, match="inside `with`"):
        robot(server, "r1").send("g/dock", 1)


def test_no_thread_is_left_behind(server):
    before = threading.active_count()
    with robot(server, "r1"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_closing_beside_a_closing_returns_when_all_is_closed(server):
    begun, free = threading.Event(), threading.Event()

    class SlowToClose(VolatileMemory):
        def close(self):
            begun.set()
            free.wait(PATIENCE_S)
            super().close()

    problems, before = [], threading.active_count()

    def close(r1):
        try:
            r1.close()
            assert threading.active_count() <= before + 2, "it is not closed yet"
        except Exception as problem:  # noqa: BLE001  told below
            problems.append(problem)

    memory = SlowToClose()
    r1 = BlockingRobot("ws://m", name="r1", bearer="b", memory=memory, connector=server)
    r1.__enter__()
    closing = [threading.Thread(target=close, args=(r1,)) for _ in range(2)]
    for thread in closing:
        thread.start()
    assert begun.wait(PATIENCE_S)
    closing[1].join(0.05)
    free.set()
    for thread in closing:
        thread.join()
    assert problems == []
    assert threading.active_count() == before
