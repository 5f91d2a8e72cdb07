"""What every engine must do about administrative acts, tokens on record, and starts of programs."""

import pytest
from msgspec import structs

from imserver.core.acts import (
    Act,
    ActKind,
    Change,
    KeyReplaced,
    RecordedAct,
    Revoked,
    RobotEnded,
    TokenEnded,
    TokenMade,
    TokenRecord,
)
from imserver.core.errors import Refusal
from imserver.core.model import Boot
from imserver.data.store import BOOTS_MAX, Store
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import DeviceName, RobotName
from tests.contract.records import KEY, MAIN, R1, R2, SPARE, enrolment, robot

OTHER_KEY = bytes(range(32, 64))


def act(
    name: str,
    change: Change | None = None,
    *,
    kind: ActKind = ActKind.CLONE_SEEN,
    about: RobotName | None = R1,
    token_id: str | None = None,
    at: int = 5,
) -> Act:
    return Act(name, at, "boss", kind, about, token_id, {"why": name}, change)


def made(name: str, *, expires: int = 99, about: RobotName = R1, at: int = 5) -> Act:
    change = TokenMade("bearer", ("read:g/dock",), (), expires)
    kind = ActKind.MINTED
    return act(f"made-{name}", change, kind=kind, about=about, token_id=name, at=at)


def ended(name: str, *, expires: int = 99, at: int = 7) -> Act:
    kind = ActKind.REVOKED
    return act(f"ended-{name}", TokenEnded(expires), kind=kind, token_id=name, at=at)


def record_of(number: int, done: Act) -> RecordedAct:
    return RecordedAct(
        number, done.at_ms, done.by, done.kind, done.robot, done.token_id, done.facts
    )


async def all_acts(store: Store) -> list[RecordedAct]:
    return await store.administration.acts(before=None, limit=1_000)


