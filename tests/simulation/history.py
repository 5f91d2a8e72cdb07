"""What the clients did, were told and saw: the evidence that is judged at the end of a run."""

from typing import Any

from msgspec import Struct

from imserver.protocol.events import MESSAGE

STORED, REFUSED, UNKNOWN = "stored", "refused", "unknown"
HOLE = "@hole"
"""The kind of what an application was given in place of events ``body`` to ``seq``, which will not come."""


class Attempt(Struct):
    """One call of `Robot.send`; ``outcome`` is None if its process died first.

    ``of`` is the life that made it, ``late_s`` the time until which it must have ended.
    """

    of: str
    began_s: float
    late_s: float
    ended_s: float | None = None
    outcome: str | None = None
    seq: int = 0
    dup: bool = False
    why: str = ""


class Send(Struct):
    """Something to be sent once, whatever it takes: the attempts share the cid."""

    number: int
    robot: str
    device: str
    conv: str
    cid: str
    kind: str = MESSAGE
    ref: int | None = None
    attempts: list[Attempt] = []

    @property
    def body(self) -> dict[str, int]:
        """What is sent: no two sends are alike."""
        return {"n": self.number}

    @property
    def was_stored(self) -> bool:
        """Whether it was told as stored."""
        return any(attempt.outcome == STORED for attempt in self.attempts)

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
    seq: int
    sender: str
    cid: str
    kind: str
    body: Any
    ref: int | None = None
    done_s: float | None = None


class Life(Struct):
    """One life of a robot's process, and what it processed."""

    name: str
    robot: str
    device: str
    seen: list[Seen] = []
    done: dict[str, int] = {}
    before: dict[str, int] = {}
    """What the device had processed, by conversation, when this life began."""
    robot_before: dict[str, int] = {}
    """How far any device of the robot was in a conversation when this life saw its first event there."""


class History(Struct):
    """The evidence of a run."""

    sends: list[Send] = []
    lives: list[Life] = []
    pages: list[Seen] = []

    def new_send(self, robot: str, device: str, conv: str) -> Send:
        """Return a send that is different from all others."""
        number = len(self.sends)
        send = Send(number, robot, device, conv, f"{robot}-{device}-{number}")
        self.sends.append(send)
        return send

    def done_by(self, robot: str, device: str | None) -> dict[str, int]:
        """Return how far a device, or any device of a robot, has processed each conversation."""
        done: dict[str, int] = {}
        for life in self.lives:
            if life.robot == robot and device in (None, life.device):
                for conv, seq in life.done.items():
                    done[conv] = max(seq, done.get(conv, 0))
        return done
