"""The robots of one group: those that send, those that receive, and the check that all saw one log."""

from typing import Final

from bench.fleet import Fleet
from bench.load.connection import Connection
from bench.load.follower import Follower
from bench.load.histogram import Histogram
from bench.load.ledger import Ledger, Tape
from bench.load.loop import Loop
from bench.load.sender import Answers, Sender
from bench.load.station import Station
from bench.load.wire import CID_DIGITS, Broken, body_of
from bench.scenario import BODY_BYTES, DRAIN_S, Task

GROUP: Final = "bench"
CONVERSATION: Final = f"g/{GROUP}"
OWNER: Final = "owner"
LATENCY_EVERY: Final = 4


class Crowd:
    """One group on one server, connected and ready to be loaded.

    Senders follow nothing (``auto`` off), unless ``echo`` has them receive what all of them send.
    """

    def __init__(self, task: Task, *, senders: int, readers: int = 0, echo: bool = False) -> None:
        self.loop: Final = Loop()
        self.senders: Final[list[Sender]] = []
        self.followers: Final[list[Follower]] = []
        self._body: Final = body_of(BODY_BYTES)
        self._by_prefix: Final[dict[str, Sender]] = {}
        self._ledger: Final = Ledger(self._due_ns_of, self._body)
        self._tape: Final = Tape()
        self._window: Final = task.window
        self._connections: Final[list[Connection]] = []
        self._connect(Fleet(task.port, task.directory), senders, readers, echo)

    def close(self) -> None:
        """Close every connection."""
        self.loop.close()
        for connection in self._connections:
            connection.close()

    def _connect(self, fleet: Fleet, senders: int, readers: int, echo: bool) -> None:
        sending = [f"sender{number}" for number in range(senders)]
        reading = [f"reader{number}" for number in range(readers)]
        robots = {
            robot: fleet.connect(robot, auto=echo or robot in reading, window=self._window)[0]
            for robot in [*sending, *reading]
        }
        # A robot with nothing else to do creates the group: who does that and follows it may miss the
        # first event here, because what comes before an awaited answer is skipped.
        owner, _ = fleet.connect(OWNER, auto=False)
        fleet.create_group(owner, GROUP, list(robots))
        self._connections.extend([owner, *robots.values()])
        for robot, connection in robots.items():
            follower = self._follower(connection) if echo or robot in reading else None
            sender = self._sender(connection, robot) if robot in sending else None
            if sender and follower:
                follower.on_other = sender.take
            stream = follower or (sender and Answers(connection, sender))
            assert stream is not None
            Station(self.loop, connection, stream, sender)

    def _follower(self, connection: Connection) -> Follower:
        follower = Follower(
            connection,
            conv=CONVERSATION,
            window=self._window,
            tape=self._tape,
            ledger=self._ledger,
        )
        self.followers.append(follower)
        return follower

    def _sender(self, connection: Connection, name: str) -> Sender:
        sender = Sender(connection, conv=CONVERSATION, name=name, body=self._body)
        self.senders.append(sender)
        self._by_prefix[sender.cid_prefix] = sender
        return sender

    def _due_ns_of(self, cid: str) -> int:
        sender = self._by_prefix.get(cid[:-CID_DIGITS])
        return sender.due_ns[int(cid[-CID_DIGITS:])] if sender else 0

    def saturate(self, in_flight: int) -> None:
        """Have every sender keep ``in_flight`` messages unanswered."""
        for sender in self.senders:
            sender.in_flight_max = in_flight
            sender.refill()

    def record(self, *, acks: Histogram | None, deliveries: Histogram | None) -> None:
        """Count latencies from here on, of deliveries those to every `LATENCY_EVERY`th follower."""
        for sender in self.senders:
            sender.latency = acks
        for follower in self.followers[::LATENCY_EVERY]:
            follower.latency = deliveries

    def answered(self) -> int:
        """Return how many messages were answered so far."""
        return sum(sender.answered for sender in self.senders)

    def delivered(self) -> int:
        """Return how many events were delivered so far, to all followers together."""
        return sum(follower.seq for follower in self.followers)

    def wait_joined(self) -> None:
        """Wait until every follower has received the event that created the group."""
        self.loop.run_until(
            lambda: all(follower.seq for follower in self.followers),
            seconds=DRAIN_S,
            what="the delivery of seq 1 to all",
        )

    def drain(self) -> None:
        """Send no more, wait for every answer and delivery, and check them.

        Raises:
            Broken: one is missing, or the log is not one run in which every message stands once.
        """
        for sender in self.senders:
            sender.in_flight_max = 0
        self.loop.run_until(self._is_level, seconds=DRAIN_S, what="the last answer or delivery")
        self._check()

    def _is_level(self) -> bool:
        if not all(sender.idle for sender in self.senders):
            return False
        head = 1 + self.answered()
        return all(follower.seq >= head for follower in self.followers)

    def _check(self) -> None:
        seqs = sorted(seq for sender in self.senders for seq in sender.seqs)
        if seqs != list(range(2, 2 + len(seqs))):  # seq 1 created the group
            raise Broken("the seqs of the acked messages are not 2, 3, 4, … without gaps")
        for sender in self.senders:
            if sender.seqs != sorted(sender.seqs):
                raise Broken("a sender's messages were stored in another order than it sent them")
            if self.followers:
                self._check_delivered(sender)

    def _check_delivered(self, sender: Sender) -> None:
        for number, seq in enumerate(sender.seqs):
            if self._ledger.cids[seq - 1] != f"{sender.cid_prefix}{number:0{CID_DIGITS}d}":
                raise Broken(f"the message acked at seq {seq} is not the one delivered there")
