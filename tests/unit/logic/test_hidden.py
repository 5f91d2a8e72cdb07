"""What a stranger can learn of a group from how its questions are answered: nothing."""

import asyncio

import pytest

from imserver.core.errors import Refusal
from imserver.logic.places import Places
from imserver.protocol.client_frames import History
from tests.unit.logic.logic_tier import LogicTier


async def test_a_stranger_waits_for_the_store_whether_or_not_there_is_such_a_group() -> None:
    async with LogicTier() as tier:
        conv = await tier.group("a", "r1")
        stranger, member = await tier.session("r2"), await tier.session("r1", auto=False)
        assert await tier.history.read(member, History(1, conv)), "this node holds the group"
        tier.store.conversations_read.shut = True
        answers = []
        for name in (conv, "g/none"):
            asking = asyncio.ensure_future(tier.history.read(stranger, History(1, name)))
            await tier.settle()
            assert len(tier.store.conversations_read) == 1, "one question to the store, always"
            tier.store.conversations_read.let_one()
            with pytest.raises(Refusal) as caught:
                await asking
            answers.append(caught.value.message.replace(name, "NAME"))
        assert answers[0] == answers[1]
        assert await tier.history.read(member, History(1, conv)), "a member waits for nothing"


async def test_a_stranger_that_signals_or_acks_waits_for_the_store_as_well() -> None:
    async with LogicTier() as tier:
        conv = await tier.group("a", "r1")
        stranger, member = await tier.session("r2"), await tier.session("r1", auto=False)
        assert await tier.history.read(member, History(1, conv)), "this node holds the group"
        places = Places(tier.store, tier.conversations, tier.committer)
        tier.store.conversations_read.shut = True
        for name in (conv, "g/none"):
            signal = tier.signals.signal(stranger, name, key="k", body=b"\xc0")
            for work in (signal, places.ack(stranger, {name: 0}, device="main")):
                assert work is not None
                asking = asyncio.ensure_future(work)
                await tier.settle()
                assert len(tier.store.conversations_read) == 1, "one question to the store, always"
                tier.store.conversations_read.let_one()
                with pytest.raises(Refusal):
                    await asking
        assert tier.signals.signal(member, conv, key="k", body=b"\xc0") is None
