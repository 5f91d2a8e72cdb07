"""Names in paths: which conversation a request speaks of."""

from litestar.params import FromPath

from imserver.core.errors import Refusal
from imserver.protocol import names
from imserver.protocol.errors import ErrorCode
from imserver.protocol.names import ConversationName


async def group_named(name: FromPath[str]) -> ConversationName:
    """Return the conversation of ``/groups/{name}``.

    Raises:
        Refusal: ``bad_frame``, it cannot be a group's name.
    """
    try:
        return names.group(name)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc


async def direct_line(one: FromPath[str], other: FromPath[str]) -> ConversationName:
    """Return the conversation of ``/direct/{one}/{other}``, whichever is named first.

    Raises:
        Refusal: ``bad_frame``, these cannot be the names of two robots.
    """
    try:
        return names.direct(one, other)
    except names.InvalidName as exc:
        raise Refusal(ErrorCode.BAD_FRAME, str(exc)) from exc
