"""Those who wait for a condition; it is looked at whenever something happens."""

import asyncio
from collections.abc import Callable


class Watchers:
    """Waiting tasks of one event loop."""

    def __init__(self) -> None:
        self._conditions: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def wait(self, ready: Callable[[], bool]) -> None:
        """Return when `wake` finds ``ready()`` true, or wakes everybody."""
        future = asyncio.get_running_loop().create_future()
        self._conditions[future] = ready
        try:
            await future
        finally:
            del self._conditions[future]

    def wake(self, *, everybody: bool) -> None:
        """Wake those whose condition has come true, or everybody."""
        for future, ready in self._conditions.items():
            if (everybody or ready()) and not future.done():
                future.set_result(None)
