"""Reads logs for rosters, as far as they do not come by themselves."""

from client_sdk.clock import wall_clock_ms
from client_sdk.link import Link
from client_sdk.outbox import Repeat
from client_sdk.sealed.session import SealedSession
from client_sdk.states import State
from imserver.protocol import client_frames as wire
from imserver.protocol import names
from imserver.protocol.codec import Codec
from imserver.protocol.server_frames import Ok


class LogReader:
    """Asks for pages of history. Called by `sealer`."""

    def __init__(self, link: Link, session: SealedSession, codec: Codec) -> None:
        self._link = link
        self._session = session
        self._codec = codec
        self._read_on: dict[str, int] = {}

    def comes_by_itself(self, conv: str) -> bool:
        """Tell whether a conversation's events come by themselves: it is followed, and its window is open.

        After a reconnect it is read once. While there is no connection, what is known has to do.
        """
        machine = self._link.machine
        if machine.state is not State.ONLINE:
            return True
        if self._read_on.get(conv) != machine.connections:
            return False
        held = machine.inbox.known(conv)
        if held is None or held.received is None or held.is_behind:
            return False
        is_followed = machine.options.auto or conv in machine.follows.wanted
        return is_followed and held.received - held.acked < machine.options.window

    async def read_to_end(self, conv: str) -> None:
        """Read a conversation's log to its end.

        Raises:
            RobotError: it could not be read.
        """
        session = self._session
        roster = session.roster(conv)
        decode = self._codec.decode_body
        connection = self._link.machine.connections
        while True:
            known, limit = roster.progress.known, self._link.machine.limits.page_max
            ok = await self._ask(
                wire.History(self._id(), names.conversation(conv), after=known, limit=limit)
            )
            page, members = ok.events or [], None
            if page and page[0].seq > known + 1 and names.is_group(conv):  # retention
                members = await self._members(conv)
            if roster.progress.known < known:
                continue  # it was forgotten meanwhile
            if members is not None:
                roster.set_members(members)
            roster.read(page, decode, wall_clock_ms())
            if roster.progress.known == known:
                break
        held = self._link.machine.inbox.known(conv)
        roster.progress.hear(
            roster.progress.known, wall_clock_ms(), epoch=held.epoch if held is not None else ""
        )
        roster.progress.end(wall_clock_ms())
        self._read_on[conv] = connection

    async def _members(self, conv: str) -> set[str]:
        members: set[str] = set()
        page_max, after = self._link.machine.limits.page_max, None
        while True:
            frame = wire.ListMembers(
                self._id(), names.conversation(conv), after=after, limit=page_max
            )
            page = [row["robot"] for row in (await self._ask(frame)).result]
            members |= set(page)
            if len(page) < page_max:
                return members
            after = page[-1]

    async def _ask(self, frame: wire.History | wire.ListMembers) -> Ok:
        timeout_s = self._link.machine.options.request_timeout_s
        return await self._link.ask(frame, Ok, repeat=Repeat.SAFE, timeout_s=timeout_s)

    def _id(self) -> int:
        return next(self._link.machine.ids)
