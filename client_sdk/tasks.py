"""The one place of the SDK that starts tasks: each belongs to an object that ends it in its ``aclose``."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger("client_sdk")


def start(
    work: Coroutine[Any, Any, None], *, name: str, on_failure: Callable[[Exception], None]
) -> asyncio.Task[None]:
    """Start ``work``; if it fails, tell ``on_failure``: background work never dies unnoticed."""

    def ended(task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            _log.error("task.failed", exc_info=error, extra={"task": name})
            on_failure(error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(ended)
    return task


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
