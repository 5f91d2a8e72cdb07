"""What the robot's memory holds: looking at it, marking an event, giving up a send."""

from client_sdk.group_calls import GroupCalls
from client_sdk.records import Event, Waiting


class KeptCalls(GroupCalls):
    """What a robot with a memory can do besides. All of it in `Robot`."""

    def waiting(self) -> list[Waiting]:
        """Return the sends that wait in the memory, oldest first; none if the robot has no memory.

        They are being sent. To learn how one ends, send the same again with its cid: it is not sent twice.
        """
        return self._link.machine.requests.kept.waiting()

    async def drop(self, conv: str, cid: str) -> bool:
        """Give up a send that waits; return, when it is out of the memory, whether it was there.

        If it was written before, it may be stored all the same. Who waits for it gets `OutcomeUnknown`.
        """
        self._link.check_not_over()
        was_there = self._link.machine.requests.drop(conv, cid)
        await self._kept()
        return was_there

    async def mark(self, event: Event) -> None:
        """Say that everything up to ``event`` is processed; return when the memory has it for good.

        After that neither this process nor a later one of this device gets the event again. Without `mark`
        the memory gets it 50 ms after the loop came round, or 64 events after, whichever is first.

        Raises:
            ValueError: the robot has no memory.
        """
        link = self._link
        if link.keeper is None:
            raise ValueError('give the robot a memory to mark events in (memory="r1.memory")')
        link.machine.inbox.processed(event, link.now_s())
        link.machine.flush_acks()
        await self._kept()

    async def _kept(self) -> None:
        kept: list[bool] = []
        self._link.machine.notes.add(then=lambda: kept.append(True))
        self._link.perform_soon()
        await self._link.wait_until(lambda: bool(kept))
