"""Replacing the robot's own key."""

import asyncio
from pathlib import Path
from typing import Final

from client_sdk.boots import next_boot
from client_sdk.calls import Calls
from client_sdk.errors import OutcomeUnknown
from client_sdk.introduction import Introduction
from client_sdk.key_file import KeyFile
from client_sdk.outbox import Repeat

ATTEMPTS_MAX: Final = 5


class KeyCalls(Calls):
    """What a robot with a key in a file can do besides. All of it in `Robot`."""

    _key_file: KeyFile | None = None

    async def rotate_key(self) -> None:
        """Put a new key in the place of this robot's own, on the server and in the key file.

        Other sessions that the old key opened, of other devices too, are closed; those that share the file
        come back by themselves. May be interrupted at any moment, by a lost connection or a kill: the robot
        logs in with whichever key is in force, and the next call goes on where this one ended. Until then the
        new key lies beside the file, in ``FILE.new``.

        Raises:
            ValueError: the robot has no key file, or seals with it: others know it by that key.
            KeyFileError: the new key cannot be written; the old one is in force.
            Refused: the server does not replace it; the old one is in force.
            OutcomeUnknown: the server did not say; either key may be in force, and both are kept.
        """
        files, introduction = self._key_file, self._link.machine.introduction
        if files is None:
            raise ValueError(
                'only a key in a file can be rotated (key="r1.key"), by a robot that does not seal with it'
            )
        new = await asyncio.to_thread(files.prepare)
        for _ in range(ATTEMPTS_MAX):
            await self._link.wait_online()
            if introduction.proven == new.public_key:
                return  # the answer was lost, and the next hello showed that it is in force
            frame = introduction.rotation(self._id(), new)
            try:
                await self._ask(frame, Repeat.NEVER)
            except OutcomeUnknown:
                continue
            await asyncio.to_thread(files.adopt, new.public_key)
            introduction.adopt(new)
            return
        raise OutcomeUnknown(
            "the server did not say whether the key was replaced; call again", None
        )

    def _use_key_file(self, path: Path, *, may_rotate: bool, counts: bool) -> None:
        """Log in with whichever key of the files is in force; count the starts beside them."""
        files = KeyFile(path)
        introduction: Introduction = self._link.machine.introduction
        introduction.find_keys = files.keys
        introduction.on_proven = files.adopt
        if may_rotate:
            self._key_file = files
        if counts:
            introduction.boot = next_boot(path)
