"""A logic tier of one's own for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.logic.logic_tier import LogicTier


@pytest.fixture
async def tier() -> AsyncIterator[LogicTier]:
    async with LogicTier() as tier:
        yield tier
