"""The SDK against a real server: what a robot's program relies on."""

import asyncio
import itertools

import pytest

from client_sdk import (
    ErrorCode,
    Options,
    Refused,
    Robot,
    RobotKey,
    Role,
    State,
    StayAway,
)
from tests.until import PATIENCE_S, until

pytestmark = pytest.mark.process

_numbers = itertools.count()


class Crew:
    """Robots of one test on the server for all: names that no other test has."""

    def __init__(self, server):
        self.server = server
        self.mark = f"sdk{next(_numbers)}"
        self.keys = {}

    def name(self, short):
        return f"{short}-{self.mark}"

    def robot(self, short, *, device="main", options=None):
        """Return a robot; the first time it registers."""
        name = self.name(short)
        token = None
        if name not in self.keys:
            self.keys[name] = RobotKey.generate()
            token = self.server.enroll(name)
        return Robot(
            self.server.ws_url,
            name=name,
            key=self.keys[name],
            token=token,
            device=device,
            options=options,
        )


@pytest.fixture
def crew(shared_server):
    return Crew(shared_server)


async def take(robot, count):
    """Read ``count`` events and say that they are done."""
    async with asyncio.timeout(PATIENCE_S):
        taken = []
        stream = robot.events()
        while len(taken) < count:
            taken.append(await anext(stream))
        robot.done(taken[-1])
        return taken


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_two_robots_see_the_same_log(crew, codec):
    options = Options(codec=codec)
    async with crew.robot("a", options=options) as a, crew.robot("b", options=options) as b:
        conv = await a.create_group(crew.mark, [b.name])
        async with asyncio.TaskGroup() as group:
            for robot in (a, b):
                for n in range(100):
                    group.create_task(robot.send(conv, {"from": robot.name, "n": n}))
        seen_by_a, seen_by_b = await take(a, 201), await take(b, 201)
    assert seen_by_a == seen_by_b
    assert [event.seq for event in seen_by_a] == list(range(1, 202))
    assert len({event.cid for event in seen_by_a}) == 201


async def test_a_robot_of_each_codec_understands_the_other(crew):
    async with crew.robot("a") as a, crew.robot("b", options=Options(codec="json")) as b:
        conv = a.direct(b.name)
        await a.send(conv, {"text": "hällo", "list": [1, None, 2.5]})
        await b.send(conv, {"text": "hällo", "list": [1, None, 2.5]})
        first, second = (event.body for event in await take(a, 2))
    assert first == second == {"text": "hällo", "list": [1, None, 2.5]}


async def test_a_robot_that_was_away_gets_exactly_what_it_missed(crew):
    async with crew.robot("a") as a, crew.robot("b") as b:
        conv = await a.create_group(crew.mark, [b.name])
        await take(b, 1)
        await b.aclose()
        async with asyncio.TaskGroup() as group:
            for n in range(1500):
                group.create_task(a.send(conv, n))
        async with crew.robot("b") as again:
            missed = await take(again, 1500)
            await a.send(conv, "live")
            (live,) = await take(again, 1)
    assert [event.seq for event in missed] == list(range(2, 1502))
    assert (live.seq, live.body) == (1502, "live")


async def test_two_devices_of_a_robot_see_the_same(crew):
    async with crew.robot("a") as one, crew.robot("a", device="cam") as two:
        conv = await one.create_group(crew.mark)
        await one.send(conv, "x")
        assert await take(one, 2) == await take(two, 2)


async def test_the_same_cid_over_two_connections_is_stored_once(crew):
    async with crew.robot("a") as a:
        conv = await a.create_group(crew.mark)
        first = await a.send(conv, 1, cid="mine")
        second = await a.send(conv, 1, cid="mine")
    async with crew.robot("a") as a:
        third = await a.send(conv, 1, cid="mine")
        log = await a.history(conv)
    assert [sent.dup for sent in (first, second, third)] == [False, True, True]
    assert first.seq == second.seq == third.seq
    assert len(log) == 2


async def test_groups_live_and_end(crew):
    async with crew.robot("a") as a, crew.robot("b") as b, crew.robot("c") as c:
        conv = await a.create_group(crew.mark, [b.name], open=True)
        await c.join(conv)
        await a.set_role(conv, b.name, Role.OBSERVER)
        rows = {row.robot: row for row in await a.members(conv)}
        assert rows[a.name].role is Role.OWNER
        assert rows[b.name].role is Role.OBSERVER
        assert rows[c.name].online
        with pytest.raises(Refused) as caught:
            await b.send(conv, "may I?")
        assert caught.value.code is ErrorCode.FORBIDDEN
        await c.leave(conv)
        await a.remove_members(conv, [b.name])
        assert [(row.conv, row.members) for row in await a.groups()] == [(conv, 1)]
        await a.delete_group(conv)
        assert await a.groups() == []
        with pytest.raises(Refused):
            await a.create_group(crew.mark)


