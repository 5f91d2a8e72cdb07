"""A logic tier of one's own for each test, or two of one deployment."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.logic.logic_tier import LogicTier
from tests.unit.logic.two_nodes import TwoNodes


@pytest.fixture
async def tier() -> AsyncIterator[LogicTier]:
    async with LogicTier() as tier:
        yield tier


@pytest.fixture
async def nodes() -> AsyncIterator[TwoNodes]:
    async with TwoNodes() as nodes:
        yield nodes
