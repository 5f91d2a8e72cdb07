"""The sessions of a history while it is read: what each was shown so far, and which requests are open."""

from array import array
from typing import TYPE_CHECKING

from msgspec import Struct

from imserver.verify.logs import ConversationLog
from imserver.verify.records import Position, SessionOpen

if TYPE_CHECKING:
    from imserver.verify.checks.sends import Sending


class Run:
    """One conversation as a session is shown it, from a beginning on.

    Attributes:
        origin: why it begins where it does: ``cursor`` (the server's choice), ``resume``, ``follow``.
        epoch: None until the first event tells.
        log: what it is measured against.
        low, due: the next event must lie between them; both 0 if any may be the first.
        top: the highest seq that was shown, or need not be.
        first: seq with which it began, 0 before; in the log ``begun``, which may have been restored since.
        acked: the last ack.
        until: the last seq that its robot may see.
        seqs, places: what was shown, and the records that say so.
    """

    __slots__ = (
        "acked",
        "begun",
        "due",
        "epoch",
        "first",
        "log",
        "low",
        "origin",
        "places",
        "seqs",
        "top",
        "until",
    )

    def __init__(self, origin: str, *, log: ConversationLog | None, epoch: str | None) -> None:
        self.origin = origin
        self.log = log
        self.epoch = epoch
        self.low = 0
        self.due = 0
        self.top = 0
        self.first = 0
        self.begun: ConversationLog | None = None
        self.acked = 0
        self.until = 0
        self.seqs = array("q")
        self.places = array("q")

    def expect(self, low: int, due: int) -> None:
        """Set what may come next."""
        self.low = low
        self.due = due

    def last_place(self) -> int:
        """Return the record of the last event that was shown, -1 if there is none."""
        return self.places[-1] if self.places else -1

    def place_of(self, seq: int) -> int:
        """Return the record that first showed a seq, -1 if none did."""
        try:
            return self.places[self.seqs.index(seq)]
        except ValueError:
            return -1


class OpenRequest(Struct, frozen=True, gc=False):
    """An invocation that waits for its outcome; ``sending`` is None for a change of members."""

    where: int
    sending: "Sending | None" = None


class Session:
    """One life of a client.

    Attributes:
        client, name, device, clock, auto, admin, resume: as it was opened.
        opened: the record of that, and ``opened_s`` its time.
        last_s: time of its last record.
        closed: the record that closed it, -1 if it was killed.
        drained: it ended when there was nothing more to come.
        runs: the conversations that it is shown now.
        past: those that were begun anew.
        requests: invocations without outcome, by what identifies them.
        pipelines: for each connection and conversation: invocation, seq and ack of each send, in a row.
    """

    __slots__ = (
        "admin",
        "auto",
        "client",
        "clock",
        "closed",
        "device",
        "drained",
        "last_s",
        "name",
        "opened",
        "opened_s",
        "past",
        "pipelines",
        "requests",
        "resume",
        "runs",
    )

    def __init__(self, record: SessionOpen, place: int) -> None:
        self.client = record.client
        self.name = record.session
        self.device = record.device
        self.clock = record.clock
        self.auto = record.auto
        self.admin = record.admin
        self.resume: dict[str, Position] = record.resume
        self.opened = place
        self.opened_s = self.last_s = record.t
        self.closed = -1
        self.drained = False
        self.runs: dict[str, Run] = {}
        self.past: list[tuple[str, Run]] = []
        self.requests: dict[tuple[str, ...], list[OpenRequest]] = {}
        self.pipelines: dict[tuple[str | int, str], array[int]] = {}

    def all_runs(self) -> list[tuple[str, Run]]:
        """Return every run there was, with its conversation, in no order."""
        return [*self.past, *self.runs.items()]

    def take_request(self, key: tuple[str, ...]) -> OpenRequest | None:
        """Return, and close, the oldest open request of a key."""
        waiting = self.requests.get(key)
        if waiting is None:
            return None
        request = waiting.pop(0)
        if not waiting:
            del self.requests[key]
        return request

    def __str__(self) -> str:
        return f"{self.client}/{self.device} ({self.name})"
