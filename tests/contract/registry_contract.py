"""What every engine must do about robots, groups, members and cursors."""

import pytest
from msgspec import structs

from imserver.core.errors import Refusal
from imserver.core.model import (
    ConversationRecord,
    GroupSummary,
    Member,
    Membership,
    Missing,
    Taken,
)
from imserver.data.store import Store
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, RobotName
from tests.contract.records import (
    DOCK,
    KEY,
    LINE,
    MAIN,
    R1,
    R2,
    R3,
    SPARE,
    YARD,
    added,
    created,
    cursor,
    deleted,
    enrolment,
    event,
    events,
    members,
    removed,
    robot,
    seqs,
    stored,
)


class MembershipContract:
    """Changes of membership, which travel through the log."""

    async def test_a_created_group_has_its_members_from_its_first_event(self, store: Store) -> None:
        outcome = stored((await store.append([created(members=["r2"], is_open=True)]))[0])
        assert await store.conversation(DOCK) == ConversationRecord(
            conv=DOCK,
            epoch=outcome.epoch,
            head=1,
            open=True,
            deleted=False,
            members={R1: Member(Role.OWNER, 1), R2: Member(Role.MEMBER, 1)},
        )

    async def test_a_name_that_is_in_use_is_taken(self, store: Store) -> None:
        await store.append([created(members=["r2"])])
        second = structs.replace(created(members=["r3"]), cid="second")
        assert await store.append([second]) == [Taken()]
        assert set(await members(store)) == {R1, R2}

    async def test_creating_again_with_the_same_cid_answers_the_first_event(
        self, store: Store
    ) -> None:
        [first] = await store.append([created()])
        again = stored((await store.append([created()]))[0])
        assert again.dup
        assert again.event == stored(first).event

    async def test_a_conversation_that_never_was_is_none(self, store: Store) -> None:
        assert await store.conversation(DOCK) is None

    async def test_an_added_robot_is_a_member_since_the_event(self, store: Store) -> None:
        await store.append([created(), event("m"), added("a", R2, R3, role=Role.OBSERVER)])
        found = await members(store)
        assert found == {R1: (Role.OWNER, 1), R2: (Role.OBSERVER, 3), R3: (Role.OBSERVER, 3)}

    async def test_a_member_that_is_added_again_only_changes_its_role(self, store: Store) -> None:
        await store.append([created(members=["r2"]), event("m"), added("a", R2, role=Role.ADMIN)])
        assert (await members(store))[R2] == (Role.ADMIN, 1)

    async def test_a_removed_robot_is_no_member(self, store: Store) -> None:
        await store.append([created(members=["r2", "r3"]), removed("x", R2, RobotName("r9"))])
        assert set(await members(store)) == {R1, R3}

    async def test_a_robot_that_comes_back_is_a_member_since_then(self, store: Store) -> None:
        await store.append([created(members=["r2"]), removed("x", R2), added("a", R2)])
        assert (await members(store))[R2] == (Role.MEMBER, 3)

    async def test_changes_take_effect_in_the_order_of_the_call(self, store: Store) -> None:
        outcomes = await store.append(
            [event("early"), created(), event("m"), deleted("end"), event("late")]
        )
        assert [outcomes[0], outcomes[4]] == [Missing(), Missing()]
        assert seqs(outcomes[1:4]) == [1, 2, 3]

    async def test_a_repeated_change_does_not_happen_again(self, store: Store) -> None:
        await store.append([created(), added("a", R2), removed("x", R2)])
        [again] = await store.append([added("a", R2)])
        assert stored(again).dup
        assert set(await members(store)) == {R1}

    async def test_a_change_of_an_unknown_group_is_refused(self, store: Store) -> None:
        assert await store.append([added("a", R2), deleted("x", YARD)]) == [
            Missing(),
            Missing(),
        ]

    async def test_an_ended_group_has_no_members_and_takes_no_events(self, store: Store) -> None:
        await store.append([created(members=["r2"]), deleted("end")])
        outcomes = await store.append([event("m"), added("a", R3)])
        assert outcomes == [Missing(), Missing()]
        record = await store.conversation(DOCK)
        assert record is not None
        assert (record.deleted, record.members, record.head) == (True, {}, 2)

    async def test_the_name_of_an_ended_group_stays_taken(self, store: Store) -> None:
        await store.append([created(), deleted("end")])
        again = structs.replace(created(members=["r2"]), cid="again")
        assert await store.append([again]) == [Taken()]

    async def test_a_retry_is_answered_after_the_group_has_ended(self, store: Store) -> None:
        await store.append([created(), event("m"), deleted("end")])
        outcomes = await store.append([event("m"), deleted("end")])
        assert [stored(outcome).dup for outcome in outcomes] == [True, True]
        assert seqs(outcomes) == [2, 3]

    async def test_the_log_of_an_ended_group_can_be_read(self, store: Store) -> None:
        await store.append([created(), event("m"), deleted("end")])
        page = await store.read_after(DOCK, 0, limit=10, bytes_max=10_000)
        assert [entry.cid for entry in page] == ["created", "m", "end"]

    async def test_a_group_may_have_ten_thousand_members(self, store: Store) -> None:
        names = tuple(RobotName(f"robot-{number}") for number in range(10_000))
        await store.append([created(), added("a", *names)])
        assert len(await members(store)) == 10_001
        await store.append([removed("x", *names)])
        assert set(await members(store)) == {R1}

    async def test_memberships_come_by_name_with_heads(self, store: Store) -> None:
        await store.append([created(YARD, members=["r2"]), created(DOCK), event("m", LINE)])
        await store.append([event("n", YARD), added("a", R2, role=Role.OBSERVER)])
        found = await store.memberships(R2, MAIN)
        assert [item.conv for item in found] == [LINE, DOCK, YARD]
        assert [(item.role, item.since, item.head) for item in found] == [
            (Role.MEMBER, 1, 1),
            (Role.OBSERVER, 2, 2),
            (Role.MEMBER, 1, 2),
        ]

    async def test_a_robot_without_conversations_has_no_memberships(self, store: Store) -> None:
        await store.append([created(members=["r2"]), removed("x", R2)])
        assert await store.memberships(R2, MAIN) == []

    async def test_groups_come_in_pages_by_name(self, store: Store) -> None:
        convs = [ConversationName(f"g/{name}") for name in ("B", "a", "a.1", "a1", "z")]
        await store.append([created(conv) for conv in reversed(convs)] + [event("m", LINE)])
        first = await store.groups(member=None, after="", limit=3)
        rest = await store.groups(member=None, after=first[-1].conv, limit=3)
        assert [item.conv for item in first + rest] == convs
        assert first[0] == GroupSummary(convs[0], None, 1, 1)

    async def test_groups_of_a_member_show_its_role(self, store: Store) -> None:
        await store.append(
            [created(DOCK, members=["r2", "r3"]), created(YARD), event("m", LINE), event("n")]
        )
        found = await store.groups(member=R2, after="", limit=10)
        assert found == [GroupSummary(DOCK, Role.MEMBER, 3, 2)]
        assert await store.groups(member=R2, after=DOCK, limit=10) == []

    async def test_ended_groups_are_not_listed(self, store: Store) -> None:
        await store.append([created(DOCK), created(YARD), deleted("end", YARD)])
        assert [item.conv for item in await store.groups(member=None, after="", limit=9)] == [DOCK]


