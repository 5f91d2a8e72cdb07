"""Listens in at the server, for what no client can see: whether everything was answered that was taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from imserver.access.connection import Connection
from imserver.core.errors import Refusal
from imserver.core.model import Append, Outcome
from imserver.logic import committer as committing
from imserver.logic.committer import Committer, Waiter
from imserver.protocol.client_frames import Send
from tests.simulation.trace import Trace


class Ledger:
    """What one life of the server took on, and what it has answered.

    ``refused`` gathers the cids of sends that met a refusal, whether or not their robot heard of it.
    """

    def __init__(self, trace: Trace, refused: set[str]) -> None:
        self._trace = trace
        self._refused = refused
        self._open: dict[int, Append] = {}
        self._count = 0

    def tap(self, committer: Committer) -> None:
        """Listen in at a committer."""
        submit = committer.submit

        def submit_and_note(append: Append, waiter: Waiter) -> None:
            self._count += 1
            number = self._count
            try:
                submit(append, _Listener(self, waiter, number, append))
            except Refusal:
                self._trace.counts["sends refused for want of room, or by a draining node"] += 1
                self._refused.add(append.cid)
                raise
            self._open[number] = append

        committer.submit = submit_and_note  # type: ignore[method-assign]
        take = committer._take_batch

        def take_and_count() -> list[Any]:
            batch = take()
            self._trace.counts["commits that left others waiting"] += bool(committer._queue)
            return batch

        committer._take_batch = take_and_count  # type: ignore[method-assign]

    @property
    def has_open(self) -> bool:
        """Whether something was taken that is not answered yet."""
        return bool(self._open)

    def close(self) -> None:
        """Note what a node never answered that ended in good order."""
        for append in self._open.values():
            self._trace.problem("G19 taken and dropped at the end", f"{append}")

    def answered(self, number: int, append: Append, *, refused: bool) -> None:
        """Take in an answer."""
        if self._open.pop(number, None) is None:
            self._trace.problem("G14 answered twice", f"{append}")
        if refused:
            self._refused.add(append.cid)


class _Listener:
    def __init__(self, ledger: Ledger, waiter: Waiter, number: int, append: Append) -> None:
        self._ledger = ledger
        self._waiter = waiter
        self._number = number
        self._append = append

    def on_outcome(self, outcome: Outcome) -> None:
        self._ledger.answered(self._number, self._append, refused=False)
        self._waiter.on_outcome(outcome)

    def on_refusal(self, refusal: Refusal) -> None:
        self._ledger.answered(self._number, self._append, refused=True)
        self._waiter.on_refusal(refusal)


@contextmanager
def tapped_server(refused: set[str], *, batch_events_max: int) -> Iterator[None]:
    """Have small commits, and note which sends are refused before they reach the committer."""
    refuse = Connection._refuse

    def refuse_and_note(self: Connection, frame: Any, refusal: Refusal) -> None:
        if isinstance(frame, Send):
            refused.add(frame.cid)
        refuse(self, frame, refusal)

    with (
        patch.object(Connection, "_refuse", refuse_and_note),
        patch.object(committing, "BATCH_EVENTS_MAX", batch_events_max),
    ):
        yield
