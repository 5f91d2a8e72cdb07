"""Slow readers: each loses what it chose to lose, and is told of it, and no other reader notices."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from imserver.access.http.log_stream import LogStream, Policy
from imserver.access.http.visit import session_for
from imserver.core.http_settings import HttpSettings
from imserver.core.settings import DeliverySettings, Settings
from imserver.core.warrant import Warrant
from imserver.protocol.names import RobotName
from tests.unit.access.http.api_in_memory import Api, api_in_memory
from tests.unit.access.http.streaming import Follower, follow

DOCK = "/v1/groups/dock"
BODY = "x" * 300
BUFFER_BYTES = 1_024
SETTINGS = Settings(
    http=HttpSettings(stays_max=100),
    delivery=DeliverySettings(
        write_buffer_bytes_max=BUFFER_BYTES, page_bytes_max=1_024, tail_bytes_max=2_048
    ),
)
LOSSLESS = [Policy.BUFFER, Policy.MISSING]
SKIPPING = [Policy.DROP, Policy.LATEST]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_in_memory(SETTINGS) as api:
        yield api
        api.node.node.stays.drain()
        await api.node.settle()


async def say(api: Api, count: int) -> int:
    """Send so many events, one after the other; return the head."""
    for _ in range(count):
        api.node.ids.count += 1
        answer = await api.send("r1", DOCK, BODY, key=f"c{api.node.ids.count}")
        await api.node.settle()
    return int(answer.json["seq"])


async def level(api: Api, policy: Policy) -> Follower:
    """Return a follower that has everything."""
    stream = await follow(api, f"policy={policy}")
    await stream.until(lambda: stream.seqs == [1])
    await api.node.settle()
    return stream


def waiting_bytes(stream: Follower) -> int:
    """Return how much of a stream waits in the server."""
    assert isinstance(stream.link.stay, LogStream)
    outbox = stream.link.stay.outbox
    return outbox._bytes + outbox._on_its_way


@pytest.mark.parametrize("policy", LOSSLESS)
async def test_nothing_is_lost_to_a_slow_reader_that_wants_all(api: Api, policy: Policy):
    stream = await level(api, policy)
    stream.block()
    head = await say(api, 20)
    assert stream.seqs == [1]
    stream.take()
    await stream.until(lambda: len(stream.seqs) == head)
    assert stream.seqs == list(range(1, head + 1))
    assert stream.of("gap") == []


async def test_a_reader_that_wants_no_buffer_has_one_event_waiting_at_most(api: Api):
    stream = await level(api, Policy.MISSING)
    stream.block()
    await say(api, 1)
    one = waiting_bytes(stream)
    await say(api, 20)
    assert waiting_bytes(stream) == one > 0


@pytest.mark.parametrize("policy", [Policy.BUFFER, *SKIPPING])
async def test_what_waits_for_a_slow_reader_is_bounded(api: Api, policy: Policy):
    stream = await level(api, policy)
    stream.block()
    await say(api, 1)
    one = waiting_bytes(stream)
    await say(api, 20)
    assert BUFFER_BYTES < waiting_bytes(stream) <= BUFFER_BYTES + one


async def test_what_came_meanwhile_is_dropped_and_counted(api: Api):
    stream = await level(api, Policy.DROP)
    stream.block()
    head = await say(api, 20)
    stream.take()
    await stream.until(lambda: stream.of("gap"))
    next_seq = await say(api, 1)
    await stream.until(lambda: stream.seqs[-1] == next_seq)
    (gap,) = stream.of("gap")
    kept = gap["from"] - 1
    assert stream.seqs == [*range(1, kept + 1), next_seq]
    assert (gap["to"], gap["count"], gap["why"]) == (head, head - kept, "slow")
    assert 2 <= kept < head
    assert api.node.counted("imserver_http_events_skipped_total") == gap["count"]


async def test_of_what_came_meanwhile_the_last_is_kept(api: Api):
    stream = await level(api, Policy.LATEST)
    stream.block()
    head = await say(api, 20)
    stream.take()
    await stream.until(lambda: stream.seqs[-1] == head)
    (gap,) = stream.of("gap")
    assert stream.seqs == [*range(1, gap["from"]), head]
    assert (gap["to"], gap["count"]) == (head - 1, head - gap["from"])


async def test_a_stream_may_end_when_its_reader_is_slow(api: Api):
    stream = await level(api, Policy.ERROR)
    stream.block()
    await say(api, 20)
    stream.take()
    await stream.end()
    (bye,) = stream.of("bye")
    assert bye["code"] == 1008
    assert f"after seq {stream.seqs[-1]};" in bye["reason"]
    resumed = await follow(api, headers={"Last-Event-ID": stream.messages[-1].id})
    await resumed.until(lambda: len(resumed.seqs) == 21 - len(stream.seqs))
    assert stream.seqs + resumed.seqs == list(range(1, 22))


@pytest.mark.parametrize("policy", [*SKIPPING, Policy.ERROR])
async def test_a_reader_that_catches_up_is_given_all_it_asked_for(api: Api, policy: Policy):
    head = await say(api, 30)
    stream = await follow(api, f"policy={policy}")
    for _ in range(10):
        stream.block()
        await api.node.settle()
        stream.take()
        await asyncio.sleep(0)
    await stream.until(lambda: len(stream.seqs) == head)
    assert stream.seqs == list(range(1, head + 1))
    assert stream.of("gap") == stream.of("bye") == []


@pytest.mark.parametrize("policy", [*SKIPPING, Policy.ERROR])
async def test_a_reader_that_catches_up_from_memory_is_given_all_it_asked_for(policy: Policy):
    delivery = structs.replace(SETTINGS.delivery, tail_bytes_max=1_000_000)
    async with api_in_memory(structs.replace(SETTINGS, delivery=delivery)) as api:
        keeps_the_tail = await level(api, Policy.BUFFER)
        head = await say(api, 30)
        await keeps_the_tail.until(lambda: len(keeps_the_tail.seqs) == head)
        stream = await follow(api, f"policy={policy}")
        await stream.until(lambda: len(stream.seqs) == head)
        assert stream.seqs == list(range(1, head + 1))
        assert stream.of("gap") == stream.of("bye") == []
        api.node.node.stays.drain()
        await api.node.settle()


@pytest.mark.parametrize("policy", SKIPPING)
async def test_the_id_of_a_gap_resumes_behind_it(api: Api, policy: Policy):
    stream = await level(api, policy)
    stream.block()
    await say(api, 20)
    stream.take()
    await stream.until(lambda: stream.of("gap"))
    gap = next(said for said in stream.said if said.type == "gap")
    resumed = await follow(api, headers={"Last-Event-ID": gap.id})
    head = await say(api, 1)
    await resumed.until(lambda: resumed.seqs and resumed.seqs[-1] == head)
    assert resumed.seqs == list(range(gap.data["to"] + 1, head + 1))


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_slow_reader_that_is_removed_sees_its_removal_and_nothing_behind_it(
    api: Api, policy: Policy
):
    stream = await level(api, policy)
    stream.block()
    await say(api, 20)
    owner = session_for(Warrant(RobotName("r1"), 0))
    changed = await api.node.node.cases.groups.remove(owner, "g/dock", ["r2"])
    await say(api, 5)
    stream.take()
    await stream.end()
    assert max(stream.seqs) <= changed.seq
    if policy is not Policy.ERROR:
        assert stream.messages[-1].data["kind"] == "members_removed"


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_slow_reader_slows_nobody_else(api: Api, policy: Policy):
    slow = await level(api, policy)
    other = await level(api, Policy.BUFFER)
    slow.block()
    head = await say(api, 20)
    await other.until(lambda: len(other.seqs) == head)
    assert other.seqs == list(range(1, head + 1))
    slow.lose()
    slow.take()
    await slow.end()


STEPS = st.lists(
    st.sampled_from(["say", "say", "say four", "block", "take", "settle", "resume"]), max_size=25
)


def covered(stream: Follower, after: int) -> int:
    """Check that a stream goes on from ``after`` with neither hole nor double; return where it is."""
    for said in stream.said:
        if said.type == "message":
            assert said.data["seq"] == after + 1
            after = said.data["seq"]
        elif said.type == "gap":
            assert said.data["from"] == after + 1
            assert said.data["count"] == said.data["to"] - after
            after = said.data["to"]
        assert said.type == "bye" or int(said.id) == after
    return after


@pytest.mark.parametrize("policy", list(Policy))
@given(steps=STEPS)
@settings(max_examples=15)
def test_whatever_happens_each_event_is_given_once_or_told_as_skipped(
    policy: Policy, steps: list[str]
):
    asyncio.run(_lived_through(policy, steps))


async def _lived_through(policy: Policy, steps: list[str]) -> None:
    async with api_in_memory(SETTINGS) as api:
        after, head = 0, 1
        stream = await follow(api, f"policy={policy}")
        for step in [*steps, "take", "settle"]:
            if step.startswith("say"):
                head = await say(api, 4 if step == "say four" else 1)
            elif step == "block":
                stream.block()
            elif step == "take":
                stream.take()
            elif step == "settle":
                await api.node.settle()
            if step == "resume" or stream.is_over:
                stream.take()
                if not stream.is_over:
                    stream.lose()
                await stream.end()
                after = covered(stream, after)
                last = {"Last-Event-ID": str(after)}
                stream = await follow(api, f"policy={policy}", headers=last)
        stream.take()
        await stream.until(lambda: covered(stream, after) == head)
        if policy in LOSSLESS:
            assert stream.of("gap") == []
        api.node.node.stays.drain()
        await stream.end()
