"""A robot that floods: many connections, large events, as many at a time as it can; a process of its own.

``python -m tests.pressure.flooder`` reads one order as JSON from standard input, floods until standard input
ends, and writes a line when it was refused for the first time, then what it was answered as JSON.
"""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Raw, Struct

from imserver.protocol.client_frames import Hello, Send
from imserver.protocol.codec import MSGPACK
from imserver.protocol.server_frames import Bye, Error, Sent, Welcome
from tests.pressure import wire
from tests.pressure.line import PATIENCE_S

ROOT: Final = Path(__file__).parents[2]


class Order(Struct):
    """What to do: ``connections`` devices keep ``in_flight`` events of ``body_bytes`` under way each.

    Attributes:
        waits: a refused send is tried again when the server says, as by the SDK; otherwise at once.
    """

    port: int
    robot: str
    token: str
    conv: str
    connections: int = 50
    in_flight: int = 8
    body_bytes: int = 255 * 1024
    waits: bool = True


class _Flooder(asyncio.Protocol):
    def __init__(self, order: Order, device: str, counts: Counter[str]) -> None:
        self._order = order
        self._device = device
        self._counts = counts
        self._stream = wire.Stream()
        self._is_upgraded = False
        self._ids = 0
        self._body = Raw(msgspec.msgpack.encode(bytes(order.body_bytes)))
        self._transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(wire.upgrade_request(self._order.port))

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            _, _, data = data.partition(b"\r\n\r\n")
            self._is_upgraded = True
            order = self._order
            hello = Hello(order.robot, self._device, token=order.token, auto=False)
            self._transport.write(wire.messages(hello))
        for first, payload in self._stream.take(data):
            if first == wire.BINARY:
                self._take(MSGPACK.decode_server(payload))

    def _take(self, frame: Any) -> None:
        match frame:
            case Welcome():
                for _ in range(self._order.in_flight):
                    self._send()
            case Sent():
                self._counts["sent"] += 1
                self._send()
            case Error() | Bye():
                if not self._counts[str(frame.code)]:
                    print("refused", flush=True)
                self._counts[str(frame.code)] += 1
                after_s = (frame.retry_after or 0) / 1_000 if self._order.waits else 0
                asyncio.get_running_loop().call_later(after_s, self._send)

    def _send(self) -> None:
        self._ids += 1
        cid = f"{self._device}-{self._ids}"
        self._transport.write(wire.messages(Send(self._ids, self._order.conv, cid, self._body)))


@contextmanager
def flooding(*orders: Order) -> Iterator[Counter[str]]:
    """Flood while the block runs, which begins when every flooder has been refused once.

    Yields a counter of what the flooders were answered, ``sent`` or a code, which is filled at the end.
    """
    command = [sys.executable, "-m", "tests.pressure.flooder"]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) for _ in orders]
    answers: Counter[str] = Counter()
    try:
        for process, order in zip(processes, orders, strict=True):
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"refused\n", "a flooder ended by itself"
        yield answers
    finally:
        said = [process.communicate(timeout=PATIENCE_S)[0] for process in processes]
    for text in said:
        answers.update(msgspec.json.decode(text.splitlines()[-1], type=dict[str, int]))


async def _flood(order: Order) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    counts: Counter[str] = Counter()
    for number in range(order.connections):
        make = partial(_Flooder, order, f"d{number}", counts)
        await loop.create_connection(make, "127.0.0.1", order.port)
    await loop.run_in_executor(None, sys.stdin.read)
    return dict(counts)


def main() -> None:
    """Carry out one order."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_flood(order))).decode())


if __name__ == "__main__":
    main()
