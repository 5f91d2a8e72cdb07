"""Finds out what no hint has told: compares the heads of this node's logs with those in the shared store.

It does so for a conversation whose hints begin to arrive, since what was committed just before may have been
missed; for all when the route was down; and for all now and then, often while it is down, so that nothing
that is committed stays unseen for long, whatever becomes of the hints.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from imserver.core.errors import STORE_TROUBLE
from imserver.data.store import SharedLog
from imserver.logic.conversations import Conversations
from imserver.logic.delivery import Spawn
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.head_watch")

ASKED_MAX: Final = 1_000
"""So many heads are asked for at a time."""


class HeadWatch:
    """Tells ``on_head`` the heads of conversations that are held here.

    Args:
        interval_s: seconds between two looks at everything while hints arrive.
        blind_interval_s: the same while they do not.
        sees: tells whether hints arrive.
    """

    def __init__(
        self,
        log: SharedLog,
        conversations: Conversations,
        *,
        on_head: Callable[[ConversationName, int], None],
        sees: Callable[[], bool],
        spawn: Spawn,
        interval_s: float,
        blind_interval_s: float,
    ) -> None:
        self._log = log
        self._conversations = conversations
        self._on_head = on_head
        self._sees = sees
        self._spawn = spawn
        self._interval_s = interval_s
        self._blind_interval_s = blind_interval_s
        self._unsure: dict[ConversationName, None] = {}
        self._is_looking = False

    def look_at(self, conv: ConversationName) -> None:
        """Compare a conversation's head soon."""
        self._look_at((conv,))

    def look_at_all(self) -> None:
        """Compare all heads soon."""
        self._look_at(conversation.name for conversation in self._conversations)

    async def head(self, conv: ConversationName) -> int:
        """Return the head of a conversation in the store; 0 if there is none.

        Raises:
            StoreUnavailable: it cannot be asked.
        """
        return (await self._log.heads([conv])).get(conv, 0)

    async def run(self) -> None:
        """Look at everything now and then, until cancelled."""
        waited_s = 0.0
        while True:
            await asyncio.sleep(self._blind_interval_s)
            waited_s += self._blind_interval_s
            if not self._sees() or waited_s >= self._interval_s:
                waited_s = 0.0
                self.look_at_all()

    def _look_at(self, convs: Iterable[ConversationName]) -> None:
        self._unsure.update(dict.fromkeys(convs))
        if self._unsure and not self._is_looking:
            self._is_looking = True
            self._spawn(self._look(), "head_watch.look")

    async def _look(self) -> None:
        try:
            while self._unsure:
                convs = list(islice(self._unsure, ASKED_MAX))
                for conv in convs:
                    del self._unsure[conv]
                for conv, head in (await self._log.heads(convs)).items():
                    self._on_head(conv, head)
        except STORE_TROUBLE as exc:
            _log.warning("head_watch.cannot_look", extra={"reason": str(exc)})
            self._unsure.clear()  # the next look at everything asks again
        finally:
            self._is_looking = False