class CursorContract:
    """Cursors: how far each device has come."""

    async def test_a_cursor_is_kept_for_each_device(self, store: Store) -> None:
        await store.append([created(members=["r2"]), *events(5)])
        await store.move_cursors([cursor(3), cursor(5, device=SPARE), cursor(2, robot=R2)])
        record = await store.conversation(DOCK)
        assert record is not None
        assert await store.memberships(R1, MAIN) == [
            Membership(
                conv=DOCK,
                epoch=record.epoch,
                head=6,
                role=Role.OWNER,
                since=1,
                device_acked=3,
                robot_acked=5,
            )
        ]
        assert await store.acked(DOCK) == {R1: 5, R2: 2}

    async def test_a_device_that_never_acked_has_no_cursor(self, store: Store) -> None:
        await store.append([created(members=["r2"])])
        await store.move_cursors([cursor(1)])
        [own] = await store.memberships(R1, SPARE)
        [other] = await store.memberships(R2, MAIN)
        assert (own.device_acked, own.robot_acked) == (None, 1)
        assert (other.device_acked, other.robot_acked) == (None, None)

    async def test_a_cursor_never_moves_backwards(self, store: Store) -> None:
        await store.append([created(), *events(5)])
        await store.move_cursors([cursor(4), cursor(2)])
        await store.move_cursors([cursor(3)])
        assert await store.acked(DOCK) == {R1: 4}

    async def test_a_cursor_beyond_the_head_is_ignored(self, store: Store) -> None:
        await store.append([created(), *events(5)])
        await store.move_cursors([cursor(4)])
        await store.move_cursors([cursor(7), cursor(-1)])
        assert await store.acked(DOCK) == {R1: 4}

    async def test_a_cursor_may_reach_the_head(self, store: Store) -> None:
        await store.append([created(), *events(5)])
        await store.move_cursors([cursor(6), cursor(7, robot=R2)])
        assert await store.acked(DOCK) == {R1: 6}

    async def test_a_cursor_of_an_unknown_conversation_is_ignored(self, store: Store) -> None:
        await store.append([created()])
        await store.move_cursors([cursor(1, YARD), cursor(1, LINE), cursor(1)])
        assert await store.acked(DOCK) == {R1: 1}
        assert await store.acked(YARD) == {}
        assert await store.conversation(LINE) is None

    async def test_many_cursors_move_at_once(self, store: Store) -> None:
        await store.append([created(), *events(9)])
        robots = [RobotName(f"robot-{number}") for number in range(1000)]
        await store.move_cursors([cursor(1 + n % 10, robot=name) for n, name in enumerate(robots)])
        assert await store.acked(DOCK) == {name: 1 + n % 10 for n, name in enumerate(robots)}


