"""Administrative acts and starts of programs on the simulated disk."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from imserver.core.acts import Act, RecordedAct, Revoked, TokenRecord
from imserver.core.model import Boot
from imserver.data.memory.store import MemoryStore
from imserver.protocol.names import DeviceName, RobotName

if TYPE_CHECKING:
    from tests.simulation.disk import Apply

Write = Callable[["Apply"], Awaitable[Any]]


class SimAdministration:
    """An `Administration` whose writes take their time, and may fail, as all of the store's."""

    def __init__(self, memory: MemoryStore, write: Write) -> None:
        self._memory = memory
        self._write = write

    async def perform(self, acts: Sequence[Act]) -> list[bool]:
        acts = list(acts)
        done: list[bool] = await self._write(lambda memory: memory.administration.perform(acts))
        return done

    async def acts(self, *, before: int | None, limit: int) -> list[RecordedAct]:
        return await self._memory.administration.acts(before=before, limit=limit)

    async def forget(self, *, acts_before_ms: int, acts_max: int, now_ms: int) -> None:
        await self._write(
            lambda memory: memory.administration.forget(
                acts_before_ms=acts_before_ms, acts_max=acts_max, now_ms=now_ms
            )
        )

    async def tokens(self, *, robot: RobotName | None, after: str, limit: int) -> list[TokenRecord]:
        return await self._memory.administration.tokens(robot=robot, after=after, limit=limit)

    async def token(self, token_id: str) -> TokenRecord | None:
        return await self._memory.administration.token(token_id)

    async def revoked(self) -> Revoked:
        return await self._memory.administration.revoked()


class SimBoots:
    """A `Boots` of that kind."""

    def __init__(self, memory: MemoryStore, write: Write) -> None:
        self._memory = memory
        self._write = write

    async def last_boot(self, robot: RobotName, device: DeviceName) -> Boot | None:
        return await self._memory.boots.last_boot(robot, device)

    async def note_boot(self, robot: RobotName, device: DeviceName, boot: Boot) -> None:
        await self._write(lambda memory: memory.boots.note_boot(robot, device, boot))
