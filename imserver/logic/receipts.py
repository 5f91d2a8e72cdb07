"""What a send's outcome means to its sender: who waits for it, and how it is answered."""

from msgspec import Struct

from imserver.core.errors import Refusal
from imserver.core.model import Halted, Mismatch, Outcome, Outdated, Stored
from imserver.logic import permissions
from imserver.logic.conversations import Conversation
from imserver.logic.second_look import Look, SecondLook
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import Error, Sent

_HALTED_RETRY_MS = 10_000


class Receipt(Struct, eq=False):
    """Waits for a send's outcome and answers its sender. It is counted in ``conversation.appending``."""

    session: Session
    conversation: Conversation
    request_id: int

    def on_outcome(self, outcome: Outcome) -> None:
        conversation = self.conversation
        conversation.appending -= 1
        if type(outcome) is Stored:
            event = outcome.event
            answer = Sent(
                self.request_id,
                conversation.name,
                outcome.epoch,
                event.seq,
                event.ts,
                outcome.dup,
            )
            self.session.peer.answer(answer)
        else:
            self._answer(refusal_of(outcome, conversation.name))

    def on_refusal(self, refusal: Refusal) -> None:
        self.conversation.appending -= 1
        self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        self.session.peer.answer(error_of(self.request_id, refusal))


class FencedReceipt(Receipt, eq=False):
    """A receipt where other nodes change members as well: its send may have to be judged again. ``again`` has
    taken note of it."""

    look: Look
    again: SecondLook

    def on_outcome(self, outcome: Outcome) -> None:
        if type(outcome) is Outdated:
            self.conversation.appending -= 1
            self.again.landed(self.look, changed=outcome.seq)
        else:
            self.again.landed(self.look)
            super().on_outcome(outcome)

    def on_refusal(self, refusal: Refusal) -> None:
        self.again.landed(self.look)
        super().on_refusal(refusal)


class Recollection:
    """Waits for whether a send that is not allowed was stored before, and answers its sender."""

    __slots__ = ("_conv", "_refusal", "_request_id", "_session")

    def __init__(
        self, session: Session, conv: ConversationName, request_id: int, refusal: Refusal
    ) -> None:
        self._session = session
        self._conv = conv
        self._request_id = request_id
        self._refusal = refusal

    def on_outcome(self, outcome: Outcome) -> None:
        if type(outcome) is not Stored:
            self.on_refusal(self._refusal)
            return
        event, request_id = outcome.event, self._request_id
        answer = Sent(request_id, self._conv, outcome.epoch, event.seq, event.ts, outcome.dup)
        self._session.peer.answer(answer)

    def on_refusal(self, refusal: Refusal) -> None:
        self._session.peer.answer(error_of(self._request_id, refusal))


def error_of(request_id: int, refusal: Refusal) -> Error:
    """Return the answer to a request that is refused."""
    return Error(
        refusal.code,
        refusal.message,
        fatal=False,
        id=request_id,
        retry_after=refusal.retry_after_ms,
    )


def refusal_of(outcome: Outcome, conv: str) -> Refusal:
    """Return what a sender is told about an event that was definitely not stored."""
    if isinstance(outcome, Mismatch):
        return Refusal(
            ErrorCode.CONFLICT,
            f"this cid was used before in {conv}, for another event (seq {outcome.seq}); "
            "give each new event a cid of its own",
        )
    if isinstance(outcome, Halted):
        return Refusal(
            ErrorCode.UNAVAILABLE,
            f"a robot has seen {conv} up to {outcome.seen}, and the end of that is lost here; {conv} takes "
            "nothing more until the server's operator restores a backup, or accepts the loss with "
            "`imserver accept-loss`. Keep the event and send the same cid again",
            retry_after_ms=_HALTED_RETRY_MS,
        )
    if isinstance(outcome, Outdated):
        return Refusal(
            ErrorCode.CONFLICT,
            f"the members of {conv} were changed at the same time, by its event {outcome.seq}: see what they "
            "are now, and ask again",
        )
    return permissions.not_found(conv)
