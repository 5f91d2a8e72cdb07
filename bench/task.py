"""What the load generator is told and what it answers; ``bench/loadgen/task.go`` has the same fields."""

from msgspec import Struct, field

BODY_BYTES = 256


class Task(Struct, frozen=True, omit_defaults=True):
    """A kind of load and its sizes.

    Attributes:
        load: name of the kind, as in ``bench/loadgen/main.go``.
        seconds: length of the measured window.
        members: readers of each group.
        robots: how many robots the readers are; 0: all are different.
        in_flight: flat out, messages of a group on their way; of sends, unanswered ones of each sender.
        rate: messages a second of all senders together; 0: flat out.
        count: robots that idle, or events of a backlog.
        signals: values a second, of all robots together, of which only the latest counts.
        steps: lengths of the log at which growth is measured.
        grain_us: least time from one look at the sockets to the next; 0: each delivery wakes the generator.
        stall_seconds: how long to stop the server in the middle of the window.
        window: ``window`` in the ``hello`` of imserver's readers.
    """

    load: str
    seconds: float = 2.0
    warm_up: float = 0.5
    groups: int = 1
    members: int = 0
    robots: int = 0
    senders: int = 1
    in_flight: int = 0
    rate: float = 0.0
    count: int = 0
    signals: float = 0.0
    steps: tuple[int, ...] = ()
    grain_us: int = 0
    stall_seconds: float = 0.0
    window: int = 1_024
    body_bytes: int = field(default=BODY_BYTES)

    def names(self) -> list[str]:
        """Return the names of all robots, as the generator gives them."""
        members = self.groups * self.members
        found = ["owner", *(f"s{number}" for number in range(self.senders))]
        if self.load == "direct":
            return found + [f"{side}{pair}" for pair in range(self.groups) for side in "ab"]
        if self.load == "idle":
            members = self.count + IDLE_FIRST
        if self.load == "mixed":
            found += [f"t{number}" for number in range(members)]
        return found + [f"r{number}" for number in range(self.robots or members)]


IDLE_FIRST = 128
"""Robots that come before an idle server is weighed, as in ``bench/loadgen/idle.go``."""


class Order(Struct, frozen=True):
    """A task for one server, or for the nodes of a cluster: at ``ports``, with ``parts`` of processes."""

    dialect: str
    port: int
    server_pid: int
    options: dict[str, str]
    tokens: dict[str, str]
    ports: list[int] = []
    parts: dict[str, list[int]] = {}


class Findings(Struct):
    """What was counted while the window was open; a run that is ``void`` counts for nothing.

    Attributes:
        server_cpu_s: CPU time of all the server's processes, by the kernel's clocks.
        parts_cpu_s: of a cluster, the same by what the processes are.
        machine_cpu_s: CPU time of everybody on the machine.
        histograms: latencies as (bucket, count), by what they are of.
        behind: the server did not keep up with the load that was offered.
    """

    seconds: float = 0.0
    server_cpu_s: float = 0.0
    parts_cpu_s: dict[str, float] = {}
    generator_cpu_s: float = 0.0
    machine_cpu_s: float = 0.0
    steal_cpu_s: float = 0.0
    counts: dict[str, float] = {}
    histograms: dict[str, list[tuple[int, int]]] = {}
    curve: list[dict[str, float]] = []
    behind: bool = False
    void: str = ""
