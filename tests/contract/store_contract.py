"""The contract of the data tier's ports: every engine passes all of it.

An engine's test class inherits `StoreContract` and gives two things: a fixture ``store``, and `fresh_store`,
a context manager that makes one where there are no fixtures.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imserver.core.model import Append, Created, Cursor, Deleted, Mismatch, Missing, Stored, Taken
from imserver.data.store import Store
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName, is_group
from tests.contract.administration_contract import AdministrationContract, BootsContract
from tests.contract.event_log_contract import EventLogContract
from tests.contract.loss_contract import LossContract
from tests.contract.records import (
    MAIN,
    R1,
    R2,
    change,
    content_of,
    cursor,
    event,
    seen_in,
    whole_log,
)
from tests.contract.registry_contract import (
    CursorContract,
    MembershipContract,
    RegistryContract,
)
from tests.contract.retention_contract import RetentionContract

CONVS = [ConversationName(name) for name in ("g/a", "g/b", "d/r1/r2", "d/r1/r3")]
_convs = st.sampled_from(CONVS)
_cids = st.sampled_from(["c1", "c2", "c3", "c4", "c5"])
_appends = st.one_of(
    st.builds(
        event,
        _cids,
        _convs,
        sender=st.sampled_from([R1, R2]),
        kind=st.sampled_from(["message", "edit"]),
        body=st.binary(max_size=3).map(msgspec.msgpack.encode),
        ref=st.none() | st.integers(1, 2),
    ),
    st.builds(change, _cids, st.just(Created(members={R1: Role.OWNER}, open=False)), _convs),
    st.builds(change, _cids, st.just(Deleted()), st.sampled_from(CONVS[:2])),
)
_cursors = st.builds(cursor, st.integers(0, 6), _convs)
_trims = st.tuples(_convs, st.integers(0, 9), st.integers(1, 3))
any_calls = st.lists(
    st.tuples(
        st.lists(_appends, max_size=8),
        st.lists(_cursors, max_size=3),
        st.lists(_trims, max_size=1),
    ),
    max_size=6,
)


class Model:
    """The logs as plain lists: what the port's docstring says, written down the simplest way."""

    def __init__(self) -> None:
        self.logs: dict[ConversationName, list[Append]] = {}
        self.ended: set[ConversationName] = set()
        self.cursors: dict[ConversationName, int] = {}
        self.floors: dict[ConversationName, int] = {}

    def append(self, asked: Append) -> tuple[type, int | None, bool]:
        """Return the kind of outcome, its seq and whether it is a repeat."""
        log = self.logs.get(asked.conv)
        if log is None:
            if is_group(asked.conv) and not isinstance(asked.change, Created):
                return Missing, None, False
            log = self.logs[asked.conv] = []
        for seq, first in enumerate(log, 1):
            if seq < self.floor(asked.conv):
                continue
            if (first.sender, first.cid) == (asked.sender, asked.cid):
                same = (first.kind, first.ref, first.body) == (asked.kind, asked.ref, asked.body)
                return (Stored, seq, True) if same else (Mismatch, seq, False)
        if isinstance(asked.change, Created) and log:
            return Taken, None, False
        if asked.conv in self.ended:
            return Missing, None, False
        log.append(asked)
        if isinstance(asked.change, Deleted):
            self.ended.add(asked.conv)
        return Stored, len(log), False

    def floor(self, conv: ConversationName) -> int:
        return self.floors.get(conv, 1)

    def trim(self, conv: ConversationName, below: int, limit: int) -> int:
        """Return the floor."""
        head = len(self.logs.get(conv, []))
        if not head:
            return 0
        floor = self.floor(conv)
        self.floors[conv] = max(floor, min(below, head, floor + limit))
        return self.floors[conv]

    def move(self, moved: Cursor) -> None:
        if moved.seq <= len(self.logs.get(moved.conv, [])) and moved.conv in self.logs:
            self.cursors[moved.conv] = max(moved.seq, self.cursors.get(moved.conv, 0))


class StoreContract(
    AdministrationContract,
    BootsContract,
    EventLogContract,
    RetentionContract,
    MembershipContract,
    CursorContract,
    LossContract,
    RegistryContract,
):
    """All of it, and a comparison with the model."""

    fresh_store: Callable[[], AbstractAsyncContextManager[Store]]

    @settings(max_examples=150, suppress_health_check=[HealthCheck.differing_executors])
    @given(calls=any_calls)
    def test_any_calls_end_as_in_the_model(self, calls) -> None:
        self.compare_with_model(calls)

    def compare_with_model(self, calls) -> None:
        compare_with_model(self.fresh_store, calls)


def compare_with_model(
    fresh_store: Callable[[], AbstractAsyncContextManager[Store]], calls
) -> None:
    async def compare() -> None:
        async with fresh_store() as store:
            model = Model()
            for asked, moved, trims in calls:
                outcomes = await store.append(asked)
                expected = [model.append(one) for one in asked]
                await store.move_cursors(moved)
                for one in moved:
                    model.move(one)
                assert [seen_in(outcome) for outcome in outcomes] == expected
                for conv, below, limit in trims:
                    floor = await store.trim(conv, below, limit=limit)
                    assert floor == model.trim(conv, below, limit)
            for conv in CONVS:
                await _compare(store, model, conv)

    asyncio.run(compare())


async def _compare(store: Store, model: Model, conv: ConversationName) -> None:
    log = model.logs.get(conv, [])
    entries = await whole_log(store, conv)
    assert [content_of(entry) for entry in entries] == [
        (seq, one.sender, one.cid, one.kind, one.ref, one.body)
        for seq, one in enumerate(log, 1)
        if seq >= model.floor(conv)
    ]
    acked = await store.acked(conv)
    assert acked == ({R1: model.cursors[conv]} if conv in model.cursors else {})
    for membership in await store.memberships(R1, MAIN):
        assert membership.head == len(model.logs[membership.conv])
