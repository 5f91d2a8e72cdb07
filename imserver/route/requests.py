"""The port by which one node asks another for something, and gets an answer.

Like everything of the route tier it may fail at any time. Who gets no answer does not know whether the other
node was asked; so nothing may be asked for but what does no harm when it is done twice, or late.
"""

from collections.abc import Callable
from typing import Protocol


class Unanswered(Exception):
    """There is no answer: the other node was perhaps asked, and may do late what it was asked for."""


class Requests(Protocol):
    """Asks other nodes, and is asked by them.

    Attributes:
        on_asked: what to do when another node asks: it is given the question and whom to tell the answer, at
            once or later, or never; must not wait. Until it is set, nothing is answered.
    """

    on_asked: Callable[[bytes, Callable[[bytes], None]], None]

    async def ask(self, node: str, question: bytes, *, timeout_s: float) -> bytes:
        """Return what another node answers. Questions to one node that are asked one after another without
        waiting arrive in that order, if they arrive.

        Raises:
            Unanswered: it did not answer within ``timeout_s`` seconds, or cannot be asked now.
        """
