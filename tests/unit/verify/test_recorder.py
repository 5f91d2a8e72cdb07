"""What the recorder writes while a robot is used."""

import asyncio

import pytest

from client_sdk import ErrorCode, Gap, Options, OutcomeUnknown, Refused, Robot, VolatileMemory
from client_sdk.testing import MemoryServer
from imserver.verify import records
from imserver.verify.body_hash import body_sha
from imserver.verify.history import HistoryReader, HistoryWriter
from imserver.verify.recorder import Recorder
from imserver.verify.verifier import verify

QUICK = Options(backoff_base_s=0.001, backoff_cap_s=0.01, connect_timeout_s=5.0)


@pytest.fixture
def server():
    return MemoryServer()


@pytest.fixture
def dock(server):
    return server.add_group("dock", ["r1", "r2"])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "r1.jsonl"


@pytest.fixture
async def recorder(server, dock, path):
    with HistoryWriter(path, flush_each=True) as history:
        async with server.robot("r1", options=QUICK) as robot:
            yield Recorder(robot, history)


def written(path, *kinds):
    return [record for _, record in HistoryReader(path) if isinstance(record, kinds)]


def steps(path):
    return [record.type for record in written(path, records.Send)]


async def take(recorder, count):
    stream = recorder.events()
    return [await anext(stream) for _ in range(count)]


async def test_a_stored_send_is_an_invocation_and_its_place(recorder, dock, path):
    sent = await recorder.send(dock, {"n": 1}, ref=1, kind="note")
    invoked, stored = written(path, records.Send)
    assert (invoked.type, invoked.conv, invoked.kind, invoked.ref) == ("invoke", dock, "note", 1)
    assert invoked.body_sha == body_sha({"n": 1})
    assert (stored.type, stored.cid, stored.seq, stored.epoch) == (
        "ok",
        invoked.cid,
        sent.seq,
        sent.epoch,
    )


async def test_a_refused_send_says_its_code(recorder, path):
    with pytest.raises(Refused):
        await recorder.send("g/nowhere", 1)
    assert steps(path) == ["invoke", "fail"]
    assert written(path, records.Send)[-1].code == "not_found"


async def test_a_send_that_never_left_is_refused(recorder, dock, path):
    with pytest.raises(ValueError, match="finite"):
        await recorder.send(dock, float("inf"))
    assert steps(path) == ["invoke", "fail"]


async def test_a_send_without_an_answer_is_unknown(server, recorder, dock, path):
    server.lose_answers(100)
    with pytest.raises(OutcomeUnknown):
        await recorder.send(dock, 1, timeout_s=0.05)
    assert steps(path) == ["invoke", "unknown"]


async def test_a_cancelled_send_is_unknown(server, recorder, dock, path):
    server.lose_answers(100)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await recorder.send(dock, 1)
    assert steps(path) == ["invoke", "unknown"]


async def test_a_send_names_its_connection_if_it_was_written_once(recorder, dock, path):
    await recorder.send(dock, 1)
    assert written(path, records.Send)[-1].connection == 1


async def test_a_send_that_was_written_again_names_no_connection(server, recorder, dock, path):
    server.refuse_sends(Refused(ErrorCode.UNAVAILABLE, "later", 1))
    await recorder.send(dock, 1)
    assert written(path, records.Send)[-1].connection is None


async def test_a_send_that_waited_in_the_memory_already_names_no_connection(server, dock, path):
    memory = VolatileMemory()
    robot = Robot("ws://m", name="r1", bearer="b", memory=memory, options=QUICK, connector=server)
    with HistoryWriter(path, flush_each=True) as history:
        async with robot:
            recorder = Recorder(robot, history)
            server.reachable = False
            server.cut_connections()
            with pytest.raises(OutcomeUnknown):
                await recorder.send(dock, 1, cid="first", timeout_s=0.05)
            server.reachable = True
            await robot.wait_online()
            await recorder.send(dock, 1, cid="first")
    stored = written(path, records.Send)[-1]
    assert stored.dup or stored.connection is None


async def test_a_send_without_an_outcome_that_is_sent_again_names_no_connection(
    server, recorder, dock, path
):
    server.refuse_sends(*[Refused(ErrorCode.UNAVAILABLE, "later", 1_000)])
    with pytest.raises(OutcomeUnknown):
        await recorder.send(dock, 1, cid="first", timeout_s=0.05)
    sent = await recorder.send(dock, 1, cid="first")
    assert not sent.dup
    assert written(path, records.Send)[-1].connection is None


async def test_an_event_is_written_before_the_application_has_it(recorder, dock, path):
    await recorder.send(dock, {"n": 1})
    stream = recorder.events()
    for count in (1, 2):
        event = await anext(stream)
        received = written(path, records.Receive)
        assert (len(received), received[-1].seq) == (count, event.seq)
    assert received[-1].body_sha == body_sha({"n": 1})


async def test_a_gap_is_written(server, dock, path):
    for number in range(3):
        server.post(dock, number, sender="r2")
    server.forget_events(dock, 2)
    with HistoryWriter(path, flush_each=True) as history:
        async with server.robot("r1", options=QUICK) as robot:
            (item,) = await take(Recorder(robot, history), 1)
    assert isinstance(item, Gap)
    (gap,) = written(path, records.Gap)
    assert (gap.conv, gap.from_, gap.to, gap.why) == (dock, item.first, item.last, item.why)


async def test_pages_of_history_are_written(recorder, dock, path):
    await recorder.send(dock, 1)
    await recorder.history(dock, after=0)
    assert [read.seq for read in written(path, records.Read)] == [1, 2]


async def test_following_says_from_where(recorder, dock, path):
    await recorder.send(dock, 1)
    assert await recorder.follow(dock) == 2
    assert written(path, records.Follow)[0].after == 2


async def test_a_change_is_written_with_its_place(recorder, path):
    conv = await recorder.create_group("yard", ["r2"])
    kinds = [(r.type, r.conv, r.kind) for r in written(path, records.Change)]
    assert kinds == [("invoke", conv, "group_created"), ("ok", conv, "group_created")]
    with pytest.raises(Refused):
        await recorder.create_group("yard", [])
    assert written(path, records.Change)[-1].type == "fail"


async def test_joining_and_leaving_are_written(recorder, dock, path):
    seq = await recorder.leave(dock)
    with pytest.raises(Refused):
        await recorder.join(dock)
    assert [(r.type, r.seq) for r in written(path, records.Leave)] == [
        ("invoke", None),
        ("ok", seq),
    ]
    assert [r.type for r in written(path, records.Join)] == ["invoke", "fail"]


async def test_the_cursor_is_what_the_server_says(recorder, dock, path):
    await take(recorder, 1)
    acked = await recorder.note_cursor(dock)
    (ack,) = written(path, records.Ack)
    assert (ack.type, ack.seq) == ("ok", acked)


async def test_what_was_recorded_is_clean(recorder, dock, path):
    for number in range(20):
        await recorder.send(dock, number)
    await take(recorder, 21)
    await recorder.robot.aclose()
    recorder.close(drained=True)
    report = verify([path])
    assert report.clean, report.to_text()
    assert report.records == 1 + 40 + 21 + 1