async def test_a_robot_that_is_added_while_online_receives_from_then_on(crew):
    async with crew.robot("a") as a, crew.robot("b") as b:
        conv = await a.create_group(crew.mark)
        await a.send(conv, "before")
        seq = await a.add_members(conv, [b.name])
        await a.send(conv, "after")
        added, after = await take(b, 2)
    assert (added.seq, added.kind, after.body) == (seq, "members_added", "after")


async def test_edits_and_redactions_are_folded_into_messages(crew):
    async with crew.robot("a") as a:
        conv = await a.create_group(crew.mark)
        one, two = await a.send(conv, "one"), await a.send(conv, "two")
        await a.edit(conv, one.seq, "ONE")
        await a.redact(conv, two.seq)
        shown = await a.history(conv, after=1, view="messages")
        backwards = await a.history(conv, before=4, limit=2)
    assert shown[0].body == "ONE"
    assert "two" not in [event.body for event in shown]
    assert [event.seq for event in backwards] == [2, 3]


async def test_signals_and_presence_arrive(crew):
    async with crew.robot("a") as a:
        async with crew.robot("b") as b:
            conv = await a.create_group(crew.mark, [b.name])
            b.signal(conv, "battery", {"percent": 70})
            battery = await signal_of(a, "battery")
        gone = await signal_of(a, "@presence", lambda body: not body["online"])
    assert (battery.sender, battery.body) == (b.name, {"percent": 70})
    assert (gone.sender, gone.body["how"]) == (b.name, "clean")


async def signal_of(robot, key, fits=lambda _: True):
    async with asyncio.timeout(PATIENCE_S):
        async for signal in robot.signals():
            if signal.key == key and fits(signal.body):
                return signal
    return None


async def test_without_auto_only_what_is_followed_arrives(crew):
    async with crew.robot("a") as a, crew.robot("b", options=Options(auto=False)) as b:
        conv = await a.create_group(crew.mark, [b.name])
        after = await b.follow(conv)
        await a.send(conv, "new")
        (event,) = await take(b, 1)
    assert (event.seq, event.body) == (after + 1, "new")


async def test_a_small_window_passes_a_long_log(crew):
    async with crew.robot("a") as a:
        conv = await a.create_group(crew.mark)
        async with asyncio.TaskGroup() as group:
            for n in range(200):
                group.create_task(a.send(conv, n))
    async with crew.robot("a", options=Options(window=3)) as a:
        events = await take(a, 201)
    assert [event.seq for event in events] == list(range(1, 202))


async def test_a_bearer_token_opens_a_session(crew, shared_server):
    name = crew.name("person")
    token = shared_server.token(name)
    async with Robot(shared_server.url, name=name, bearer=token) as person:
        me = await person.whoami()
        await person.ping()
    assert (me.robot, me.device) == (name, "main")


async def test_a_bad_bearer_token_is_refused_at_once(crew, shared_server):
    expired = shared_server.token(crew.name("p"), expired=True)
    for token in (expired, "nonsense"):
        with pytest.raises(Refused) as caught:
            async with Robot(shared_server.url, name=crew.name("p"), bearer=token):
                pass
        assert caught.value.code is ErrorCode.UNAUTHENTICATED


async def test_a_token_that_was_used_is_harmless_with_the_same_key(crew, shared_server, tmp_path):
    name = crew.name("a")
    token = shared_server.enroll(name)
    for _ in range(2):
        async with Robot(
            shared_server.url, name=name, key=tmp_path / "a.key", token=token
        ) as robot:
            assert robot.state is State.ONLINE


async def test_a_name_that_another_key_has_is_refused(crew, shared_server):
    async with crew.robot("a") as a:
        pass
    with pytest.raises(Refused, match="registration was refused") as caught:
        async with Robot(
            shared_server.url,
            name=a.name,
            key=RobotKey.generate(),
            token=shared_server.enroll(a.name),
        ):
            pass
    assert caught.value.code is ErrorCode.UNAUTHENTICATED


async def test_a_second_session_of_a_device_replaces_the_first(crew):
    async with crew.robot("a") as old:
        reading = asyncio.create_task(take(old, 1))
        async with crew.robot("a") as new:
            with pytest.raises(StayAway):
                await reading
            assert new.state is State.ONLINE
        with pytest.raises(StayAway):
            await old.whoami()


async def test_refusals_keep_the_connection(crew):
    async with crew.robot("a") as a:
        for _ in range(5):
            with pytest.raises(Refused) as caught:
                await a.send(f"g/none-{crew.mark}", 1)
            assert caught.value.code is ErrorCode.NOT_FOUND
        with pytest.raises(Refused) as caught:
            await a.send(f"g/none-{crew.mark}", "x" * 300_000)
        assert caught.value.code is ErrorCode.TOO_LARGE
        assert a.statistics().connections == 1


@pytest.mark.one_node(reason="there is none")
async def test_no_server_is_a_clear_error():
    robot = Robot("ws://127.0.0.1:9", name="a", bearer="b")
    entering = asyncio.create_task(robot.__aenter__())
    await until(lambda: "cannot connect" in robot._link.machine.last_problem)
    entering.cancel()
    await asyncio.wait([entering])
