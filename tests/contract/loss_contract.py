"""What every engine must do when a robot has seen what is not there.

An engine's test class gives ``doubtful_store``: a context manager that makes a store whose process died, with
what ``fill`` stored before.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from imserver.core.model import Halted, Mismatch, Stored
from imserver.data.store import Store
from tests.contract.records import (
    DOCK,
    LINE,
    YARD,
    added,
    created,
    event,
    events,
    robot,
    store_all,
    whole_log,
)

Fill = Callable[[Store], Awaitable[None]]


async def _fill(store: Store) -> None:
    await store.append([created(DOCK), created(YARD)])
    await store.append(events(4))


class LossContract:
    """A conversation that lost its end takes nothing more."""

    doubtful_store: Callable[[Fill], AbstractAsyncContextManager[Store]]

    async def test_a_conversation_that_lost_its_end_gives_no_seq_again(self) -> None:
        async with self.doubtful_store(_fill) as store:
            assert await store.note_loss(DOCK, 9)
            refused = await store.append([event("new"), added("a", robot("r2").name)])
            assert refused == [Halted(9), Halted(9)]
            assert len(await whole_log(store)) == 5

    async def test_what_is_stored_there_is_answered_as_before(self) -> None:
        async with self.doubtful_store(_fill) as store:
            await store.note_loss(DOCK, 9)
            again, other = await store.append([event("c2"), event("c2", body=b"\x01")])
            assert isinstance(again, Stored) and again.dup
            assert isinstance(other, Mismatch)

    async def test_other_conversations_go_on(self) -> None:
        async with self.doubtful_store(_fill) as store:
            await store.note_loss(DOCK, 9)
            await store_all(store, [event("m", YARD), event("m", LINE)])

    async def test_the_furthest_witness_counts(self) -> None:
        async with self.doubtful_store(_fill) as store:
            for seen in (8, 20, 7):
                assert await store.note_loss(DOCK, seen)
            assert await store.append([event("new")]) == [Halted(20)]

    async def test_a_witness_of_what_is_there_halts_nothing(self) -> None:
        async with self.doubtful_store(_fill) as store:
            assert not await store.note_loss(DOCK, 5)
            assert not await store.note_loss(LINE, 5)
            await store_all(store, [event("new")])

    async def test_one_robot_s_word_halts_nothing_in_a_store_that_ended_well(
        self, store: Store
    ) -> None:
        await _fill(store)
        assert not await store.note_loss(DOCK, 2**40)
        await store_all(store, [event("new")])
