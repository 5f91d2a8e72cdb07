"""Whose word still counts: what was revoked, kept in memory beside the store, and the end of what it opened.

Each door asks before it lets anybody in; and whatever was opened before, sessions, long polls and log
streams, is ended as soon as the word behind it counts no more. What is kept is bounded: a token is forgotten
when it would have expired, and of a robot there is one time.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from imserver.core.acts import (
    Act,
    KeyReplaced,
    Revoked,
    RobotEnded,
    TokenEnded,
    key_fingerprint,
)
from imserver.core.clock import Clock
from imserver.core.errors import Refusal
from imserver.core.warrant import Warrant
from imserver.logic.peer import Peer
from imserver.protocol.errors import CloseCode, ErrorCode
from imserver.protocol.names import RobotName

_PROOFS_KEPT_MS: Final = 600_000
"""How long the end of a robot's proofs is remembered: longer than anybody takes from a proof to an open
session."""


class Ending(NamedTuple):
    """Why a word counts no more, and what its bearer is told."""

    code: CloseCode
    reason: str


class _ProofsEnd(NamedTuple):
    """Until when proofs count no more, and what their bearers are told."""

    until_ms: int
    ending: Ending


class Opened(Protocol):
    """What was opened on a warrant."""

    warrant: Warrant
    peer: Peer


class Standing:
    """What was revoked, as far as this node needs to know."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, int] = {}
        self._robots: dict[RobotName, int] = {}
        # By the key that was proven: None for whichever it was, empty where that is not known.
        self._proofs: dict[tuple[RobotName, str | None], _ProofsEnd] = {}
        self._watchers: list[Callable[[], None]] = []

    def watch(self, end_ended: Callable[[], None]) -> None:
        """Have ``end_ended`` called whenever a word ceases to count."""
        self._watchers.append(end_ended)

    def learn(self, revoked: Revoked) -> None:
        """Take in what the store knows, and end what that ends."""
        is_new = not (
            revoked.tokens.items() <= self._tokens.items()
            and revoked.robots.items() <= self._robots.items()
        )
        for robot, at_ms in revoked.robots.items():
            if at_ms > self._robots.get(robot, -1):
                # It may be back with a new key, so what is closed here is told to prove it, not to stay away.
                text = f"{robot} was revoked; prove its key again"
                self._end_proofs(robot, Ending(CloseCode.KEY_REPLACED, text))
        self._tokens |= revoked.tokens
        self._robots |= revoked.robots
        if is_new:
            self.end_ended()

    def note(self, act: Act) -> None:
        """Take in an act that was performed, and end what it ends."""
        robot = act.robot or RobotName("")
        match act.change:
            case TokenEnded(expires_ms=expires_ms):
                self._tokens[act.token_id or ""] = expires_ms
            case RobotEnded():
                self._robots[robot] = max(act.at_ms, self._robots.get(robot, 0))
                self._end_proofs(robot, _revoked(robot))
            case KeyReplaced(old=old):
                self.replace_key(robot, key_fingerprint(old), act.at_ms)
                return
            case _:
                return
        self.end_ended()

    def replace_key(self, robot: RobotName, old: str, at_ms: int) -> None:
        """Let proofs by a robot's ``old`` key that were given until now count no more, nor what was got until
        ``at_ms`` of which the key is not known; end what that ends."""
        ending = Ending(CloseCode.KEY_REPLACED, f"{robot} has a new key; prove that one")
        self._end_proofs(robot, ending, key=old)
        known = self._proofs.get((robot, ""))
        if known is None or at_ms > known.until_ms:
            self._proofs[robot, ""] = _ProofsEnd(at_ms, ending)
        self.end_ended()

    def end_ended(self) -> None:
        """End what was opened on a word that counts no more, and what has expired; forget what may be."""
        for end in self._watchers:  # first, since what was learned of late is forgotten at once
            end()
        now_ms = self._clock.now_ms()
        self._tokens = {key: until for key, until in self._tokens.items() if until > now_ms}
        kept_ms = now_ms - _PROOFS_KEPT_MS
        self._proofs = {r: e for r, e in self._proofs.items() if e.until_ms > kept_ms}

    def ending(self, warrant: Warrant) -> Ending | None:
        """Return why a warrant counts no more, or None if it does."""
        robot, since_ms = warrant.robot, warrant.since_ms
        if since_ms <= self._robots.get(robot, -1):
            return _revoked(robot)
        if warrant.token_id in self._tokens:
            return Ending(CloseCode.TOKEN_ENDED, "the token was revoked; come with another one")
        for key in (None, warrant.key) if self._proofs and not warrant.token_id else ():
            end = self._proofs.get((robot, key))
            if end is not None and since_ms <= end.until_ms:
                return end.ending
        if warrant.expires_ms is not None and warrant.expires_ms <= self._clock.now_ms():
            return Ending(CloseCode.TOKEN_ENDED, "the token has expired; come with another one")
        return None

    def check(self, warrant: Warrant) -> None:
        """Return if a warrant counts.

        Raises:
            Refusal: ``unauthenticated``, and why.
        """
        ending = self.ending(warrant)
        if ending is not None:
            raise Refusal(ErrorCode.UNAUTHENTICATED, ending.reason)

    def close_ended(self, sessions: Iterable[Opened]) -> None:
        """Close the sessions whose warrant counts no more."""
        for session in sessions:
            ending = self.ending(session.warrant)
            if ending is not None:
                session.peer.close(ending.code, ending.reason)

    def _end_proofs(self, robot: RobotName, ending: Ending, *, key: str | None = None) -> None:
        """Have no proof count that was given until now: by ``key``, or any.

        An act is as old as the command that asked for it, and until it is stored the key is good: who proves
        it meanwhile, again and again, must not stay.
        """
        self._proofs[robot, key] = _ProofsEnd(self._clock.now_ms(), ending)


def _revoked(robot: RobotName) -> Ending:
    return Ending(CloseCode.REVOKED, f"{robot} was revoked; ask the operator to enrol it anew")
