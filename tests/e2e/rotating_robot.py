"""A robot that rotates its key and is killed in the middle: python rotating_robot.py URL NAME KEY STEP."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from client_sdk import Robot
from client_sdk.key_file import KeyFile
from client_sdk.link import Link
from imserver.protocol.client_frames import RotateKey

STEPS = ("before the key", "behind the key", "asking", "answered", "in place")


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def break_at(step: str) -> None:
    """Have this process killed when it comes to a step."""
    prepare, adopt, ask = KeyFile.prepare, KeyFile.adopt, Link.ask

    def dying_prepare(self: KeyFile) -> Any:
        if step == "before the key":
            die()
        key = prepare(self)
        if step == "behind the key":
            die()
        return key

    def dying_adopt(self: KeyFile, public_key: bytes) -> None:
        is_rotating = self._next_path.exists()
        if step == "answered" and is_rotating:
            die()
        adopt(self, public_key)
        if step == "in place" and is_rotating:
            die()

    async def dying_ask(self: Link, frame: Any, *more: Any, **named: Any) -> Any:
        if step == "asking" and isinstance(frame, RotateKey):
            transport = self._transport
            assert transport is not None
            transport.send([self._codec.encode(frame)])
            await asyncio.sleep(0.05)  # it may be on its way, at the server, or done
            die()
        return await ask(self, frame, *more, **named)

    patches: dict[str, Callable[..., Any]] = {"prepare": dying_prepare, "adopt": dying_adopt}
    for name, patch in patches.items():
        setattr(KeyFile, name, patch)
    Link.ask = dying_ask  # type: ignore[method-assign]


async def main(url: str, name: str, key: str, step: str) -> None:
    break_at(step)
    async with Robot(url, name=name, key=key) as robot:
        await robot.rotate_key()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
