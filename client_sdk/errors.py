"""The errors of the SDK.

RobotError
├── Refused          the server said no: definitely, and without effect
├── OutcomeUnknown   a send (or a change) may or may not have happened; the same cid may be sent again
├── NoAnswer         a question went unanswered until its deadline; asking again is safe
├── ConnectionLost   there is no connection and there will be none: it never came up, or the robot is closed
├── StayAway         the server told this robot not to come back
├── WrongServer      the server is not the one that was pinned
├── MissedEvents     part of a log will never be delivered; says which
├── FileDamaged      what was downloaded is not what its digest says
├── KeyFileError     the key file is missing or is not a key
└── MemoryFileError  the memory is somebody else's, in use, damaged, too new, or cannot be written

What the caller itself got wrong (a bad name, a body that cannot be encoded) is a ``ValueError`` or
``TypeError``, raised before anything is sent.
"""

from client_sdk.records import Gap
from imserver.protocol.errors import ErrorCode


class RobotError(Exception):
    """The base of all errors of the SDK."""


class Refused(RobotError):
    """The server refused a request, definitely and without effect.

    Attributes:
        code: what programs switch on.
        message: what was wrong and what would be right, for people.
        retry_after_ms: how long to wait before the same request can succeed, if the server knows.
    """

    def __init__(self, code: ErrorCode, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms


class OutcomeUnknown(RobotError):
    """Whether it happened is not known.

    Attributes:
        cid: for a send: sending the same again with this cid is safe and tells. None for a change of a
            group: look at the group.
    """

    def __init__(self, message: str, cid: str | None) -> None:
        super().__init__(message)
        self.cid = cid


class NoAnswer(RobotError):
    """No answer came within the deadline, and nothing was changed; asking again is safe."""


class ConnectionLost(RobotError):
    """There is no connection and this robot makes no further one; the text says why."""


class StayAway(RobotError):
    """The server told this robot not to come back (close codes 4300 to 4399).

    Attributes:
        code: the close code, for example 4300: another session took this robot's device.
        reason: the server's words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server said not to come back: {reason} ({code})")
        self.code = code
        self.reason = reason


class WrongServer(RobotError):
    """The server that answered is not the one whose id was pinned."""


class MissedEvents(RobotError):
    """Part of a log will never be delivered. Reading ``events()`` on goes on behind the gap.

    Attributes:
        gap: which part, and why.
    """

    def __init__(self, gap: Gap) -> None:
        what = f"events {gap.first} to {gap.last} of {gap.conv} will not be delivered"
        if gap.last < gap.first:
            what = f"the log of {gap.conv} goes on anew behind {gap.after}"
        super().__init__(f"{what}: {gap.why}")
        self.gap = gap


class FileDamaged(RobotError):
    """What was downloaded does not have the SHA-256 that was said of it; nothing of it is kept."""


class KeyFileError(RobotError):
    """The key file is missing or does not hold an Ed25519 private key; the text says what to do."""


class MemoryFileError(RobotError):
    """The robot's memory cannot be used; the text says why and what would be right.

    If it happens while the robot runs, the robot is over: without its memory it cannot keep its promises.
    """
