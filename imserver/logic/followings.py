"""Keeps true what a node with neighbours holds: has hints of it come, and looks for what they did not tell.

To have hints come takes a moment, in which events are found by a look into the store (`head_watch`), but
signals are lost. So a conversation that a robot is added to is delivered once its hints arrive: who was given
the event that added it is given all signals from then on.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from imserver.logic.conversations import Conversation
from imserver.logic.head_watch import HeadWatch
from imserver.logic.intake import Intake
from imserver.protocol.names import ConversationName
from imserver.route.router import Router

PATIENCE_S: Final = 1.0
"""Longer nobody waits for hints: events do not need them."""


class Followings:
    """The `Upkeep` of a node with neighbours.

    Args:
        sees: tells whether hints arrive at all, as far as is known.
    """

    def __init__(
        self, router: Router, intake: Intake, watch: HeadWatch, *, sees: Callable[[], bool]
    ) -> None:
        self._router = router
        self._intake = intake
        self._watch = watch
        self._sees = sees
        self._arrive: dict[ConversationName, bool] = {}
        self._waited_for: dict[ConversationName, asyncio.Event] = {}

    def held(self, conv: ConversationName) -> None:
        self._arrive[conv] = False
        self._router.follow(conv)

    def dropped(self, conv: ConversationName) -> None:
        self._router.unfollow(conv)
        self._arrive.pop(conv, None)

    def ahead(self, conv: ConversationName, head: int) -> None:
        self._intake.on_head(conv, head)

    async def level(self, conversation: Conversation) -> None:
        head = await self._watch.head(conversation.name)
        if head > conversation.head:
            await self._intake.reach(conversation.name, head)

    def on_followed(self, conv: ConversationName) -> None:
        """Take in that hints of a conversation arrive from now on, and look for what was missed before."""
        if conv not in self._arrive:
            return  # it was let go while its hints were asked for
        self._watch.look_at(conv)
        self._arrive[conv] = True
        event = self._waited_for.pop(conv, None)
        if event is not None:
            event.set()

    async def wait(self, conv: ConversationName) -> None:
        """Return when hints of ``conv`` arrive, or will not in time."""
        if self._arrive.get(conv) or not self._sees():
            return
        event = self._waited_for.setdefault(conv, asyncio.Event())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await event.wait()
        except TimeoutError:
            self._waited_for.pop(conv, None)
