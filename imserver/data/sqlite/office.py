"""The acts and tokens of an embedded store, for a command: whether a server holds the store or not.

With a server running, the store can be read, and what is to be done goes through the spool. Without one, the
command is the one process that may write, and takes in what waits in the spool, too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from imserver.core.acts import Act
from imserver.core.errors import DataDirectoryBusy, StoreUnavailable
from imserver.core.model import RobotRecord
from imserver.data.directory import DataDirectory
from imserver.data.spool import ActSpool
from imserver.data.sqlite.administration import SqliteAdministration
from imserver.data.sqlite.reader import Reader
from imserver.data.sqlite.store import SqliteStore
from imserver.data.store import Administration
from imserver.protocol.names import RobotName

_TAKEN_WITHIN_S: Final = 3.0
_LOOK_S: Final = 0.05


class Office:
    """Where a command sees and does administrative things.

    Attributes:
        administration: to read; acts are performed by `perform`.
    """

    def __init__(
        self,
        administration: Administration,
        robot: Callable[[RobotName], Awaitable[RobotRecord | None]],
        perform: Callable[[Sequence[Act]], Awaitable[object]],
    ) -> None:
        self.administration = administration
        self.robot = robot
        self.perform = perform


@asynccontextmanager
async def office(directory: DataDirectory) -> AsyncIterator[Office]:
    """Open the office of a data directory; nothing waits in its spool then that was there before.

    Raises:
        StoreCorrupt, StoreTooNew, StoreUnavailable: the store cannot be used.
    """
    spool = ActSpool(directory.spool_path)
    try:
        store = await SqliteStore.open(directory.database_path)
    except DataDirectoryBusy:
        await _until_taken(spool)
        reader = Reader(directory.database_path)
        try:
            yield Office(*_beside_server(reader, spool))
        finally:
            reader.close()
    else:
        try:
            await spool.hand_over(store.administration.perform)
            yield Office(store.administration, store.robot, store.administration.perform)
        finally:
            await store.aclose()


async def _until_taken(spool: ActSpool) -> None:
    """Return when the running server has taken in what waits.

    Raises:
        StoreUnavailable: it does not.
    """
    for _ in range(round(_TAKEN_WITHIN_S / _LOOK_S)):
        if spool.is_empty:
            return
        await asyncio.sleep(_LOOK_S)  # nothing tells when another process has read
    raise StoreUnavailable(
        "the running server does not take in what was done beside it; its log says why"
    )


def _beside_server(reader: Reader, spool: ActSpool) -> tuple[Any, Any, Any]:
    async def robot(name: RobotName) -> RobotRecord | None:
        return reader.robot(name)

    async def perform(acts: Sequence[Act]) -> None:
        spool.append(acts)
        await _until_taken(spool)

    async def read(question: Callable[..., Any], *args: Any) -> Any:
        return question(reader, *args)

    return SqliteAdministration(read, _no_transaction), robot, perform


async def _no_transaction(_work: Callable[..., Any]) -> NoReturn:
    raise AssertionError("the server writes; acts go through the spool")
