"""Breaches of the promises, each made in one place: the simulator must find every one of them.

A mutant replaces one function of the product (or of the simulated store, where the breach is an engine's) by
one with a mistake that somebody could make. A checker that lets one pass is a checker that lies.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec import structs

from client_sdk.inbox import Inbox
from client_sdk.outbox import Outbox
from imserver.access.websocket import WebSocketLink
from imserver.core.errors import StoreUnavailable
from imserver.data.memory.store import MemoryStore
from imserver.logic import committer, groups, history, resumption
from imserver.logic.committer import Committer
from imserver.logic.delivery import Delivery
from imserver.logic.fair_queue import Entry, FairQueue
from imserver.logic.losses import LossWatch
from imserver.logic.session import Sessions
from imserver.protocol.client_frames import Send
from imserver.protocol.server_frames import Gap
from tests.simulation.disk import SimStore, Transaction, at_once


class Mutant(NamedTuple):
    """A breach: ``owner.name`` is replaced by ``stand_in``; ``story`` says what that amounts to.

    ``breaks`` begins the name of a rule that must be found broken, and ``seed`` is where that was seen last.
    """

    breaks: str
    story: str
    owner: Any
    name: str
    stand_in: Any
    seed: int = 0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the product have the mistake."""
        with patch.object(self.owner, self.name, self.stand_in):
            yield


# The commit


class _Deaf:
    """Stands for a waiter who was told already."""

    def on_outcome(self, _outcome: object) -> None:
        """Hear nothing."""

    def on_refusal(self, _refusal: object) -> None:
        """Hear nothing."""


def _foresee(log: Any, batch: Sequence[Any]) -> list[Any]:
    store: SimStore = log
    return at_once(store.disk.replay().append([append for append, _ in batch]))


_write = Committer._write


async def _ack_before_commit(self: Committer, batch: list[Any]) -> None:
    for (_, waiter), outcome in zip(batch, _foresee(self._log, batch), strict=True):
        waiter.on_outcome(outcome)
    await _write(self, [(append, _Deaf()) for append, _ in batch])


async def _deliver_before_commit(self: Committer, batch: list[Any]) -> None:
    publish = self.publish
    appends = [append for append, _ in batch]
    for run in committer._runs(appends, _foresee(self._log, batch)):
        publish(run)
    self.publish = lambda _run: None
    try:
        await _write(self, batch)
    finally:
        self.publish = publish


# The store


async def _written_is_enough(self: SimStore, transaction: Transaction) -> None:
    await asyncio.sleep(self.disk.dice.uniform(*self.disk.health.write_s))
    if self.disk.dice.random() < 0.05:  # the system writes its cache back now and then
        self.disk.sync_all()


def _sync_again(self: SimStore, transaction: Transaction) -> None:
    self.forget_at_random(transaction)  # and the second sync finds the pages clean, and succeeds


def _carry_on(self: SimStore, transaction: Transaction) -> None:
    self.forget_at_random(transaction)
    raise StoreUnavailable("simulated: the sync failed")


def _count_on(self: SimStore, apply: Any) -> None:
    """Advance the counters although nothing was stored: the next event leaves a hole."""
    foreseen = self.disk.replay()
    at_once(apply(foreseen))
    holes = {
        conv: len(foreseen._logs[conv].events) - len(log.events)
        for conv, log in self.memory._logs.items()
    }

    async def count_on(memory: MemoryStore) -> None:
        for conv, count in holes.items():
            log = memory._logs[conv]
            log.events += [log.events[-1]] * count

    at_once(count_on(self.memory))
    self.disk.transactions.append(Transaction(count_on, synced=True))


_append, _trim = MemoryStore._append, MemoryStore.trim


def _append_whatever_the_cid(self: MemoryStore, asked: Any) -> Any:
    log = self._logs.get(asked.conv)
    if log is not None:
        log.by_cid.clear()
    return _append(self, asked)


def _append_by_a_window_of_cids(self: MemoryStore, asked: Any) -> Any:
    log = self._logs.get(asked.conv)
    while log is not None and len(log.by_cid) > 4:
        del log.by_cid[next(iter(log.by_cid))]
    return _append(self, asked)


async def _trim_cids_too(self: MemoryStore, conv: Any, below: int, *, limit: int) -> int:
    by_cid = self._logs[conv].by_cid
    by_cid.update(((event.sender, event.cid), event) for event in self._logs[conv].events)
    floor = await _trim(self, conv, below, limit=limit)
    by_cid.clear()
    return floor


async def _keep_the_head_alone(self: MemoryStore, conv: Any, _keep: Any) -> int:
    log = self._logs.get(conv)
    return log.head if log is not None else 0


# The committer's queue


def _drop_what_waits(self: Committer) -> None:
    self._draining = True
    self._arrived.clear()
    self._queue = FairQueue()
    self._waiting_bytes = 0
    self._wake.set()


