"""Sending: from a client's `send` to an event on its way into the log.

A send whose conversation is held by this node goes straight on its way in, without waiting for
anything. Only a first contact with a conversation, or an event that amends another, asks the store.

A send that must be refused may be one that was stored before, whose answer was lost: meanwhile its sender was
removed, or the group ended, or what it amends was let go. A refusal would tell the sender that it is not
stored. So the store is asked first, behind everything else that waits of this sender.
"""

import logging
from collections.abc import Coroutine
from typing import Any

from imserver.core.clock import Clock
from imserver.core.errors import STORE_TROUBLE, Refusal
from imserver.core.model import (
    Append,
    Member,
    Recall,
    Refers,
)
from imserver.data.store import EventLog, Registry
from imserver.logic import permissions
from imserver.logic.committer import CHANGED, WayIn
from imserver.logic.conversations import Conversation, Conversations
from imserver.logic.delivery import Spawn
from imserver.logic.files import Files
from imserver.logic.permissions import Operation
from imserver.logic.receipts import FencedReceipt, Receipt, Recollection, error_of
from imserver.logic.second_look import Look, SecondLook
from imserver.logic.session import Session
from imserver.protocol import names
from imserver.protocol.client_frames import Send
from imserver.protocol.errors import ErrorCode
from imserver.protocol.events import (
    AMENDING_KINDS,
    FILE,
    MESSAGE,
    SERVER_CID_PREFIX,
    SERVER_KINDS,
    Role,
)
from imserver.protocol.names import ConversationName

_log = logging.getLogger("imserver.send")

_RETRY_MS = 500
_NOT_ASKED = "the store cannot be asked now; send the same cid again"
_CROWDED = "too many events wait for a change of members on another node; send the same cid again"
_ASKING_KINDS = AMENDING_KINDS | {FILE}
"""Kinds that are not sent before the store was asked about what they refer to."""

_NOT_ALLOWED = frozenset({ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN})


