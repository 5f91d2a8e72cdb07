"""The sealing of an embedded store as its process leads it: what runs beside the traffic.

`StoreSealing.run` brings old bodies under the current key, a step at a time with rests between, wipes what
they leave, and waits until it is told to read the ring again. One task does all of it, so that no step ever
meets a change of keys."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import apsw

from imserver.core.errors import StoreUnavailable
from imserver.core.key_ring import KeyRing
from imserver.data.ring_change import RingChange
from imserver.data.sealing import PLAIN, EventSeal
from imserver.data.sqlite.resealing import Resealing
from imserver.data.sqlite.writer import Writer

_REST: Final = 3.0
"""How long to rest after a step, in times of what it took."""
_TOLD_EVERY_S: Final = 10.0
_READER_S: Final = 1.0
_PUT_OFF_S: Final = 30.0
_WRITTEN_ANEW_BYTES_MAX: Final = 128 * 1024 * 1024
"""Which file is written anew while the server runs: some 20 s a GiB, in which sends wait."""
_UNWIPED: Final = (
    "free pages of the file still have bodies from before sealing was turned on; `imserver keys wipe` writes "
    "it anew while no server runs"
)
_log: Final = logging.getLogger(__name__)


R = TypeVar("R")
Write: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]
"""Calls a method of the store's writer, in its thread."""


class StoreSealing:
    """Keeps the bodies of a store under the current key of its ring, if it has one.

    Attributes:
        renew: has `run` take the keys that a file has then; those of before stay in use if it cannot.
    """

    def __init__(self, seal: EventSeal | None, write: Write) -> None:
        self._seal = seal
        self._resealing = Resealing(seal)
        self._write = write
        self._change = RingChange()
        self.renew = self._change.ask

    async def begin(self) -> None:
        """See that ring and store fit; called before anything else.

        Raises:
            KeyRingUnusable: they do not.
        """
        await self._transact(self._resealing.begin)

    async def run(self) -> None:
        """Bring all bodies under the current key, again after each change of it; until cancelled.

        Raises:
            StoreFailed: writing failed for good.
        """
        while self._seal is not None:
            try:
                await self._change.make(self._seal.ring, self._admit)
                await self._reseal()
                if await self._wipe():
                    await self._change.asked.wait()
                else:
                    await asyncio.sleep(_READER_S)
            except StoreUnavailable as exc:
                _log.warning("sealing.put_off", extra={"reason": str(exc)})
                await asyncio.sleep(_PUT_OFF_S)

    async def _admit(self, ring: KeyRing) -> None:
        await self._transact(partial(self._resealing.admit, keys=ring.ids, target=ring.current))

    async def _reseal(self) -> None:
        now_s = asyncio.get_running_loop().time
        told_s, looked_at = now_s(), 0
        while not self._change.is_due:
            began_s = now_s()
            progress = await self._transact(self._resealing.step)
            if progress.is_done:
                break
            looked_at += progress.looked_at
            if now_s() - told_s > _TOLD_EVERY_S:
                told_s = now_s()
                _log.info(
                    "sealing.resealing",
                    extra={"bodies": looked_at, "percent": round(100 * progress.part)},
                )
            await asyncio.sleep(_REST * (now_s() - began_s))
        if looked_at and not self._change.is_due:
            _log.info("sealing.resealed", extra={"bodies": looked_at})

    async def _wipe(self) -> bool:
        """Wipe what old bodies left; return False where a reader that looks at them keeps it from that."""
        left = await self._transact(self._resealing.unwiped)
        if left is None or self._change.is_due:
            return True
        if left.what == PLAIN:
            if left.file_bytes > _WRITTEN_ANEW_BYTES_MAX:
                _log.warning("sealing.unwiped", extra={"advice": _UNWIPED})
                return True
            await self._write(Writer.wipe, anew=True)
            await self._transact(self._resealing.written_anew)
        if not await self._write(Writer.wipe, anew=False):
            return False
        await self._transact(self._resealing.wiped)
        _log.info("sealing.wiped")
        return True

    async def _transact(self, work: Callable[[apsw.Connection], R]) -> R:
        answer: R = await self._write(Writer.transact, work)
        return answer
