"""What becomes of calls to MongoDB when one primary follows another."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from imserver.data.mongo import succession
from imserver.data.mongo.succession import Succession


def elected(name: str) -> Any:
    """Return what the driver tells when a member has become primary."""
    servers = {(name, 27017): SimpleNamespace(server_type_name="RSPrimary")}
    return SimpleNamespace(new_description=SimpleNamespace(server_descriptions=lambda: servers))


async def test_a_call_that_is_being_given_up_does_not_hinder_the_next_succession(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(succession, "NOTICE_S", 0.0)
    seen, ending, may_end = Succession(), asyncio.Event(), asyncio.Event()
    seen.description_changed(elected("first"))

    async def call() -> None:
        async with seen.heeded():
            try:
                await asyncio.Event().wait()
            finally:
                ending.set()
                await may_end.wait()

    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    seen.description_changed(elected("second"))
    await ending.wait()
    seen.description_changed(elected("third"))
    may_end.set()
    with pytest.raises(AutoReconnect):
        await calling
