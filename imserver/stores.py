"""The stores that a server can run on, and how the one that its settings name is opened."""

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.registry import Collector

from imserver.core.errors import StoreUnavailable
from imserver.core.sealing_settings import SealingSettings
from imserver.core.settings import Settings
from imserver.data.directory import DataDirectory
from imserver.data.disk.content import DiskContent
from imserver.data.file_store import FileStore
from imserver.data.key_ring_file import KeyRingFile
from imserver.data.sealed_files import FileKey, SealedCatalog, SealedContent
from imserver.data.sqlite.store import SqliteStore
from imserver.data.store import Store


class OpenedStore(NamedTuple):
    """A store, and what a process needs of its engine beside the ports.

    Attributes:
        store: the store.
        files: what is kept of files, which goes with it.
        aclose: closes all of it.
        work: what has to run as long as it is open, by name. An error of it ends the process: a write
            has failed for good.
        on_hangup: what to do on SIGHUP.
        metrics: what the engine counts, or None.
    """

    store: Store
    files: FileStore
    aclose: Callable[[], Awaitable[None]]
    work: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    on_hangup: Sequence[Callable[[], None]] = ()
    metrics: Collector | None = None


async def open_store(settings: Settings, directory: DataDirectory) -> OpenedStore:
    """Open the store of a deployment: what its directory holds, or what a URL names.

    Raises:
        DataDirectoryBusy, StoreCorrupt, StoreTooNew, StoreUnavailable: it cannot be used, and why.
        KeyRingUnusable: bodies are sealed, or are to be, and the keys are not there.
    """
    if settings.store.url:
        return await _open_mongo(settings, directory)
    return await _open_sqlite(settings, directory)


async def _open_sqlite(settings: Settings, directory: DataDirectory) -> OpenedStore:
    keys = _key_ring_file(settings.sealing, directory)
    ring = keys.load() if keys else None
    store = await SqliteStore.open(
        directory.database_path, durability=settings.store.durability, ring=ring
    )
    content = DiskContent(
        directory.files_path,
        free_bytes_min=settings.files.free_bytes_min,
        on_failure=store.health.fail,
    )
    await content.start()
    key = FileKey(store.files, ring)
    try:
        await key.load()
    except BaseException:
        await content.aclose()
        await store.aclose()
        raise

    async def aclose() -> None:
        await content.aclose()
        await store.aclose()

    return OpenedStore(
        store,
        FileStore(SealedCatalog(store.files, key), store.files, SealedContent(content, key)),
        aclose,
        work={"store": store.health.watch, "sealing": store.sealing.run, "file key": key.run},
        on_hangup=[partial(store.sealing.renew, keys)] if keys else [],
    )


def _key_ring_file(settings: SealingSettings, directory: DataDirectory) -> KeyRingFile | None:
    if not settings.enabled:
        return None
    path = Path(settings.keys) if settings.keys else directory.key_ring_path
    return KeyRingFile(path, random_bytes=os.urandom)


async def _open_mongo(settings: Settings, directory: DataDirectory) -> OpenedStore:
    try:
        # Imported here: who runs on one machine needs no driver of MongoDB.
        from imserver.data.mongo.metrics import MongoMetrics  # noqa: PLC0415
        from imserver.data.mongo.store import MongoStore  # noqa: PLC0415
    except ImportError as exc:
        raise StoreUnavailable(
            "a store in MongoDB needs its driver: pip install 'imserver[server,cluster]'"
        ) from exc
    keys = _key_ring_file(settings.sealing, directory)
    store = await MongoStore.open(settings.store.url, mark=directory.pulse_path, keys=keys)
    key = FileKey(store.file_key, store.ring)
    try:
        await key.load()
    except BaseException:
        await store.aclose()
        raise
    return OpenedStore(
        store,
        FileStore(SealedCatalog(store.files, key), store.files, SealedContent(store.content, key)),
        store.aclose,
        work={
            "lease": store.leases.run,
            "pulse": store.pulse.run,
            "sealing": store.sealing.run,
            "file key": key.run,
            "transactions": store.abandoned.run,
        },
        on_hangup=[partial(store.sealing.renew, keys)] if keys else [],
        metrics=MongoMetrics(store.counts),
    )
