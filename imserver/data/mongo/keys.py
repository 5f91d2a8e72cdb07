"""What ``imserver keys`` does with a store in MongoDB, whether servers run on it or not."""

from typing import Final

from imserver.core.errors import KeyRingUnusable
from imserver.core.key_ring import KeyId
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.mongo.database import Database
from imserver.data.mongo.nodes import live_nodes
from imserver.data.mongo.sealing import Uses, count_uses, read_state

_COUNT_S: Final = 600.0


async def count(url: str) -> Uses:
    """Count the bodies by what they are sealed with; takes time with the store's size.

    Raises:
        StoreUnavailable: it is not there, or cannot be read.
    """
    database = await Database.open(url, existing=True)
    try:
        async with database.session(_COUNT_S) as session:
            return await count_uses(database, session)
    finally:
        await database.aclose()


async def remove_key(url: str, file: KeyRingFile, key: KeyId) -> None:
    """Take ``key`` out of the ring in ``file``, if nothing in the store needs it, and no server seals with
    it.

    Other nodes have rings of their own, or copies: it is to be taken out of each.

    Raises:
        KeyRingUnusable: it is in use, and how; or it is the current one, or not in the ring.
        StoreUnavailable: the store is not there, or cannot be read.
    """
    database = await Database.open(url, existing=True)
    try:
        async with database.session(_COUNT_S) as session:
            bodies = (await count_uses(database, session)).keys.get(key, 0)
            nodes = [
                node.name for node in await live_nodes(database, session) if node.seals_with == key
            ]
            state = await read_state(database, session)
    finally:
        await database.aclose()
    if bodies:
        raise KeyRingUnusable(
            f"key {key} cannot be removed: {bodies:,} bodies are sealed with it. Servers seal them anew "
            "with the current key, once each has been told of that (SIGHUP, or a restart); see `imserver "
            "keys list`"
        )
    if nodes:
        raise KeyRingUnusable(
            f"key {key} cannot be removed: {', '.join(nodes)} may still seal with it, and must be told of "
            "the current key first (SIGHUP)"
        )
    if key in state.required:
        raise KeyRingUnusable(
            f"key {key} cannot be removed yet: no body is sealed with it now, but the servers have not gone "
            "through all of them"
        )
    file.remove(key)
