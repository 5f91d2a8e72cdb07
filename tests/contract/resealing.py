"""What runs beside a store that seals: it brings what is stored under the current key."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from imserver.data.mongo.store import MongoStore
from imserver.data.sqlite.store import SqliteStore


@asynccontextmanager
async def resealing(store: MongoStore | SqliteStore) -> AsyncIterator[None]:
    """Have a store bring its bodies under the current key."""
    task = asyncio.create_task(store.sealing.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
