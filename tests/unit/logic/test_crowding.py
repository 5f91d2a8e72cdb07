"""Conversations beyond their rate: who gives most of it is refused there, and nobody else."""

import pytest

from imserver.core.errors import Refusal
from imserver.core.rate_settings import RateSettings
from imserver.protocol.errors import ErrorCode
from tests.unit.logic.logic_tier import LogicTier, peer_of

SLOW = RateSettings(conversation_events_per_s=100.0, burst_s=1.0)


async def test_a_conversation_within_its_rate_takes_all() -> None:
    async with LogicTier(rates=SLOW) as tier:
        conv, sender = await tier.group("a", "r1"), await tier.session("r1")
        for _ in range(150):
            await tier.send(sender, conv)
            tier.clock.s += 0.01


async def test_who_floods_a_conversation_is_refused_there_with_the_time_to_wait() -> None:
    async with LogicTier(rates=SLOW) as tier:
        conv, sender = await tier.group("a", "r1"), await tier.session("r1")
        other = await tier.group("b", "r1")
        refusal = await flood(tier, sender, conv)
        assert refusal.code is ErrorCode.RATE_LIMITED
        assert refusal.retry_after_ms is not None
        await tier.send(sender, other)
        tier.clock.s += refusal.retry_after_ms / 1_000 - 0.01
        with pytest.raises(Refusal):
            await tier.send(sender, conv)
        tier.clock.s += 0.01
        await tier.send(sender, conv)


async def test_a_robot_that_says_little_is_heard_in_a_crowd() -> None:
    async with LogicTier(rates=SLOW) as tier:
        conv = await tier.group("a", "r1", "r2")
        flooder, quiet = await tier.session("r1"), await tier.session("r2")
        for _ in range(20):
            await flood(tier, flooder, conv)
            await tier.send(quiet, conv)
            tier.clock.s += 0.1


async def test_bodies_count_too() -> None:
    rates = RateSettings(
        conversation_events_per_s=0.0, conversation_bytes_per_s=10_000.0, burst_s=1.0
    )
    async with LogicTier(rates=rates) as tier:
        conv, sender = await tier.group("a", "r1"), await tier.session("r1")
        assert (await flood(tier, sender, conv, "x" * 5_000)).code is ErrorCode.RATE_LIMITED
        assert peer_of(sender).seqs(conv)[-1] <= 5


async def test_the_same_cid_is_not_forgotten_in_a_crowd() -> None:
    async with LogicTier(rates=SLOW) as tier:
        conv, sender = await tier.group("a", "r1"), await tier.session("r1")
        first = await tier.send(sender, conv, cid="c")
        refusal = await flood(tier, sender, conv)
        tier.clock.s += (refusal.retry_after_ms or 0) / 1_000
        again = await tier.send(sender, conv, cid="c")
        assert (again.seq, again.dup) == (first.seq, True)


async def flood(tier: LogicTier, sender: object, conv: str, body: str = "hi") -> Refusal:
    """Send without end; return the refusal that ended it."""
    for _ in range(500):
        try:
            await tier.send(sender, conv, body)  # type: ignore[arg-type]
        except Refusal as refusal:
            return refusal
    raise AssertionError("nothing was refused")
