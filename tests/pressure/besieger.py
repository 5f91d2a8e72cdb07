"""Those who besiege a server, in a process of their own: one floods, some dribble, many say nothing.

``python -m tests.pressure.besieger`` reads one order as JSON from standard input, writes a line when all are
in place, goes on until standard input ends, and writes what was seen as JSON. Whoever is cut off comes again.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Raw, Struct

from imserver.protocol.client_frames import Hello, Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.server_frames import Bye, Error, Sent, Welcome
from tests.pressure import wire
from tests.pressure.flooder import ROOT
from tests.pressure.line import PATIENCE_S

TICK_S: Final = 0.01
UNSENT_BYTES_MAX: Final = 256 * 1024
AGAIN_S: Final = 0.05
DRIBBLE_S: Final = 0.5
OPENING_AT_ONCE: Final = 50
FLOODED_MS: Final = "milliseconds of the flood"
LOWEST: Final = 19
"""As who besieges from elsewhere would, it takes no processor from the server, nor from those who measure."""


class Order(Struct):
    """What to do.

    Attributes:
        frames_per_s: sends that the flooder offers in a second, on one connection.
        dribblers: connections that write a byte of their handshake now and then.
        silent: connections that write nothing.
    """

    port: int
    robot: str
    token: str
    conv: str
    frames_per_s: int
    dribblers: int = 200
    silent: int = 1_000
    body_bytes: int = 100


class _Visitor(asyncio.Protocol):
    """A connection that is opened again when it is cut off."""

    def __init__(self, siege: "_Siege") -> None:
        self.siege = siege
        self.transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.siege.inside += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.siege.inside -= 1
        self.siege.counts[f"{type(self).__name__.strip('_').lower()} cut off"] += 1
        self.siege.come_again(type(self))


class _Silent(_Visitor):
    """Says nothing."""


class _Dribbler(_Visitor):
    """Says a byte now and then."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._left = list(wire.upgrade_request(self.siege.order.port))
        self._say()

    def _say(self) -> None:
        if self._left and not self.transport.is_closing():
            self.transport.write(bytes([self._left.pop(0)]))
            asyncio.get_running_loop().call_later(DRIBBLE_S, self._say)


class _Flooder(_Visitor):
    """Offers sends at its pace, whatever it is answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._stream = wire.Stream()
        self._is_upgraded = False
        self.is_welcome = False
        self.transport.write(wire.upgrade_request(self.siege.order.port))
        self.siege.flooder = self

    @property
    def has_room(self) -> bool:
        """Whether more can be written."""
        is_open = self.is_welcome and not self.transport.is_closing()
        return is_open and self.transport.get_write_buffer_size() < UNSENT_BYTES_MAX

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            _, _, data = data.partition(b"\r\n\r\n")
            self._is_upgraded = True
            order = self.siege.order
            self.transport.write(
                wire.messages(Hello(order.robot, "flood", token=order.token, auto=False))
            )
        for first, payload in self._stream.take(data):
            if first == wire.BINARY:
                self._take(MSGPACK.decode_server(payload))

    def _take(self, frame: Any) -> None:
        match frame:
            case Welcome():
                self.is_welcome = True
            case Sent():
                self.siege.counts["sends taken"] += 1
            case Error() | Bye():
                self.siege.counts[f"told {frame.code}"] += 1


class _Siege:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.counts: Counter[str] = Counter()
        self.inside = 0
        self.flooder: _Flooder | None = None
        self._loop = asyncio.get_running_loop()
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        per_tick = int(order.frames_per_s * TICK_S)
        body = Raw(msgspec.msgpack.encode(bytes(order.body_bytes)))
        self._volleys = [
            wire.messages(
                *(Send(n, order.conv, f"f{tick}-{n}", body) for n in range(1, per_tick + 1))
            )
            for tick in range(100)
        ]
        self._per_tick = per_tick

    def come_again(self, kind: type[_Visitor]) -> None:
        self._loop.call_later(AGAIN_S, self.come, kind)

    def come(self, kind: type[_Visitor]) -> None:
        task = self._loop.create_task(self._come(kind))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _come(self, kind: type[_Visitor]) -> None:
        async with self._opening:
            try:
                await self._loop.create_connection(lambda: kind(self), "127.0.0.1", self.order.port)
            except OSError:
                self.come_again(kind)

    async def lay(self) -> None:
        """Take up every place, and say so."""
        order = self.order
        kinds = [_Flooder] + [_Dribbler] * order.dribblers + [_Silent] * order.silent
        for kind in kinds:
            self.come(kind)
        while self.inside < len(kinds) * 0.95 or not self._flooder_is_welcome:
            await asyncio.sleep(TICK_S)
        print("in place", flush=True)

    @property
    def _flooder_is_welcome(self) -> bool:
        return self.flooder is not None and self.flooder.is_welcome

    async def until_told(self) -> None:
        """Return when the flooder was told that it is too fast.

        On a busy machine it gets so little of a processor that it takes a while until it is.
        """
        while not self.counts["told rate_limited"]:
            await asyncio.sleep(TICK_S)

    async def flood(self) -> None:
        """Offer sends until cancelled."""
        due_s, tick = self._loop.time(), 0
        while True:
            due_s, tick = due_s + TICK_S, (tick + 1) % len(self._volleys)
            flooder = self.flooder
            self.counts["sends offered"] += self._per_tick
            if flooder is not None and flooder.has_room:
                self.counts["sends written"] += self._per_tick
                flooder.transport.write(self._volleys[tick])
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))


@contextmanager
def besieging(order: Order) -> Iterator[Counter[str]]:
    """Besiege a server while the block runs; yields a counter that is filled at the end."""
    command = [sys.executable, "-m", "tests.pressure.besieger"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert process.stdin is not None and process.stdout is not None
    seen: Counter[str] = Counter()
    try:
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"in place\n", "the siege was not laid"
        yield seen
    finally:
        said = process.communicate(timeout=PATIENCE_S)[0]
    seen.update(msgspec.json.decode(said.splitlines()[-1], type=dict[str, int]))


async def _besiege(order: Order) -> dict[str, int]:
    siege, loop = _Siege(order), asyncio.get_running_loop()
    await siege.lay()
    began_s = loop.time()
    flooding = loop.create_task(siege.flood())
    await loop.run_in_executor(None, sys.stdin.read)
    await siege.until_told()
    flooding.cancel()
    siege.counts[FLOODED_MS] = round(1_000 * (loop.time() - began_s))
    return dict(siege.counts)


def main() -> None:
    """Carry out one order."""
    os.nice(LOWEST)
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_besiege(order))).decode())


if __name__ == "__main__":
    main()
