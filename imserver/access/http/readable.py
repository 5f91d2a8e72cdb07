"""Finding a conversation that a request wants to read."""

from imserver.access.use_cases import UseCases
from imserver.core.errors import Refusal
from imserver.logic.conversations import Conversation
from imserver.logic.permissions import Operation, require
from imserver.logic.send import role_of
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName


async def readable(
    cases: UseCases, session: Session, conv: ConversationName, *, epoch: str | None = None
) -> Conversation:
    """Return a conversation that the session's robot may read.

    Raises:
        Refusal: ``not_found``; ``epoch_changed`` if ``epoch`` is given and is not the log's any more.
    """
    conversation = await cases.conversations.load(conv)
    role = None if conversation is None else role_of(conversation, session)
    require(role, Operation.READ, conv)
    assert conversation is not None, "who has a role has a conversation"
    if epoch is not None and epoch != conversation.epoch:
        raise Refusal(
            ErrorCode.EPOCH_CHANGED,
            f"the log of {conv} was restored and is now of epoch {conversation.epoch}: its seq are given "
            "anew, so read it again, without `epoch` or with this one",
        )
    return conversation
