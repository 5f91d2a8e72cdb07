"""What the clients did, were told and saw: the evidence that is judged at the end of a run."""

from typing import Any

from msgspec import Struct

from imserver.protocol.events import MESSAGE
from tests.simulation.truth import Place

STORED, REFUSED, UNKNOWN = "stored", "refused", "unknown"


class Attempt(Struct):
    """One call of `Robot.send`; ``outcome`` is None if its process died first.

    ``of`` is the life that made it, ``late_s`` the time until which it must have ended.
    """

    of: str
    began_s: float
    late_s: float
    ended_s: float | None = None
    outcome: str | None = None
    epoch: str = ""
    seq: int = 0
    dup: bool = False
    why: str = ""

    @property
    def place(self) -> Place:
        """Where it is stored."""
        return Place(self.epoch, self.seq)


class Send(Struct):
    """Something to be sent once, whatever it takes: the attempts share the cid."""

    number: int
    robot: str
    device: str
    conv: str
    cid: str
    pad: int = 0
    kind: str = MESSAGE
    ref: int | None = None
    attempts: list[Attempt] = []

    @property
    def body(self) -> dict[str, Any]:
        """What is sent: no two sends are alike."""
        return {"n": self.number, "pad": "." * self.pad} if self.pad else {"n": self.number}

    @property
    def stored(self) -> list[Attempt]:
        """The attempts that were told as stored."""
        return [attempt for attempt in self.attempts if attempt.outcome == STORED]

    @property
    def is_resolved(self) -> bool:
        """Whether the last word on it is definite."""
        return any(attempt.outcome in (STORED, REFUSED) for attempt in self.attempts)

    def __str__(self) -> str:
        return f"send {self.number} of {self.robot}/{self.device} to {self.conv} ({self.cid})"


class Seen(Struct, gc=False):
    """An event as an application was given it; ``done_s`` is when it had processed it."""

    at_s: float
    conv: str
    epoch: str
    seq: int
    sender: str
    cid: str
    kind: str
    body: Any
    ref: int | None = None
    done_s: float | None = None

    @property
    def end(self) -> Place:
        """How far in the conversation who has processed this is."""
        return Place(self.epoch, self.seq)


class Hole(Struct, gc=False):
    """What an application was given in place of events ``first`` to ``last``, which will not come.

    The log goes on behind ``after``. ``robot_done`` says how far the lives of the robot were then.
    """

    at_s: float
    conv: str
    epoch: str
    first: int
    last: int
    why: str
    after: int
    robot_done: list[Place]
    done_s: float | None = None

    @property
    def end(self) -> Place:
        """How far in the conversation who has processed this is."""
        return Place(self.epoch, self.after)


class Page(Struct):
    """A page of history as it was asked for between two moments; ``events`` is None without an answer."""

    robot: str
    conv: str
    began_s: float
    after: int | None
    before: int | None
    limit: int
    view: str
    ended_s: float = 0.0
    events: list[Seen] | None = None


class Heard(Struct, gc=False):
    """A signal as an application was given it."""

    at_s: float
    conv: str
    sender: str
    key: str
    value: int


class Life(Struct):
    """One life of a robot's process, and what it processed."""

    name: str
    robot: str
    device: str
    seen: list[Seen | Hole] = []
    heard: list[Heard] = []
    done: dict[str, Place] = {}
    robot_before: dict[str, list[Place]] = {}
    """How far the lives of the robot were in a conversation when this one was given its first item there."""
    written: dict[str, list[str]] = {}
    """For each conversation the cids of sends, in the order in which they were first written."""


class History(Struct):
    """The evidence of a run."""

    sends: list[Send] = []
    lives: list[Life] = []
    pages: list[Page] = []

    def new_send(self, robot: str, device: str, conv: str, *, pad: int) -> Send:
        """Return a send that is different from all others."""
        number = len(self.sends)
        send = Send(number, robot, device, conv, f"{robot}-{device}-{number}", pad)
        self.sends.append(send)
        return send

    def done_by(self, robot: str, conv: str) -> list[Place]:
        """Return how far each life of a robot has processed a conversation."""
        lives = (life for life in self.lives if life.robot == robot and conv in life.done)
        return [life.done[conv] for life in lives]
