"""Sessions: frames in any state, right and wrong, against the real node around a store in memory.

Each request gets exactly one answer, nothing counts as waiting in the end, and no request makes the
server fail or log an error. A second robot reads along in JSON: what the first one stores must reach it
whole, in order, and be expressible there.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from typing import Any, Final, get_args

from imserver.core.settings import Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.client_frames import ClientFrame
from imserver.protocol.codec import JSON, Codec, InvalidFrame
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Deliver, Error, Gap
from imserver.protocol.session_states import SessionState
from tests.fuzz.given import Breach, Input, Outcome
from tests.fuzz.targets.messages import CODECS, FrameMaker, mutate_pieces
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.recording_link import Client

_STATES: Final = ("open", "open", "open", "open", "fresh", "challenged")
_INPUTS_A_NODE: Final = 200
_TURNS_MAX: Final = 400
_SETTINGS: Final = Settings(limits=Limits(body_bytes_max=2_000, frame_bytes_max=4_000))


class Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


class Sessions:
    """What clients say to a node."""

    name = "sessions"
    share = 4

    def __init__(self) -> None:
        self._maker = FrameMaker(get_args(ClientFrame), wrong_in=60)
        self._loop = asyncio.new_event_loop()
        self._stack: contextlib.AsyncExitStack | None = None
        self._node: NodeInMemory | None = None
        self._watcher: Client | None = None
        self._checked = 0
        self._errors = Errors()
        logging.getLogger("imserver").addHandler(self._errors)

    def make(self, dice: random.Random) -> Input:
        codec = dice.choice(tuple(CODECS))
        count = dice.randrange(1, 10)
        pieces = tuple(self._maker.message(codec, dice) for _ in range(count))
        return Input(f"{codec} {dice.choice(_STATES)}", pieces)

    def mutate(self, given: Input, other: Input, dice: random.Random) -> Input:
        return mutate_pieces(given, other, dice)

    def check(self, given: Input) -> Outcome:
        if self._checked % _INPUTS_A_NODE == 0:
            self._loop.run_until_complete(self._start_anew())
        self._checked += 1
        try:
            return self._loop.run_until_complete(self._converse(given))
        except BaseException:
            self._checked = 0  # what is left of this node is not to be trusted
            raise

    def close(self) -> None:
        """End the node and its loop."""
        self._loop.run_until_complete(self._stop())
        self._loop.close()
        logging.getLogger("imserver").removeHandler(self._errors)

    async def _stop(self) -> None:
        if self._stack is not None:
            stack, self._stack = self._stack, None
            await stack.aclose()

    async def _start_anew(self) -> None:
        with contextlib.suppress(Exception):
            await self._stop()
        self._stack = contextlib.AsyncExitStack()
        node = self._node = await self._stack.enter_async_context(running(_SETTINGS))
        watcher = self._watcher = Client(node.context, JSON)
        watcher.say(node.hello("r2"))
        await node.settle()
        for number, robot in enumerate(("r3", "r1")):
            maker = Client(node.context)
            maker.say(node.hello(robot))
            await node.settle()
            name = "yard" if number == 0 else "dock"
            maker.say(frames.CreateGroup(1, name, ["r2"], open=number == 0))
            await node.settle()
            maker.connection.on_lost(clean=True)
        self._errors.seen.clear()

    async def _converse(self, given: Input) -> Outcome:
        node = self._node
        assert node is not None and self._watcher is not None, "it was started"
        codec_name, _, state = given.variant.partition(" ")
        client = Client(node.context, CODECS[codec_name])
        await _bring_to(client, state, node)
        before = len(client.frames)
        for message in given.pieces:
            client.connection.on_message(message)
            await asyncio.sleep(0)
        await _wait_idle(client, node)
        answers = client.frames[before:]
        _judge_answers(client, given, answers)
        if self._errors.seen:
            raise Breach(f"the server logged {self._errors.seen[0]}")
        _judge_deliveries(self._watcher)
        outcome = f"{client.connection.state} {sorted({type(a).__name__ for a in answers})}"
        client.connection.on_lost(clean=False)
        return outcome


async def _bring_to(client: Client, state: str, node: NodeInMemory) -> None:
    if state == "open":
        client.say(node.hello("r1"))
    elif state == "challenged":
        client.say(frames.Hello("r1"))
    await node.settle()
    expected = {"open": SessionState.OPEN, "challenged": SessionState.CHALLENGED}
    if client.connection.state is not expected.get(state, SessionState.FRESH):
        raise Breach(f"after the greeting the session is {client.connection.state}")


async def _wait_idle(client: Client, node: NodeInMemory) -> None:
    for _ in range(_TURNS_MAX):
        await node.settle()
        if client.connection.is_idle or client.connection.is_closed:
            break
    else:
        raise Breach("requests are never answered")
    await node.settle()
    connection = client.connection
    backlog = connection._waiting
    waiting = connection._bytes, connection._unanswered, backlog.size if backlog else 0
    if not connection.is_closed and any(waiting):
        raise Breach(f"nothing waits, but is counted as waiting: {waiting}")


def _judge_answers(client: Client, given: Input, answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Error) and answer.code is ErrorCode.INTERNAL:
            raise Breach(f"the server failed at a request: {answer}")
    asked = Counter(_ids(given, client.codec))
    answered = Counter(answer.id for answer in answers if getattr(answer, "id", None) is not None)
    if answered - asked:
        raise Breach(f"more answers than requests: {answered - asked}")
    if client.connection.state is SessionState.OPEN and asked != answered:
        raise Breach(f"requests without an answer: {asked - answered}")
    if len(client.link.closes) > 1:
        raise Breach(f"closed {len(client.link.closes)} times")
    if client.connection.is_closed and not client.link.closes:
        raise Breach("closed without a goodbye")


def _ids(given: Input, codec: Codec) -> list[int]:
    """Return the ids that answers are due to, each as often as it was sent."""
    found: list[int | None] = []
    for message in given.pieces:
        try:
            found.append(getattr(codec.decode_client(message), "id", None))
        except InvalidFrame as refusal:
            found.append(refusal.request_id)
    return [number for number in found if number is not None]


def _judge_deliveries(watcher: Client) -> None:
    """See that the logs came to the watcher without holes, and forget them."""
    delivered = [frame for frame in watcher.link.frames if isinstance(frame, Deliver | Gap)]
    for frame in delivered:
        if isinstance(frame, Gap):
            raise Breach(f"there is a hole: {frame}")
        seqs = [event.seq for event in frame.events]
        if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
            raise Breach(f"{frame.conv} was delivered as {seqs}")
        watcher.connection.on_message(JSON.encode(frames.Ack(frame.conv, seqs[-1])))
    watcher.link.frames.clear()