_put = FairQueue.put


def _put_in_front(self: FairQueue, entry: Entry) -> None:
    _put(self, entry)
    self._lines[entry[0].sender].entries.rotate(1)


# Sessions and delivery

_ack, _beginning = Sessions.ack, resumption.beginning
_give_page = Delivery._give_page


def _begin_one_late(member: Any, held: Any, position: Any) -> tuple[int, Any]:
    start, gap = _beginning(member, held, position)
    return (min(start + 1, held.head) if position else start), gap


def _begin_one_early(member: Any, held: Any, position: Any) -> tuple[int, Any]:
    start, gap = _beginning(member, held, position)
    return max(start - 1, 0), gap


def _begin_whatever_the_epoch(member: Any, held: Any, position: Any) -> tuple[int, Any]:
    if position is None:
        return _beginning(member, held, position)
    return min(position.seq, held.head), None


def _cursor_at_the_head(membership: Any) -> int:
    acked = membership.device_acked
    return membership.head if acked is None else acked  # type: ignore[no-any-return]


def _take_place_beside(self: Sessions, new: Any) -> str:
    self.by_robot.setdefault(new.robot, {})[new.device] = new
    return "clean"


def _skip_in_silence(self: Delivery, reader: Any) -> bool:
    last = min(reader.conversation.floor - 1, reader.goal)
    if last <= reader.sent:
        return False
    reader.sent = reader.acked = last
    return True


def _gap_without_request(*args: Any, id: int, **more: Any) -> Any:  # noqa: A002  the word of the wire
    return Gap(*args, **more)


async def _hear_nothing(self: LossWatch, _hello: Any, _memberships: Any) -> bool:
    return False


def _ack_all_that_was_sent(self: Sessions, session: Any, conv: str, seq: int) -> None:
    _ack(self, session, conv, seq)
    reader = session.readers[conv]
    self._committer.move_cursor(
        session.robot, session.device, reader.conversation.name, reader.sent
    )


def _lose_last_page(self: Delivery, reader: Any, shared: Any, page: Any) -> None:
    if page.last == reader.goal:
        reader.sent = reader.goal
        reader.session.behind[reader] = None
    else:
        _give_page(self, reader, shared, page)


def _give_page_twice(self: Delivery, reader: Any, shared: Any, page: Any) -> None:
    reader.session.peer.push(shared)
    _give_page(self, reader, shared, page)


_flush = WebSocketLink.flush


def _flush_backwards(self: WebSocketLink) -> None:
    self._out.reverse()
    _flush(self)


# The SDK

_take, _deliver, _next, _welcome = Outbox.take, Inbox.deliver, Inbox.next, Inbox.welcome


def _take_with_new_cids(self: Outbox) -> list[Any]:
    again = {key for key in self._waiting if key in self._requests and self._requests[key].written}
    frames: list[Any] = _take(self)
    return [
        structs.replace(frame, cid=frame.cid + "+")
        if isinstance(frame, Send) and frame.id in again
        else frame
        for frame in frames
    ]


def _deliver_repeats(self: Inbox, frame: Any, now_s: float) -> None:
    known = self.known(frame.conv)
    if known is not None:
        known.received = None
    _deliver(self, frame, now_s)


def _process_when_handed_out(self: Inbox) -> Any:
    item = _next(self)
    if item is not None:
        self.processed(item, 0.0)
    return item


def _believe_the_cursor(self: Inbox, states: Any) -> None:
    states = list(states)
    _welcome(self, states)
    for state in states:
        self._conversations[state.conv].acked = state.acked


def _go_on_in_any_epoch(self: Inbox, frame: Any) -> bool:
    self._conversations[frame.conv].epoch = frame.epoch
    return True


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


