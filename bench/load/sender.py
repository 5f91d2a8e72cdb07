"""A robot that sends: a number in flight at a time (closed loop), or at a rate (open loop)."""

import time
from typing import Any, Final

from bench.load import wire
from bench.load.connection import Connection
from bench.load.histogram import Histogram
from bench.load.wire import Broken, SendTemplate, SentSeen
from imserver.protocol.server_frames import Bye, Error


class Sender:
    """Sends into one conversation and checks the answers."""

    def __init__(self, connection: Connection, *, conv: str, name: str, body: bytes) -> None:
        """Use cids that begin with ``name``."""
        self.cid_prefix: Final = f"{name}-"
        self.due_ns: list[int] = []
        """When each message was meant to be sent, by its number."""
        self.seqs: list[int] = []
        """The seq that each message got, by its number; 0 while it is unanswered."""
        self.answered = 0
        self.in_flight_max = 0
        """How many messages may wait for their answer; 0: none are sent but by `push`."""
        self.latency: Histogram | None = None
        self._connection = connection
        self._template = SendTemplate(conv=conv, cid_prefix=self.cid_prefix, body=body)

    def push(self, due_ns: list[int]) -> None:
        """Send one message for each of the times at which they were meant to be sent."""
        number = len(self.seqs)
        self.due_ns += due_ns
        self.seqs += [0] * len(due_ns)
        template = self._template
        self._connection.write(b"".join([template(n) for n in range(number, len(self.seqs))]))

    def refill(self) -> None:
        """Send as many as the closed loop has room for."""
        room = self.in_flight_max - (len(self.seqs) - self.answered)
        if room > 0:
            self.push([time.monotonic_ns()] * room)

    @property
    def idle(self) -> bool:
        """Whether every message is answered."""
        return self.answered == len(self.seqs)

    def take(self, frame: Any, now_ns: int) -> None:
        """Take a frame that is no ``deliver``.

        Raises:
            Broken: the server refused something, or answered a message twice.
        """
        if isinstance(frame, SentSeen):
            if self.seqs[frame.id] or frame.dup:
                raise Broken(f"message {frame.id} was answered twice or taken for a repetition")
            self.seqs[frame.id] = frame.seq
            self.answered += 1
            if self.latency is not None:
                self.latency.record_ns(now_ns - self.due_ns[frame.id])
        elif isinstance(frame, Error | Bye):
            raise Broken(f"the server says: {frame}")


class Answers:
    """The stream of a sender's connection that follows nothing: answers, and little else."""

    def __init__(self, connection: Connection, sender: Sender) -> None:
        self._connection = connection
        self._sender = sender
        self._partial = b""

    def take(self, chunk: memoryview, now_ns: int) -> None:
        """Take the next bytes of the stream."""
        stream = self._partial + bytes(chunk)
        found, rest = wire.scan(stream, 0)
        view = memoryview(stream)
        for first, payload, stop in found:
            if first == wire.FINAL | wire.BINARY:
                self._sender.take(wire.decode(view[payload:stop]), now_ns)
            else:
                self._connection.control(first, stream[payload:stop])
        self._partial = stream[rest:]
