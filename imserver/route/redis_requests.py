"""Questions and answers between nodes, as hints on a channel that each node has to itself.

A question has a number, which its answer carries back. What waits for an answer waits no longer than it was
told to, and not at all for a Redis that cannot be reached.

Unlike the other hints these lead to something durable, so it is not Redis that is believed: both are sealed
with a key that the nodes share, each for its sender, its receiver and its number. One that is replayed is
of a node that is there no more, or asks again for what does no harm when it is done twice.
"""

import asyncio
import hmac
import itertools
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from imserver.route import hints
from imserver.route.requests import Unanswered

SEAL_BYTES: Final = 16


class RedisRequests:
    """A `Requests` over the publisher and the subscriber of a `RedisRouter`.

    Args:
        node: this node's name.
        prefix: begins the name of every node's channel.
        key: a secret of the deployment's nodes.
        put: publishes a payload to a channel soon, or returns False if it cannot.
    """

    def __init__(
        self, *, node: str, prefix: str, key: bytes, put: Callable[[str, bytes], bool]
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._key = key
        self._put = put
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[str, asyncio.Future[bytes]]] = {}
        self.on_asked: Callable[[bytes, Callable[[bytes], None]], None] = _leave_unanswered

    @property
    def channel(self) -> str:
        """Where this node is asked and answered."""
        return self._channel_of(self._node)

    async def ask(self, node: str, question: bytes, *, timeout_s: float) -> bytes:
        number = next(self._numbers)
        seal = self._seal(b"q", self._node, node, number, question)
        payload = hints.encode(hints.Asked(self._node, number, Raw(question), seal))
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (node, answer)
        try:
            if not self._put(self._channel_of(node), payload):
                raise Unanswered("Redis takes nothing now")
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise Unanswered(f"{node} did not answer within {timeout_s} s") from None
        finally:
            del self._waiting[number]

    def give_up(self) -> None:
        """Let nobody wait any longer: what was asked was perhaps lost."""
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unanswered("the connection to Redis was lost"))

    def on_question(self, asked: hints.Asked) -> None:
        """Take in that another node asks."""
        question = bytes(asked.body)
        seal = self._seal(b"q", asked.node, self._node, asked.number, question)
        if not hmac.compare_digest(seal, asked.seal):
            return

        def answer(body: bytes) -> None:
            seal = self._seal(b"a", self._node, asked.node, asked.number, body)
            payload = hints.encode(hints.Answered(self._node, asked.number, Raw(body), seal))
            self._put(self._channel_of(asked.node), payload)

        self.on_asked(question, answer)

    def on_answer(self, answered: hints.Answered) -> None:
        """Take in an answer; one that comes too late is passed over."""
        node, answer = self._waiting.get(answered.number, ("", None))
        if answer is None or answer.done() or answered.node != node:
            return
        body = bytes(answered.body)
        seal = self._seal(b"a", node, self._node, answered.number, body)
        if hmac.compare_digest(seal, answered.seal):
            answer.set_result(body)

    def _seal(self, kind: bytes, sender: str, receiver: str, number: int, body: bytes) -> bytes:
        head = b"%b\0%b\0%b\0%d\0" % (kind, sender.encode(), receiver.encode(), number)
        return hmac.digest(self._key, head + body, "sha256")[:SEAL_BYTES]

    def _channel_of(self, node: str) -> str:
        return f"{self._prefix}:asked:{node}"


def _leave_unanswered(_question: bytes, _answer: Callable[[bytes], None]) -> None:
    """Stand in until somebody can answer: who asks does without, in time."""
