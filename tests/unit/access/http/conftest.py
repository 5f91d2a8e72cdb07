"""An HTTP application of one's own for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.access.http.api_in_memory import Api, api_in_memory


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_in_memory() as api:
        yield api
