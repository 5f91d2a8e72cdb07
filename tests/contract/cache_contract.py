"""The contract of the cache's port: every engine passes all of it.

An engine's test class inherits `CacheContract` and gives a fixture ``cache``, open, with the bounds below. It
may take a while until a value that was put is there: the tests wait for that.
"""

import asyncio
from typing import Final

import pytest

from imserver.data.cache import Cache
from imserver.protocol.names import ConversationName
from tests.until import PATIENCE_S

A, B = ConversationName("g/a"), ConversationName("g/b")
BYTES_MAX: Final = 64 * 1024
LOG_BYTES_MAX: Final = 16 * 1024


async def kept(cache: Cache, conv: ConversationName, name: str, value: bytes) -> None:
    """Return when a value is there that was put."""
    async with asyncio.timeout(PATIENCE_S):
        while await cache.get(conv, [name]) != [value]:
            await asyncio.sleep(0.002)


class CacheContract:
    """What every cache does."""

    @pytest.fixture
    def cache(self) -> Cache:
        raise NotImplementedError("an engine's test class gives its cache")

    async def test_what_was_put_is_there_in_the_order_of_the_question(self, cache: Cache) -> None:
        cache.put(A, "one", b"1")
        cache.put(A, "two", b"2")
        await kept(cache, A, "two", b"2")
        assert await cache.get(A, ["two", "three", "one", "two"]) == [b"2", None, b"1", b"2"]

    async def test_conversations_and_names_are_kept_apart(self, cache: Cache) -> None:
        for conv in (A, B):
            for name in ("1", "1:2", "{1}", "1\0", ""):
                cache.put(conv, name, f"{conv} {name}".encode())
        await kept(cache, B, "", b"g/b ")
        for conv in (A, B):
            for name in ("1", "1:2", "{1}", "1\0", ""):
                assert await cache.get(conv, [name]) == [f"{conv} {name}".encode()]

    async def test_a_later_value_takes_the_place_of_an_earlier_one(self, cache: Cache) -> None:
        for number in range(10):
            cache.put(A, "it", b"%d" % number)
        await kept(cache, A, "it", b"9")

    async def test_nothing_is_there_that_was_not_put(self, cache: Cache) -> None:
        assert await cache.get(A, ["it"]) == [None]
        assert await cache.get(A, []) == []

    async def test_any_bytes_may_be_put(self, cache: Cache) -> None:
        value = bytes(range(256)) * 8
        cache.put(A, "it", value)
        await kept(cache, A, "it", value)

    async def test_all_values_and_those_of_one_conversation_are_bounded(self, cache: Cache) -> None:
        convs = [ConversationName(f"g/{number}") for number in range(20)]
        for number in range(30):
            for conv in convs:
                cache.put(conv, str(number), bytes(1_000))
        cache.put(B, "last", b"")
        await kept(cache, B, "last", b"")
        held = {conv: await self._bytes_of(cache, conv, 30) for conv in convs}
        assert max(held.values()) <= LOG_BYTES_MAX
        assert 0 < sum(held.values()) <= BYTES_MAX

    async def _bytes_of(self, cache: Cache, conv: ConversationName, count: int) -> int:
        found = await cache.get(conv, [str(number) for number in range(count)])
        return sum(len(value) for value in found if value is not None)
