"""How the ring that a store seals with is changed while it is in use, whatever the engine."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from imserver.core.errors import KeyRingUnusable, StoreUnavailable
from imserver.core.key_ring import KeyRing
from imserver.data.key_ring_file import KeyRingFile

_log = logging.getLogger(__name__)


class RingChange:
    """A change that was asked for, until it is made.

    Attributes:
        asked: set when one is asked for, until it is taken up.
    """

    def __init__(self) -> None:
        self._file: KeyRingFile | None = None
        self.asked = asyncio.Event()

    @property
    def is_due(self) -> bool:
        """Whether one is asked for and not made."""
        return self._file is not None

    def ask(self, file: KeyRingFile) -> None:
        """Ask for the keys that ``file`` will have when it is made."""
        self._file = file
        self.asked.set()

    async def make(self, ring: KeyRing, admit: Callable[[KeyRing], Awaitable[object]]) -> None:
        """Make the change that was asked for, if any; the keys of before stay in use if it cannot be.

        Args:
            ring: what is changed.
            admit: has the store know of the new key, before the first body is sealed with it.

        Raises:
            StoreUnavailable: it does not, and is asked again the next time.
        """
        file, self._file = self._file, None
        self.asked.clear()
        if file is None:
            return
        try:
            read = file.load()
            await admit(read)
            file.renew(ring)
        except KeyRingUnusable as exc:
            _log.error("sealing.ring_refused", extra={"reason": str(exc)})
        except StoreUnavailable:
            self.ask(file)
            raise
        else:
            _log.info("sealing.ring_renewed", extra={"key": ring.current})
