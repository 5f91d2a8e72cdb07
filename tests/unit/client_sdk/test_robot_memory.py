"""Robots with a memory that talk through the server in memory."""

import asyncio
import threading

import pytest

from client_sdk import (
    BlockingRobot,
    ConnectionLost,
    ErrorCode,
    Gap,
    MemoryFileError,
    MissedEvents,
    Options,
    OutcomeUnknown,
    Refused,
    Robot,
    RobotKey,
    SqliteMemory,
    State,
    VolatileMemory,
    WrongServer,
)
from client_sdk.memory import Bound, Keep, KeptSend, Owner, Place
from client_sdk.testing import MemoryServer
from tests.until import PATIENCE_S, until

QUICK = Options(backoff_base_s=0.001, backoff_cap_s=0.01, connect_timeout_s=5.0)
R1 = Owner("r1", "main")


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
def dock(server):
    return server.add_group("dock", ["r1", "r2"])


@pytest.fixture
def memory():
    return VolatileMemory()


def robot(server, memory, **options):
    options = {"backoff_base_s": 0.001, "backoff_cap_s": 0.01, "connect_timeout_s": 5.0, **options}
    return Robot(
        "ws://m", name="r1", bearer="b", memory=memory, options=Options(**options), connector=server
    )


def bodies(server, conv):
    return [event.body for event in server.log(conv) if event.kind == "message"]


def held(memory):
    """Return what a memory that nobody uses holds."""
    recollection = memory.open(R1)
    memory.close()
    return recollection


async def leave_one_waiting(server, memory, conv, body="x", cid="mine"):
    """Let a process of the robot end with a send that no server took."""
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        with pytest.raises(OutcomeUnknown, match="waits in the robot's memory"):
            await r1.send(conv, body, cid=cid, timeout_s=0.01)
    server.reachable = True


async def test_a_send_is_kept_until_it_is_stored(server, dock, memory):
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        sending = asyncio.create_task(r1.send(dock, {"n": 1}, kind="task", ref=1, cid="mine"))
        await until(lambda: memory._sends)
        (waiting,) = r1.waiting()
        assert (waiting.conv, waiting.cid, waiting.kind, waiting.ref) == (dock, "mine", "task", 1)
        assert waiting.body == {"n": 1}
        server.reachable = True
        await sending
        assert r1.waiting() == []
    assert held(memory).sends == []


async def test_the_next_process_sends_what_waits_before_anything_new(server, dock, memory):
    await leave_one_waiting(server, memory, dock, "old")
    async with robot(server, memory) as r1:
        await r1.send(dock, "new")
    assert bodies(server, dock) == ["old", "new"]


async def test_a_send_that_was_stored_when_the_robot_died_is_stored_once(server, dock, memory):
    body = b"\xa1x"
    memory.open(R1)
    memory.write([Keep(KeptSend(5, dock, "mine", "message", None, body, 0))])
    memory.close()
    for _ in range(2):
        async with robot(server, memory) as r1:
            await until(lambda r1=r1: not r1.waiting())
        memory.open(R1)
        memory.write([Keep(KeptSend(5, dock, "mine", "message", None, body, 0))])
        memory.close()
    assert bodies(server, dock) == ["x"]


async def test_the_same_send_again_waits_for_the_one_that_is_kept(server, dock, memory):
    await leave_one_waiting(server, memory, dock)
    async with robot(server, memory) as r1:
        sent = await r1.send(dock, "x", cid="mine")
        assert r1.statistics().sent == 1
    assert not sent.dup
    assert bodies(server, dock) == ["x"]


async def test_the_same_cid_for_something_else_is_a_conflict(server, dock, memory):
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        with pytest.raises(OutcomeUnknown):
            await r1.send(dock, "x", cid="mine", timeout_s=0.01)
        with pytest.raises(Refused) as caught:
            await r1.send(dock, "y", cid="mine", timeout_s=0.01)
        assert caught.value.code is ErrorCode.CONFLICT
        assert [waiting.body for waiting in r1.waiting()] == ["x"]


async def test_a_refused_send_is_out_of_the_memory_before_its_caller_knows(server, memory):
    conv = server.add_group("dock", ["r2"])
    async with robot(server, memory) as r1:
        with pytest.raises(Refused):
            await r1.send(conv, "x")
        assert memory._sends == {}