class Sending:
    """The use case `send`."""

    def __init__(
        self,
        conversations: Conversations,
        way_in: WayIn,
        log: EventLog,
        registry: Registry,
        *,
        files: Files,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._conversations = conversations
        self._way_in = way_in
        self._log = log
        self._registry = registry
        self._files = files
        self._clock = clock
        self._second = SecondLook(self._judge_again, spawn=spawn)

    def send(self, session: Session, frame: Send, body: bytes) -> Coroutine[Any, Any, None] | None:
        """Put an event on its way; its sender gets `sent` or an error. ``body`` is canonical.

        Returns None if that was done at once, else a coroutine that has to ask the store first; the
        connection's later frames must wait for it, so that its events keep their order.

        Raises:
            Refusal: the event is not allowed.
        """
        _check_frame(frame)
        if session.scopes is not None:  # no retry of what was stored before is answered, either
            permissions.admit(session.scopes, Operation.SEND, checked_name(frame.conv))
        is_shared = self._conversations.is_shared
        look = Look(session, frame, body, self._second.next_number() if is_shared else 0)
        if is_shared and self._second.holds(session, frame.conv):
            self._wait(look)
            return None
        conversation = self._conversations.peek(frame.conv)
        role = None if conversation is None else role_of(conversation, session)
        if conversation is None or not self._is_clear(conversation, role, frame):
            return self._send_slowly(look)
        self._send_at_once(look, conversation, role)
        return None

    def _wait(self, look: Look) -> None:
        if self._second.is_full:
            raise Refusal(ErrorCode.UNAVAILABLE, _CROWDED, retry_after_ms=_RETRY_MS)
        self._second.take(look)

    def _is_clear(self, conversation: Conversation, role: Role | None, frame: Send) -> bool:
        """Tell whether a send can be judged by what is known here, without asking the store."""
        if frame.kind in _ASKING_KINDS:
            return False
        if self._conversations.is_shared:
            return not _is_odd(conversation, role, frame)
        return role is not None or conversation.members_complete

    async def _judge_again(self, look: Look) -> None:
        try:
            held = self._conversations.peek(look.frame.conv)
            role = None if held is None else role_of(held, look.session)
            # What is known up to the change that the send was refused for needs no store: of many that were
            # refused for the same change, only the first one asks.
            is_level = held is not None and held.head >= look.changed
            if held is not None and is_level and self._is_clear(held, role, look.frame):
                self._send_at_once(look, held, role)
            else:
                await self._send_slowly(look)
        except Refusal as refusal:
            look.session.peer.answer(error_of(look.frame.id, refusal))
        except STORE_TROUBLE as exc:
            _log.warning("send.unavailable", extra={"reason": str(exc)})
            unavailable = Refusal(ErrorCode.UNAVAILABLE, _NOT_ASKED, retry_after_ms=_RETRY_MS)
            look.session.peer.answer(error_of(look.frame.id, unavailable))

    def _send_at_once(self, look: Look, conversation: Conversation, role: Role | None) -> None:
        conv = conversation.name
        try:
            permissions.require(role, Operation.SEND, conv)
            self._submit(look, conversation)
        except Refusal as refusal:
            self._recall(look, conv, refusal=refusal)

    async def _send_slowly(self, look: Look) -> None:
        conv = checked_name(look.frame.conv)
        try:
            await self._send_checked(look, conv)
        except Refusal as refusal:
            self._recall(look, conv, refusal=refusal)

    async def _send_checked(self, look: Look, conv: ConversationName) -> None:
        session, frame, body = look.session, look.frame, look.body
        conversation = await self._conversations.load(conv)
        if conversation is None and not names.is_group(conv):
            conversation = await self._begin_direct(session, conv)
        if conversation is None:
            raise permissions.not_found(conv)
        if conversation.head < look.changed:  # the log is damaged before that event
            raise Refusal(ErrorCode.UNAVAILABLE, CHANGED, retry_after_ms=_RETRY_MS)
        permissions.require(role_of(conversation, session), Operation.SEND, conv)
        if frame.kind in AMENDING_KINDS:
            await self._check_amendment(session, conversation, frame)
            permissions.require(role_of(conversation, session), Operation.SEND, conv)
        change = None
        if frame.kind == FILE:
            change = Refers(await self._files.referred(session, body))
            permissions.require(role_of(conversation, session), Operation.SEND, conv)
        self._submit(look, conversation, change=change)

    def _submit(
        self, look: Look, conversation: Conversation, *, change: Refers | None = None
    ) -> None:
        session, frame = look.session, look.frame
        if conversation.revoking and session.robot in conversation.revoking:
            raise permissions.not_found(frame.conv)
        if frame.ref is not None and not 1 <= frame.ref <= conversation.head:
            raise Refusal(
                ErrorCode.BAD_FRAME,
                f"`ref` {frame.ref} must be the seq of an earlier event of {frame.conv}, 1 to "
                f"{conversation.head}",
            )
        if conversation.is_crowded:
            self._conversations.crowding.admit(conversation, session.robot, len(look.body))
        known: int | None = None
        if self._conversations.is_shared:
            if self._second.is_ahead_of(look):
                # What was sent before was refused while this was judged.
                self._wait(look)
                return
            known = self._second.sends(look, conversation)
            receipt: Receipt = FencedReceipt(session, conversation, frame.id, look, self._second)
        else:
            receipt = Receipt(session, conversation, frame.id)
        conversation.appending += 1
        append = self._append(conversation.name, look, change, known=known)
        try:
            self._way_in.submit(append, receipt)
        except Refusal as refusal:
            receipt.on_refusal(refusal)

    def _append(
        self,
        conv: ConversationName,
        look: Look,
        change: Refers | Recall | None,
        *,
        known: int | None = None,
    ) -> Append:
        frame = look.frame
        return Append(
            conv,
            self._clock.now_ms(),
            look.session.robot,
            frame.cid,
            frame.kind,
            look.body,
            frame.ref,
            change,
            known,
        )

    def _recall(self, look: Look, conv: ConversationName, *, refusal: Refusal) -> None:
        """Answer a send that is refused: with its place, if it was stored before.

        Raises:
            Refusal: the same; it is no question of who may send where.
        """
        if refusal.code not in _NOT_ALLOWED:
            raise refusal
        waiter = Recollection(look.session, conv, look.frame.id, refusal)
        try:
            self._way_in.submit(self._append(conv, look, Recall()), waiter)
        except Refusal as unavailable:
            waiter.on_refusal(unavailable)

    async def _begin_direct(self, session: Session, conv: ConversationName) -> Conversation | None:
        pair = names.direct_members(conv)
        if session.robot not in pair:
            return None
        other = pair[0] if pair[1] == session.robot else pair[1]
        if await self._registry.robot(other) is None:
            raise Refusal(
                ErrorCode.NOT_FOUND,
                f"robot {other!r} is not registered here; ask `list_robots` for those that are",
            )
        return self._conversations.begin(conv, dict.fromkeys(pair, Member(Role.MEMBER, 1)))

    async def _check_amendment(
        self, session: Session, conversation: Conversation, frame: Send
    ) -> None:
        if frame.ref is None:
            raise Refusal(
                ErrorCode.BAD_FRAME,
                f"an event of kind {frame.kind} needs `ref`, the seq it changes",
            )
        target = await self._log.read_one(conversation.name, frame.ref)
        if target is None:
            raise Refusal(
                ErrorCode.NOT_FOUND, f"there is no event {frame.ref} in {conversation.name}"
            )
        if target.kind in SERVER_KINDS or target.kind in AMENDING_KINDS:
            raise Refusal(
                ErrorCode.FORBIDDEN,
                f"event {frame.ref} is of kind {target.kind}; only messages can be changed, and an "
                "edit always refers to the message itself",
            )
        if target.sender != session.robot:
            role = role_of(conversation, session)
            permissions.require(role, Operation.AMEND_OTHERS, conversation.name)
            if session.robot in conversation.changing and not session.admin:
                raise Refusal(ErrorCode.UNAVAILABLE, CHANGED, retry_after_ms=_RETRY_MS)


def _is_odd(conversation: Conversation, role: Role | None, frame: Send) -> bool:
    """Tell whether an event would be refused for what other nodes may have changed meanwhile."""
    may_send = role in permissions.ALLOWED[Operation.SEND]
    return not may_send or (frame.ref is not None and frame.ref > conversation.head)


def role_of(conversation: Conversation, session: Session) -> Role | None:
    """Return the session's role, as far as it is known here; an admin owns every group.

    Who has a token that is not about the conversation has no role in it.
    """
    if session.scopes is not None and not session.scopes.covers(conversation.name):
        return None
    member = conversation.members.get(session.robot)
    if session.admin and conversation.name[0] == "g":
        return None if conversation.deleted else Role.OWNER
    return member.role if member is not None else None


def checked_name(conv: str) -> ConversationName:
    """Return a conversation's name that came from outside.

    Raises:
        Refusal: ``bad_frame``, it breaks the rules.
    """
    try:
        return names.conversation(conv)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc


def _check_frame(frame: Send) -> None:
    if frame.kind != MESSAGE:
        _check_kind(frame.kind)
    if frame.cid.startswith(SERVER_CID_PREFIX):
        raise Refusal(
            ErrorCode.BAD_FRAME, f"cids that begin with {SERVER_CID_PREFIX!r} are the server's own"
        )
    if frame.require is not None or frame.targets is not None:
        raise Refusal(
            ErrorCode.UNSUPPORTED,
            "this server gives no receipts: send without `require` and `targets`, and see "
            "`list_members` for what each member has acked",
        )


def _check_kind(kind: str) -> None:
    if kind in SERVER_KINDS:
        raise Refusal(
            ErrorCode.FORBIDDEN,
            f"events of kind {kind} are written by the server; use the request that causes one",
        )
    if kind in ("stream", "stream_end"):
        raise Refusal(ErrorCode.UNSUPPORTED, "this server does not carry streams")
    if not names.is_name(kind):
        raise Refusal(ErrorCode.BAD_FRAME, f"kind {names.clip(kind)!r} must be {names.NAME_RULE}")
