"""The turns of uploads: one writes at a time, and lets go for who asks."""

import asyncio

import pytest

from imserver.core.files import FileId
from imserver.logic.upload_turns import UploadBusy, UploadTurns

FILE = FileId("file-1")


async def take_over(turns: UploadTurns) -> None:
    async with turns.taking(FILE, claims=True):
        pass


async def test_who_does_not_claim_is_refused_while_another_writes():
    turns = UploadTurns()
    async with turns.taking(FILE, claims=False):
        with pytest.raises(UploadBusy):
            async with turns.taking(FILE, claims=False):
                pass


@pytest.mark.parametrize("is_early", [True, False])
async def test_who_writes_hears_once_of_who_claims(is_early: bool):
    turns, heard = UploadTurns(), []
    async with turns.taking(FILE, claims=False) as turn, asyncio.TaskGroup() as others:
        if not is_early:
            turn.tell_claim(lambda: heard.append(turn))
        claims = [others.create_task(take_over(turns)) for _ in range(2)]
        await asyncio.sleep(0)
        if is_early:  # it was still looking up how far the upload had come
            turn.tell_claim(lambda: heard.append(turn))
        assert heard == [turn]
        for claim in claims:
            claim.cancel()


async def test_who_claims_goes_on_when_it_was_let_go_of():
    turns = UploadTurns()
    async with asyncio.TaskGroup() as others, turns.taking(FILE, claims=False):
        claim = others.create_task(take_over(turns))
        await asyncio.sleep(0)
        assert not claim.done()
    async with turns.taking(FILE, claims=False):
        pass
