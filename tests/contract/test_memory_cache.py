"""The cache in memory keeps the contract, and lets go of what was used the longest time ago."""

import pytest

from imserver.data.memory.cache import MemoryCache
from tests.contract.cache_contract import BYTES_MAX, LOG_BYTES_MAX, A, B, CacheContract


class TestMemoryCache(CacheContract):
    @pytest.fixture
    def cache(self) -> MemoryCache:
        return MemoryCache(bytes_max=BYTES_MAX, log_bytes_max=LOG_BYTES_MAX)


async def test_what_is_used_stays():
    cache = MemoryCache(bytes_max=3, log_bytes_max=3)
    for name in ("one", "two", "three"):
        cache.put(A, name, b".")
    await cache.get(A, ["one"])
    cache.put(B, "four", b".")
    assert await cache.get(A, ["one", "two", "three"]) == [b".", None, b"."]


async def test_a_value_that_is_replaced_takes_no_room():
    cache = MemoryCache(bytes_max=10, log_bytes_max=10)
    for _ in range(5):
        cache.put(A, "it", bytes(10))
    assert await cache.get(A, ["it"]) == [bytes(10)]
