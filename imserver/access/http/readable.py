"""Finding the conversation that a request wants to read."""

from typing import Annotated, Any, Self, TypeAlias

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from imserver.access.use_cases import UseCases
from imserver.core.errors import Refusal
from imserver.logic.conversations import Conversation
from imserver.logic.permissions import Operation, admit, require
from imserver.logic.send import role_of
from imserver.logic.session import Session
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName

Asking: TypeAlias = Request[Session, Any, Any]
Conv: TypeAlias = NamedDependency[ConversationName]
Readable: TypeAlias = NamedDependency[Conversation]
_Epoch: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        description="epoch under which the seq are known; `epoch_changed` if it is another one"
    ),
]


class Reading:
    """Provides handlers with the conversation that their request may read."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # for the reason that `Routes` gives

    async def conversation(self, request: Asking, conv: Conv, epoch: _Epoch = None) -> Conversation:
        """Return the conversation of the path.

        Raises:
            Refusal: ``not_found``; ``epoch_changed`` if ``epoch`` is given and is not the log's any more.
        """
        admit(request.user.scopes, Operation.READ, conv)
        conversation = await self._cases.conversations.load(conv, asker=request.user.asker)
        role = None if conversation is None else role_of(conversation, request.user)
        require(role, Operation.READ, conv)
        assert conversation is not None, "who has a role has a conversation"
        if epoch is not None and epoch != conversation.epoch:
            raise Refusal(
                ErrorCode.EPOCH_CHANGED,
                f"the log of {conv} was restored and is now of epoch {conversation.epoch}: its seq are "
                "given anew, so read it again, without `epoch` or with this one",
            )
        return conversation