class RegistryContract:
    """Robots, and tokens that are good once."""

    async def test_a_registered_robot_is_known(self, store: Store) -> None:
        record = await store.register(robot("r1"), enrolment=enrolment("t"))
        assert record == robot("r1")
        assert await store.robot(R1) == robot("r1")
        assert await store.robot(R2) is None

    async def test_a_name_is_registered_once(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t1"))
        with pytest.raises(Refusal) as refused:
            await store.register(robot("r1", key=bytes(32)), enrolment=enrolment("t2"))
        assert refused.value.code is ErrorCode.EXISTS
        assert await store.robot(R1) == robot("r1")

    async def test_a_token_is_spent_once(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t"))
        with pytest.raises(Refusal) as refused:
            await store.register(robot("r2"), enrolment=enrolment("t"))
        assert refused.value.code is ErrorCode.UNAUTHENTICATED
        assert await store.robot(R2) is None

    async def test_a_refused_registration_does_not_spend_its_token(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t1"))
        with pytest.raises(Refusal):
            await store.register(robot("r1"), enrolment=enrolment("t2"))
        await store.register(robot("r2"), enrolment=enrolment("t2"))
        assert await store.robot(R2) == robot("r2")

    async def test_a_robot_without_a_key_gets_one_by_registering(self, store: Store) -> None:
        await store.ensure_robot(robot("r1", key=None, at=5))
        record = await store.register(robot("r1", at=9), enrolment=enrolment("t"))
        assert record == robot("r1", key=KEY, at=5)
        assert await store.robot(R1) == record

    async def test_a_robot_is_ensured_once_and_without_a_key(self, store: Store) -> None:
        first = await store.ensure_robot(robot("r1", at=5))
        again = await store.ensure_robot(robot("r1", at=9))
        assert first == again == robot("r1", key=None, at=5)

    async def test_ensuring_a_registered_robot_keeps_its_key(self, store: Store) -> None:
        await store.register(robot("r1"), enrolment=enrolment("t"))
        assert await store.ensure_robot(robot("r1", key=None, at=9)) == robot("r1")

    async def test_robots_come_in_pages_by_name(self, store: Store) -> None:
        names = ["A", "Z", "a", "a.1", "a1", "b"]
        for name in reversed(names):
            await store.ensure_robot(robot(name))
        first = await store.robots(after="", limit=4)
        rest = await store.robots(after=first[-1].name, limit=4)
        assert [record.name for record in first + rest] == names

    async def test_known_robots_are_told_from_unknown(self, store: Store) -> None:
        await store.ensure_robot(robot("r1"))
        await store.ensure_robot(robot("r2"))
        assert await store.known_robots([R1, R3, RobotName('"')]) == {R1}
        assert await store.known_robots([]) == set()

    async def test_a_working_store_passes_its_probe(self, store: Store) -> None:
        await store.probe()
        await store.probe()

    async def test_a_store_may_be_closed_twice(self, store: Store) -> None:
        await store.aclose()
        await store.aclose()
