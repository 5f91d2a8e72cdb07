"""``python -m bench.costs``: what each step of a message's way through the server costs, in µs.

Runs the server's own objects, built by its composition root around the store in memory and links that
throw bytes away: the processor's part of the path without disk, sockets and kernel. What the disk and the
sockets add is the difference to ``python -m bench.quick``. The last rows are what sealing end to end costs
robots.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Raw, Struct, structs
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from bench import sealed_costs
from imserver import node
from imserver.access import whole_frames
from imserver.access.connection import Connection
from imserver.access.websocket import FORMS
from imserver.core.clock import SystemClock
from imserver.core.ids import RandomIds
from imserver.core.key_ring import KeyRing, SealingKey
from imserver.core.model import RobotRecord
from imserver.core.settings import Settings
from imserver.core.tasks import TaskScope
from imserver.core.tokens import TokenAuthority
from imserver.core.warrant import Warrant
from imserver.data.memory.files import in_memory
from imserver.data.memory.store import MemoryStore
from imserver.data.sealing import EventSeal
from imserver.logic import permissions
from imserver.logic.permissions import Operation
from imserver.logic.send import role_of
from imserver.logic.session import Session
from imserver.protocol import bodies
from imserver.protocol.client_frames import Ack, CreateGroup, Hello, Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from imserver.protocol.server_frames import Deliver, Sent
from imserver.protocol.shared_frame import SharedFrame
from imserver.route.local import LocalRouter

MEMBERS: Final = 100
BATCH: Final = 100
BODY: Final = MSGPACK.encode(Sent(1, "x" * 200, "e", 1, 1, dup=False))  # some 256 bytes, a map
CONV: Final = ConversationName("g/bench")
FORM: Final = FORMS[MSGPACK.name]


class NullLink:
    """A link that takes everything and writes nothing."""

    form = FORM
    congested = False
    source = "192.0.2.1"

    def write(self, framed: bytes) -> None:
        """Throw ``framed`` away."""

    push = write

    def close(self, code: int, reason: str) -> None:
        """Nothing to close."""

    def sign_of_life(self) -> bool | None:
        """Nobody asks."""

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


class Bench:
    """A built node with a group of `MEMBERS` online members, the first of which sends."""

    def __init__(self, built: node.Node) -> None:
        self.built = built
        self.connections: list[Connection] = []
        self.sessions: list[Session] = []
        self.count = 0

    async def connect(self, store: MemoryStore) -> None:
        """Bring the members online and create their group."""
        names = [RobotName(f"robot-{number}") for number in range(MEMBERS)]
        for name in names:
            await store.ensure_robot(RobotRecord(name, None, 0))
            connection = Connection(NullLink(), MSGPACK, self.built.door.context)
            session = await self.built.sessions.open(
                connection,
                Warrant(name, 0),
                DeviceName("main"),
                hello=Hello(name, window=65_536),
            )
            assert session is not None
            connection.enter(session)
            self.connections.append(connection)
            self.sessions.append(session)
        create = CreateGroup(id=0, name="bench", members=[str(name) for name in names])
        self.connections[0].on_message(MSGPACK.encode(create))
        while self.built.conversations.peek(CONV) is None:  # noqa: ASYNC110 (the committer's turn)
            await asyncio.sleep(0)

    def frame(self) -> bytes:
        """Return one more `send` as a client encodes it."""
        self.count += 1
        return MSGPACK.encode(
            Send(self.count, CONV, f"0123456789abcdef-{self.count:08x}", Raw(BODY))
        )

    async def whole_path(self, messages: list[bytes]) -> None:
        """Send messages in batches, as they arrive from one client, and have every member get them."""
        take_in = self.connections[0].on_message
        for start in range(0, len(messages), BATCH):
            for message in messages[start : start + BATCH]:
                take_in(message)
            head = self.count_stored() + len(messages[start : start + BATCH])
            while self.count_stored() < head:  # noqa: ASYNC110 (the committer's turn)
                await asyncio.sleep(0)
            self.ack_all()

    def count_stored(self) -> int:
        """Return the group's head."""
        held = self.built.conversations.peek(CONV)
        return held.head if held is not None else 0

    def ack_all(self) -> None:
        """Have every member ack what it got."""
        head = self.count_stored()
        for session in self.sessions:
            self.built.sessions.ack(session, CONV, head)