class AdministrationContract:
    """Acts, and what they change."""

    async def test_acts_are_recorded_in_order_and_read_newest_first(self, store: Store) -> None:
        done = [act(f"a{number}", at=number) for number in range(5)]
        assert await store.administration.perform(done[:2]) == [True, True]
        assert await store.administration.perform(done[2:]) == [True] * 3
        found = await all_acts(store)
        assert found == [record_of(n + 1, done[n]) for n in reversed(range(5))]
        page = await store.administration.acts(before=4, limit=2)
        assert [one.number for one in page] == [3, 2]

    async def test_an_act_about_nobody_is_recorded(self, store: Store) -> None:
        done = Act("a", 1, "cli:root", ActKind.STORE_BACKED_UP, facts={"n": 3, "of": ["x", "ü"]})
        await store.administration.perform([done])
        assert await all_acts(store) == [record_of(1, done)]

    async def test_an_act_is_performed_once(self, store: Store) -> None:
        await store.administration.perform([ended("t", at=7)])
        assert await store.administration.perform([ended("t", at=9), ended("t")]) == [True, True]
        assert [one.at_ms for one in await all_acts(store)] == [7]

    async def test_a_token_is_on_record_with_who_made_it(self, store: Store) -> None:
        await store.administration.perform([made("t1"), made("t2", about=R2)])
        expected = TokenRecord("t1", "bearer", R1, ("read:g/dock",), (), 5, "boss", 99)
        assert await store.administration.tokens(robot=R1, after="", limit=9) == [expected]
        both = await store.administration.tokens(robot=None, after="", limit=9)
        assert [token.id for token in both] == ["t1", "t2"]
        assert await store.administration.token("t1") == expected
        assert await store.administration.token("t3") is None
        rest = await store.administration.tokens(robot=None, after="t1", limit=1)
        assert [token.id for token in rest] == ["t2"]

    async def test_a_token_that_was_spent_says_so(self, store: Store) -> None:
        await store.administration.perform([made("t")])
        await store.register(robot("r1"), enrolment=enrolment("t"))
        [token] = await store.administration.tokens(robot=None, after="", limit=9)
        assert token.spent

    async def test_a_revoked_token_is_good_no_more(self, store: Store) -> None:
        await store.administration.perform([made("t"), made("u"), ended("t")])
        assert await store.administration.revoked() == Revoked({"t": 99}, {})
        [token, other] = await store.administration.tokens(robot=None, after="", limit=9)
        assert (token.revoked_ms, other.revoked_ms) == (7, None)
        await store.administration.perform([structs.replace(ended("t", at=8), id="again")])
        [token, _] = await store.administration.tokens(robot=None, after="", limit=9)
        assert token.revoked_ms == 7

    async def test_a_token_that_is_not_on_record_can_be_revoked(self, store: Store) -> None:
        await store.administration.perform([ended("t", expires=50)])
        assert (await store.administration.revoked()).tokens == {"t": 50}

    async def test_a_revoked_token_registers_nobody(self, store: Store) -> None:
        await store.administration.perform([made("t"), ended("t"), ended("u")])
        for token in "tu":
            with pytest.raises(Refusal, match="revoked") as refused:
                await store.register(robot("r1"), enrolment=enrolment(token))
            assert refused.value.code is ErrorCode.UNAUTHENTICATED
        assert await store.robot(R1) is None
        await store.register(robot("r1"), enrolment=enrolment("v"))

    async def test_what_has_expired_is_forgotten(self, store: Store) -> None:
        await store.administration.perform([ended("t", expires=50), ended("u", expires=51)])
        await store.administration.forget(acts_before_ms=0, acts_max=100, now_ms=50)
        assert (await store.administration.revoked()).tokens == {"u": 51}
        assert len(await all_acts(store)) == 2

    async def test_old_acts_are_forgotten_and_numbers_go_on(self, store: Store) -> None:
        await store.administration.perform([act(f"a{n}", at=n) for n in range(6)])
        await store.administration.forget(acts_before_ms=2, acts_max=100, now_ms=0)
        assert [one.number for one in await all_acts(store)] == [6, 5, 4, 3]
        await store.administration.forget(acts_before_ms=0, acts_max=2, now_ms=0)
        assert [one.number for one in await all_acts(store)] == [6, 5]
        await store.administration.forget(acts_before_ms=99, acts_max=2, now_ms=0)
        await store.administration.perform([act("new", at=100)])
        assert [one.number for one in await all_acts(store)] == [7]

    async def test_a_revoked_robot_has_no_key(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t"))
        await store.administration.perform([act("end", RobotEnded(), at=20)])
        assert await store.robot(R1) == structs.replace(robot("r1", key=None), revoked_ms=20)
        assert (await store.administration.revoked()).robots == {R1: 20}
        assert await store.robots(after="", limit=9) == [await store.robot(R1)]

    async def test_an_unknown_robot_can_be_revoked(self, store: Store) -> None:
        await store.administration.perform([act("end", RobotEnded(), at=20)])
        record = await store.ensure_robot(robot("r1", key=None, at=30))
        assert record.revoked_ms == 20

    async def test_a_revoked_robot_comes_back_by_a_younger_token_only(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t"))
        await store.administration.perform([act("end", RobotEnded(), at=20)])
        with pytest.raises(Refusal):
            await store.register(robot("r1"), enrolment=enrolment("old", issued=20))
        back = await store.register(robot("r1"), enrolment=enrolment("new", issued=21))
        assert (back.public_key, back.revoked_ms) == (KEY, 20)

    async def test_a_registration_and_its_act_are_one(self, store: Store) -> None:
        done = act("registered", kind=ActKind.ROBOT_REGISTERED)
        await store.register(robot("r1"), enrolment=enrolment("t"), act=done)
        with pytest.raises(Refusal):
            await store.register(robot("r1"), enrolment=enrolment("u"), act=act("refused"))
        assert await all_acts(store) == [record_of(1, done)]

    async def test_a_key_takes_the_place_of_the_one_it_names(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t"))
        rotated = act("rotated", KeyReplaced(KEY, OTHER_KEY), kind=ActKind.KEY_ROTATED)
        assert await store.administration.perform([rotated]) == [True]
        record = await store.robot(R1)
        assert record is not None and record.public_key == OTHER_KEY

    async def test_a_key_that_is_not_the_robots_is_not_replaced(self, store: Store) -> None:
        await store.register(robot("r1", key=OTHER_KEY), enrolment=enrolment("t"))
        acts = [
            act("wrong", KeyReplaced(KEY, bytes(32))),
            act("nobody's", KeyReplaced(KEY, bytes(32)), about=R2),
        ]
        assert await store.administration.perform(acts) == [False, False]
        assert await store.robot(R1) == robot("r1", key=OTHER_KEY)
        assert await all_acts(store) == []


class BootsContract:
    """Starts of programs."""

    async def test_the_last_start_of_each_device_is_kept(self, store: Store) -> None:
        assert await store.boots.last_boot(R1, MAIN) is None
        await store.boots.note_boot(R1, MAIN, Boot(3, "a"))
        await store.boots.note_boot(R1, SPARE, Boot(9, "b"))
        await store.boots.note_boot(R1, MAIN, Boot(2, "c"))
        assert await store.boots.last_boot(R1, MAIN) == Boot(2, "c")
        assert await store.boots.last_boot(R1, SPARE) == Boot(9, "b")
        assert await store.boots.last_boot(R2, MAIN) is None

    async def test_of_very_many_devices_the_last_ones_are_kept(self, store: Store) -> None:
        await store.boots.note_boot(R2, MAIN, Boot(1, "other"))
        names = [DeviceName(f"d{number}") for number in range(BOOTS_MAX + 2)]
        for name in names:
            await store.boots.note_boot(R1, name, Boot(1, name))
        await store.boots.note_boot(R1, names[2], Boot(2, "again"))
        await store.boots.note_boot(R1, DeviceName("last"), Boot(1, "last"))
        kept = [name for name in names if await store.boots.last_boot(R1, name) is not None]
        assert kept == [names[2], *names[4:]]
        assert await store.boots.last_boot(R2, MAIN) is not None
