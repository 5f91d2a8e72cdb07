"""Who is revoked while it comes in does not get in, and who is in is put out."""

import asyncio

import pytest

from imserver.core.acts import ActKind, KeyReplaced, Revoked, RobotEnded, key_fingerprint
from imserver.core.errors import Refusal
from imserver.core.model import Enrolment, RobotRecord
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.names import RobotName
from tests.unit.logic.logic_tier import LogicTier


async def revoke(tier: LogicTier, robot: str) -> None:
    act = tier.ledger.act(
        ActKind.ROBOT_REVOKED, "boss", robot=RobotName(robot), change=RobotEnded()
    )
    await tier.ledger.perform([act])


async def test_who_is_revoked_while_its_session_is_opened_does_not_get_it() -> None:
    async with LogicTier() as tier:
        await tier.store.enlist("r1")
        tier.store.memberships_read.shut = True
        opening = asyncio.ensure_future(tier.session("r1"))
        await tier.settle()
        assert len(tier.store.memberships_read) == 1
        await revoke(tier, "r1")
        tier.store.memberships_read.open()
        with pytest.raises(Refusal) as caught:
            await opening
        assert caught.value.code is ErrorCode.UNAUTHENTICATED
        assert tier.sessions.all() == []


async def test_a_revocation_closes_every_session_of_its_robot_and_of_nobody_else() -> None:
    async with LogicTier() as tier:
        sessions = [await tier.session(*who) for who in (("r1",), ("r1", "arm"), ("r2",))]
        await revoke(tier, "r1")
        closed = [session.peer.closed for session in sessions]  # type: ignore[attr-defined]
        assert [code and code[0] for code in closed] == [CloseCode.REVOKED] * 2 + [None]


async def test_who_proves_a_key_while_its_revocation_is_on_its_way_does_not_stay() -> None:
    async with LogicTier() as tier:
        asked = tier.ledger.act(
            ActKind.ROBOT_REVOKED, "cli:op", robot=RobotName("r1"), change=RobotEnded()
        )
        tier.clock.ms += 200  # it waits in the spool, or for the disk
        session = await tier.session("r1")
        await tier.ledger.perform([asked])
        assert session.peer.closed[0] == CloseCode.REVOKED  # type: ignore[attr-defined]
        tier.clock.ms += 1
        anew = await tier.session("r1")
        assert not anew.peer.is_closed, "who is enrolled anew is let in"


async def test_who_proves_a_key_while_its_replacement_is_on_its_way_does_not_stay() -> None:
    async with LogicTier() as tier:
        r1, old, new = RobotName("r1"), bytes(32), bytes(range(32))
        record = RobotRecord(r1, old, tier.clock.ms)
        await tier.store.register(record, enrolment=Enrolment("t", 0, tier.clock.ms + 1))
        change = KeyReplaced(old, new)
        asked = tier.ledger.act(ActKind.KEY_ROTATED, "r1", robot=r1, change=change)
        tier.clock.ms += 200  # it waits for the disk
        by_old, by_new = await tier.session("r1", "arm"), await tier.session("r1", "leg")
        by_old.warrant = by_old.warrant._replace(key=key_fingerprint(old))
        by_new.warrant = by_new.warrant._replace(key=key_fingerprint(new))
        await tier.ledger.perform([asked])
        assert by_old.peer.closed[0] == CloseCode.KEY_REPLACED  # type: ignore[attr-defined]
        assert not by_new.peer.is_closed, "who has proven both stays"


async def test_who_proves_a_key_while_another_node_revokes_it_has_to_prove_it_again() -> None:
    async with LogicTier() as tier:
        at_ms = tier.clock.ms
        tier.clock.ms += 200
        session = await tier.session("r1")
        tier.standing.learn(Revoked(robots={RobotName("r1"): at_ms}))
        assert session.peer.closed[0] == CloseCode.KEY_REPLACED  # type: ignore[attr-defined]
        tier.clock.ms += 1
        session = await tier.session("r1")
        tier.standing.learn(Revoked(robots={RobotName("r1"): at_ms}))
        assert session.peer.closed is None  # type: ignore[attr-defined]