MUTANTS = {
    "ack-before-commit": Mutant(
        "G1 ",
        "the sender is told before the event is durable",
        Committer,
        "_write",
        _ack_before_commit,
        seed=6,
    ),
    "unsynced-commit": Mutant(
        "G1 ",
        "what is written counts as durable, as with synchronous=NORMAL",
        SimStore,
        "sync",
        _written_is_enough,
        seed=5,
    ),
    "no-cid-index": Mutant(
        "G4",
        "the store does not know which cids it has",
        MemoryStore,
        "_append",
        _append_whatever_the_cid,
    ),
    "cid-window": Mutant(
        "G4",
        "the store knows the newest cids only",
        MemoryStore,
        "_append",
        _append_by_a_window_of_cids,
    ),
    "deliver-before-commit": Mutant(
        "G8", "members see events that may vanish", Committer, "_write", _deliver_before_commit
    ),
    "counter-after-failure": Mutant(
        "G2",
        "a commit that failed moves the counter on",
        SimStore,
        "on_full",
        _count_on,
        seed=37,
    ),
    "sync-again": Mutant(
        "G1 ",
        "a failed sync is tried again, and succeeds",
        SimStore,
        "on_broken_sync",
        _sync_again,
        seed=65,
    ),
    "carry-on": Mutant(
        "G",
        "a commit of unknown outcome counts as not done",
        SimStore,
        "on_broken_sync",
        _carry_on,
        seed=14,
    ),
    "resume-late": Mutant("G11", "resume skips an event", resumption, "beginning", _begin_one_late),
    "resume-early": Mutant(
        "G11", "resume repeats an event", resumption, "beginning", _begin_one_early
    ),
    "cursor-ahead": Mutant(
        "G11",
        "the cursor moves to what was sent, not to what was processed",
        Sessions,
        "ack",
        _ack_all_that_was_sent,
        seed=2,
    ),
    "lost-last-page": Mutant(
        "G11",
        "the page that makes a reader level is not sent",
        Delivery,
        "_give_page",
        _lose_last_page,
    ),
    "page-twice": Mutant("G11", "pages are sent twice", Delivery, "_give_page", _give_page_twice),
    "joined-not-served": Mutant(
        "G10",
        "who joins while online receives nothing before the next session",
        Sessions,
        "_on_joined",
        _nothing,
        seed=1,
    ),
    "flush-backwards": Mutant(
        "G11",
        "the outbound buffer is written in the wrong order",
        WebSocketLink,
        "flush",
        _flush_backwards,
    ),
    "removed-still-served": Mutant(
        "G13", "who was removed goes on receiving", Delivery, "_cut_off", _nothing
    ),
    "removed-still-sends": Mutant(
        "G13",
        "who is being removed may still send",
        groups,
        "_losing",
        lambda *_: set(),
        seed=70,
    ),
    "new-cid-each-time": Mutant(
        "G7", "the SDK sends again under another cid", Outbox, "take", _take_with_new_cids
    ),
    "repeats-shown": Mutant(
        "G9",
        "the SDK shows what it has shown before",
        Inbox,
        "deliver",
        _deliver_repeats,
        seed=2,
    ),
    "cursor-of-another": Mutant(
        "G10",
        "the SDK takes the cursor of another device for its own acks",
        Inbox,
        "welcome",
        _believe_the_cursor,
        seed=84,
    ),
    "processed-too-early": Mutant(
        "G11",
        "the SDK acks an event when it hands it out",
        Inbox,
        "next",
        _process_when_handed_out,
        seed=30,
    ),
    "epoch-ignored": Mutant(
        "G9",
        "the server takes a place of an old epoch for one of the new",
        resumption,
        "beginning",
        _begin_whatever_the_epoch,
    ),
    "epoch-ignored-by-the-sdk": Mutant(
        "G9",
        "the SDK takes events of a new epoch for the next ones of the old",
        Inbox,
        "_change_epoch",
        _go_on_in_any_epoch,
    ),
    "alarm-unheard": Mutant(
        "G3",
        "a robot that has seen more than there is halts nothing",
        LossWatch,
        "note",
        _hear_nothing,
        seed=9,
    ),
    "gap-swallowed": Mutant(
        "G11",
        "who is behind the floor is not told what it missed",
        Delivery,
        "_skip_trimmed",
        _skip_in_silence,
        seed=4,
    ),
    "gap-not-shown": Mutant(
        "G9", "the SDK does not show a gap to the application", Inbox, "_tell", _nothing
    ),
    "gap-of-a-page-taken-for-delivery": Mutant(
        "G",
        "a hole before a page of history looks like one in what is delivered",
        history,
        "Gap",
        _gap_without_request,
        seed=4,
    ),
    "retention-eats-cids": Mutant(
        "G4",
        "letting old events go forgets the cids of events that stay",
        MemoryStore,
        "trim",
        _trim_cids_too,
        seed=11,
    ),
    "retention-eats-too-much": Mutant(
        "G1 ",
        "retention leaves nothing but the head",
        MemoryStore,
        "first_kept",
        _keep_the_head_alone,
        seed=11,
    ),
    "two-sessions": Mutant(
        "G10",
        "who is replaced by a newer session stays",
        Sessions,
        "_take_place",
        _take_place_beside,
        seed=9,
    ),
    "new-device-late": Mutant(
        "G11", "a new device begins at the head", resumption, "cursor_of", _cursor_at_the_head
    ),
    "drain-drops": Mutant(
        "G19",
        "a drain drops what was taken and waits",
        Committer,
        "drain",
        _drop_what_waits,
        seed=15,
    ),
    "queue-reorders": Mutant(
        "G6",
        "what waits of one robot goes newest first",
        FairQueue,
        "put",
        _put_in_front,
        seed=1,
    ),
    "waits-through-removal": Mutant(
        "G13",
        "what waits of a robot is stored behind its removal",
        FairQueue,
        "_withdraw",
        lambda *_: [],
        seed=100,
    ),
}