async def test_a_caller_that_is_cancelled_leaves_its_send_to_go_on(server, dock, memory):
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        await until(lambda: r1.state is not State.ONLINE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await r1.send(dock, "x")
        server.reachable = True
        await until(lambda: not r1.waiting())
    assert bodies(server, dock) == ["x"]


async def test_a_dropped_send_is_never_sent(server, dock, memory):
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        sending = asyncio.create_task(r1.send(dock, "x", cid="mine"))
        await until(r1.waiting)
        assert await r1.drop(dock, "mine")
        assert not await r1.drop(dock, "mine")
        with pytest.raises(OutcomeUnknown, match="dropped"):
            await sending
        server.reachable = True
        await r1.send(dock, "y")
    assert bodies(server, dock) == ["y"]
    assert held(memory).sends == []


@pytest.mark.parametrize("limit", [{"waiting_max": 3}, {"waiting_bytes_max": 3 * 270}])
async def test_what_may_wait_is_bounded(server, dock, memory, limit):
    async with robot(server, memory, **limit) as r1:
        server.reachable = False
        server.cut_connections()
        for n in range(3):
            with pytest.raises(OutcomeUnknown):
                await r1.send(dock, n, timeout_s=0.01)
        with pytest.raises(Refused, match="3 sends wait") as caught:
            await r1.send(dock, 3, timeout_s=0.01)
        assert caught.value.code is ErrorCode.RATE_LIMITED
        server.reachable = True
        await until(lambda: not r1.waiting())
        await r1.send(dock, 4)
    assert bodies(server, dock) == [0, 1, 2, 4]


async def test_a_new_process_goes_on_where_the_last_one_stopped_though_the_acks_were_lost(
    server, dock, memory
):
    for n in range(5):
        server.post(dock, n, sender="r2")
    async with robot(server, memory) as r1:
        async for event in r1.events():
            if event.seq == 4:
                r1.done(event)
                break
    server._node.cursors.clear()
    async with robot(server, memory) as r1:
        assert (await anext(r1.events())).seq == 5


async def test_places_are_kept_while_the_robot_is_offline(server, dock, memory):
    async with robot(server, memory) as r1:
        stream = r1.events()
        await anext(stream)
        server.reachable = False
        server.cut_connections()
        reading = asyncio.create_task(anext(stream))
        await until(lambda: memory._places)
        reading.cancel()
    assert held(memory).places == [Place(dock, "memory", 1)]


async def test_a_marked_event_is_durable_at_once(server, dock, memory):
    async with robot(server, memory) as r1:
        event = await anext(r1.events())
        await r1.mark(event)
        assert memory._places[dock] == Place(dock, "memory", 1)


async def test_marking_needs_a_memory(server, dock):
    async with robot(server, None) as r1:
        event = await anext(r1.events())
        with pytest.raises(ValueError, match="give the robot a memory"):
            await r1.mark(event)


async def test_sends_under_way_at_once_share_their_commits(server, dock):
    class Counting(VolatileMemory):
        writes = 0

        def write(self, changes):
            self.writes += 1
            super().write(changes)

    memory = Counting()
    async with robot(server, memory) as r1, asyncio.TaskGroup() as group:
        for n in range(500):
            group.create_task(r1.send(dock, n))
    assert memory.writes < 30
    assert bodies(server, dock) == list(range(500))


def is_of_the_start(changes):
    """Tell whether a write is one of those without which a robot asks its server for nothing."""
    return all(
        isinstance(change, Bound) or getattr(change, "name", "") == "boot" for change in changes
    )


async def test_a_memory_that_fails_ends_the_robot_and_says_why(server, dock):
    class Failing(VolatileMemory):
        def write(self, changes):
            if not is_of_the_start(changes):
                raise MemoryFileError("the disk is full")

    async with robot(server, Failing()) as r1:
        with pytest.raises(OutcomeUnknown, match="the disk is full"):
            await r1.send(dock, "x")
        with pytest.raises(MemoryFileError, match="the disk is full"):
            await r1.whoami()
    assert bodies(server, dock) == []


async def test_a_slow_disk_does_not_stop_the_loop(server, dock):
    free = threading.Event()

    class Slow(VolatileMemory):
        def write(self, changes):
            if not is_of_the_start(changes):
                free.wait(PATIENCE_S)
            super().write(changes)

    async with robot(server, Slow()) as r1:
        sending = asyncio.create_task(r1.send(dock, "x"))
        await r1.ping()
        assert not sending.done()
        assert bodies(server, dock) == []
        free.set()
        await sending


async def test_a_robot_proves_itself_once_its_memory_knows_the_server(server, memory):
    key = RobotKey.generate()
    arguments = {"name": "r1", "key": key, "token": "t", "connector": server}
    async with Robot("ws://m", memory=memory, **arguments):
        assert held_while_open(memory) == "memory"
    memory.open(R1)
    memory.write([Bound("elsewhere")])
    memory.close()
    with pytest.raises(WrongServer, match="belongs to elsewhere"):
        async with Robot("ws://m", memory=memory, **arguments):
            pass


def held_while_open(memory):
    return memory._server


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("client_sdk")]


async def test_no_thread_is_left_behind(server, tmp_path):
    async with robot(server, tmp_path / "r1.memory"):
        assert len(threads()) == 1
    assert threads() == []


async def test_a_memory_that_cannot_be_used_lets_nobody_in(server, tmp_path):
    path = tmp_path / "r1.memory"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(MemoryFileError, match="damaged"):
        async with robot(server, path):
            pass
    assert threads() == []
    assert path.read_bytes() == b"x" * 5000


