"""What each client of the delivery must see, checked against the log in the store frame by frame."""

from collections.abc import Sequence

from msgspec import Struct

from imserver.core.model import Added, Created, Removed
from imserver.logic import membership
from imserver.logic.session import Session
from imserver.protocol.client_frames import Position
from imserver.protocol.events import MEMBERS_ADDED, SERVER_KINDS, Event
from imserver.protocol.server_frames import Deliver, Gap, Welcome
from tests.unit.logic.gated_store import GatedStore
from tests.unit.logic.recording_peer import RecordingPeer


def log_of(store: GatedStore, conv: str) -> Sequence[Event]:
    """Return a conversation's whole log, with what was let go."""
    log = store._logs.get(conv)
    return [*store.let_go.get(conv, ()), *log.events] if log is not None else ()


def joins(event: Event, robot: str) -> bool:
    """Tell whether an event makes ``robot`` a member (or is the first of a direct line)."""
    if event.kind not in SERVER_KINDS:
        return event.seq == 1
    change = membership.change_of(event)
    if isinstance(change, Created):
        return robot in change.members
    return isinstance(change, Added) and event.kind == MEMBERS_ADDED and robot in change.robots


def leaves(event: Event, robot: str) -> bool:
    """Tell whether an event ends the membership of ``robot``."""
    if event.kind not in SERVER_KINDS:
        return False
    change = membership.change_of(event)
    if isinstance(change, Removed):
        return robot in change.robots
    return not isinstance(change, Added | Created)


class Seat:
    """A client, and how far it is in each conversation by what it was given.

    Attributes:
        got: seq of the last event it was given, by conversation it receives.
        acked: what it acked, or where it began.
        left: conversations it asked not to receive.
    """

    def __init__(
        self, robot: str, peer: RecordingPeer, *, auto: bool, admin: bool, window: int
    ) -> None:
        self.robot = robot
        self.peer = peer
        self.auto = auto
        self.admin = admin
        self.window = window
        self.resume: dict[str, Position] = {}
        self.session: Session | None = None
        self.got: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.left: set[str] = set()
        self._seen = 0

    def place(self, conv: str, seq: int) -> None:
        """Expect the conversation from after ``seq`` on."""
        self.got[conv] = self.acked[conv] = seq

    def check_new(self, store: GatedStore, *, events_max: int) -> None:
        """Check the frames that came since the last call."""
        fresh, self._seen = self.peer.frames[self._seen :], len(self.peer.frames)
        for frame in fresh:
            self._check(frame, store, events_max)

    def _check(self, frame: Struct, store: GatedStore, events_max: int) -> None:
        match frame:
            case Welcome() if self.auto:
                for state in frame.conversations:
                    position = self.resume.get(state.conv)
                    self.place(state.conv, position.seq if position else state.acked)
            case Gap():
                self._check_gap(frame, log_of(store, frame.conv), store)
            case Deliver():
                self._check_run(frame, log_of(store, frame.conv))
                assert 1 <= len(frame.events) <= events_max
                assert frame.epoch == "epoch-1"

    def _check_gap(self, frame: Gap, log: Sequence[Event], store: GatedStore) -> None:
        conv = frame.conv
        assert (frame.why, frame.epoch) == ("retention", "epoch-1")
        assert frame.from_ <= frame.to <= len(store.let_go.get(conv, ())), "they were let go"
        if self.got.get(conv) != frame.from_ - 1:
            self._check_new_beginning(conv, frame.from_, log)
        self.place(conv, frame.to)
        if not self.admin:
            self._check_membership(frame.to, log)

    def _check_run(self, frame: Deliver, log: Sequence[Event]) -> None:
        conv, first = frame.conv, frame.events[0].seq
        if self.got.get(conv) != first - 1:
            self._check_new_beginning(conv, first, log)
            self.place(conv, first - 1)
        elif joins(log[first - 1], self.robot):
            self.place(conv, first - 1)  # a new membership has a window of its own
        for event in frame.events:
            assert event.seq == self.got[conv] + 1, "a run is contiguous"
            assert event == log[event.seq - 1], "it is what the store has"
            self.got[conv] = event.seq
        assert self.got[conv] - self.acked[conv] <= self.window, "the window holds"
        if not self.admin:
            self._check_membership(self.got[conv], log)

    def _check_new_beginning(self, conv: str, first: int, log: Sequence[Event]) -> None:
        assert joins(log[first - 1], self.robot), f"{conv}: {self.got.get(conv)} and then {first}"
        if conv in self.got:
            assert leaves(log[self.got[conv] - 1], self.robot), "it had left before"

    def _check_membership(self, last: int, log: Sequence[Event]) -> None:
        ended = max((e.seq for e in log if leaves(e, self.robot)), default=0)
        began = max((e.seq for e in log if joins(e, self.robot)), default=0)
        assert last <= ended or began > ended or ended == 0, (
            f"{self.robot}: {last} after the removal {ended}"
        )