def timed(step: Callable[[], Any], *, per: int = 1, rounds: int = 7, repeat: int = 300) -> float:
    """Return the median time of a step in µs, divided by ``per``."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(repeat):
            step()
        found.append((time.perf_counter() - began) / repeat / per * 1e6)
    return statistics.median(found)


def steps(bench: Bench) -> dict[str, float]:
    """Return the cost of each step alone, in µs."""
    message = bench.frame()
    wire = Frame(Opcode.BINARY, message).serialize(mask=True) * BATCH
    parser = Protocol(Side.SERVER, state=OPEN)
    held = bench.built.conversations.peek(CONV)
    assert held is not None
    session = bench.sessions[0]
    events = [Event(n, 1, "robot-0", f"cid-{n:016}", "message", Raw(BODY)) for n in range(BATCH)]
    deliver = Deliver(CONV, held.epoch, events)
    shared = SharedFrame(deliver)
    shared.encoded(FORM)
    sent = Sent(1, CONV, held.epoch, 1, 1, dup=False)
    ack = MSGPACK.encode(Ack(CONV, held.head))
    key = SealingKey(os.urandom(32))
    seal = EventSeal(KeyRing([key], key.id, random_bytes=os.urandom))
    sealed = structs.replace(events[0], body=Raw(seal.seal(CONV, events[0])))

    def library() -> None:
        parser.receive_data(wire)
        parser.events_received()

    def check() -> None:
        permissions.require(role_of(held, session), Operation.SEND, CONV)

    first_byte, most = FORM.first_byte, bench.built.door.context.limits.frame_bytes_max
    return {
        "WebSocket frame in, by the short cut": timed(
            lambda: whole_frames.take(wire, first_byte, bytes_max=most), per=BATCH
        ),
        "WebSocket frame in, by the library's parser": timed(library, per=BATCH, repeat=30),
        "decoding a send": timed(lambda: MSGPACK.decode_client(message)),
        "checking its body": timed(lambda: bodies.from_msgpack(Raw(BODY))),
        "checking the permission": timed(check),
        "encoding and framing its `sent`": timed(lambda: FORM.encode(sent)),
        f"encoding an event, in a `deliver` of {BATCH}": timed(
            lambda: FORM.encode(deliver), per=BATCH
        ),
        "handing a shared frame to one member": timed(lambda: bench.connections[1].push(shared)),
        "an `ack`, from the message to the noted cursor": timed(
            lambda: bench.connections[1].on_message(ack)
        ),
        "sealing its body, if sealing is on": timed(lambda: seal.seal(CONV, events[0])),
        "opening a sealed body": timed(lambda: seal.open(CONV, sealed)),
    }


class Row(Struct, frozen=True):
    """A line of the table."""

    step: str
    us: float


async def measure() -> list[Row]:
    """Return every step's cost and that of the whole path."""
    store, settings = MemoryStore(), Settings()
    authority = TokenAuthority(Ed25519PrivateKey.generate())
    async with TaskScope() as scope:
        given = node.Collaborators(
            store,
            in_memory(store.files),
            LocalRouter(),
            authority,
            SystemClock(),
            RandomIds(),
            lambda work, name: (scope.spawn(work, name=name), None)[1],
        )
        bench = Bench(node.build(settings, given))
        scope.spawn(bench.built.committer.run(), name="committer")
        await bench.connect(store)
        rows = [Row(step, us) for step, us in steps(bench).items()]
        found = []
        for _ in range(7):
            messages = [bench.frame() for _ in range(2_000)]
            began = time.perf_counter()
            await bench.whole_path(messages)
            found.append((time.perf_counter() - began) / len(messages) * 1e6)
        whole = f"a whole send to {MEMBERS} members, in batches of {BATCH}, acks included"
        rows.append(Row(whole, statistics.median(found)))
        rows += [Row(step, us) for step, us in sealed_costs.costs(BODY).items()]
        scope.cancel_all()
    return rows


def main() -> None:
    """Print the table."""
    for row in asyncio.run(measure()):
        print(f"{row.us:8.2f} µs  {row.step}")


if __name__ == "__main__":
    main()