@pytest.mark.parametrize(("new_epoch", "why"), [(True, "restored"), (False, "ahead")])
async def test_a_log_that_was_cut_back_is_told_to_the_next_process_until_it_was_taken(
    server, dock, memory, new_epoch, why
):
    for n in range(6):
        server.post(dock, n, sender="r2")
    async with robot(server, memory) as r1:
        async for event in r1.events():
            if event.seq == 7:
                break
        await r1.mark(event)
    server.restore(dock, 4, new_epoch=new_epoch)
    for _ in range(2):
        async with robot(server, memory) as r1:
            with pytest.raises(MissedEvents, match="events 5 to 7") as caught:
                await anext(r1.events())
            assert (caught.value.gap.why, caught.value.gap.after) == (why, 4)
    async with robot(server, memory) as r1:
        stream = r1.events(gaps=True)
        assert isinstance(await anext(stream), Gap)
        server.post(dock, "anew", sender="r2")
        event = await anext(stream)
        assert (event.seq, event.body) == (5, "anew")
        await r1.mark(event)
    async with robot(server, memory) as r1:
        server.post(dock, "next", sender="r2")
        assert (await anext(r1.events())).seq == 6


def test_the_blocking_twin_has_a_memory_too(server, dock, tmp_path):
    arguments = {"name": "r1", "bearer": "b", "connector": server, "options": QUICK}
    path = tmp_path / "r1.memory"
    with BlockingRobot("ws://m", memory=path, **arguments) as r1:
        r1.mark(next(r1.events()))
        server.refuse_sends(Refused(ErrorCode.UNAVAILABLE, "wait", 60_000))
        with pytest.raises(OutcomeUnknown):
            r1.send(dock, "x", timeout_s=0.01)
        assert [waiting.body for waiting in r1.waiting()] == ["x"]
        assert not r1.drop(dock, "none")
    memory = SqliteMemory(path)
    found = memory.open(R1)
    memory.close()
    assert [send.body for send in found.sends] == [b"\xa1x"]
    assert found.places == [Place(dock, "memory", 1)]


class Held(VolatileMemory):
    """A memory whose disk is slow: writes wait for ``free``."""

    def __init__(self):
        super().__init__()
        self.free = threading.Event()
        self.is_writing = threading.Event()

    def write(self, changes):
        if not is_of_the_start(changes):
            self.is_writing.set()
            self.free.wait(PATIENCE_S)
        super().write(changes)


@pytest.mark.parametrize("times", [1, 2])
async def test_closing_that_is_cancelled_leaves_nothing_behind(server, dock, times):
    memory, before = Held(), asyncio.all_tasks()
    r1 = await robot(server, memory).__aenter__()
    sending = asyncio.create_task(r1.send(dock, "x"))
    await until(memory.is_writing.is_set)
    closing = asyncio.create_task(r1.aclose())
    for _ in range(times):
        for _ in range(5):
            await asyncio.sleep(0)
        closing.cancel()
    await asyncio.wait([closing], timeout=0.01)
    memory.free.set()
    await asyncio.wait([closing, sending])
    assert isinstance(sending.exception(), OutcomeUnknown)
    await until(lambda: asyncio.all_tasks() == before and not memory._is_open and not threads())


async def test_closing_beside_a_closing_returns_when_all_is_closed(server):
    begun, free = threading.Event(), threading.Event()

    class SlowToClose(VolatileMemory):
        def close(self):
            begun.set()
            free.wait(PATIENCE_S)
            super().close()

    r1 = await robot(server, SlowToClose()).__aenter__()
    closing = [asyncio.create_task(r1.aclose()) for _ in range(2)]
    await until(begun.is_set)
    done, _ = await asyncio.wait(closing, timeout=0.01)
    free.set()
    await asyncio.wait(closing)
    assert not done


async def test_closing_does_not_wait_for_those_who_go_on_sending(server, dock, tmp_path):
    memory = SqliteMemory(tmp_path / "r1.memory")

    async def send_on(r1):
        try:
            while True:
                await r1.send(dock, "x")
        except (OutcomeUnknown, ConnectionLost) as problem:
            return problem

    r1 = await robot(server, memory).__aenter__()
    sending = [asyncio.create_task(send_on(r1)) for _ in range(50)]
    await until(lambda: len(bodies(server, dock)) > 50)
    async with asyncio.timeout(PATIENCE_S):
        await r1.aclose()
    kept = {send.cid for send in held(memory).sends}
    for problem in await asyncio.gather(*sending):
        assert isinstance(problem, ConnectionLost) or problem.cid in kept


async def test_a_memory_that_fails_while_the_robot_is_offline_is_all_that_is_told(
    server, dock, caplog
):
    memory = Held()
    memory.free.set()
    async with robot(server, memory) as r1:
        server.reachable = False
        server.cut_connections()
        await until(lambda: r1.state is State.WAITING, step_s=0)
        memory._is_open = False
        with pytest.raises(OutcomeUnknown, match="is closed"):
            await r1.send(dock, "x")
        await until(r1._link._task.done)
        memory._is_open = True
    assert "task.failed" not in caplog.messages
