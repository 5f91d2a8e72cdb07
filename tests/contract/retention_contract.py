"""What every engine must do when the oldest events of a log are let go."""

from msgspec import structs

from imserver.core.model import Keep, Stored
from imserver.data.store import Store
from imserver.protocol.names import ConversationName
from tests.contract.records import (
    EVERYTHING,
    LINE,
    MAIN,
    R1,
    YARD,
    body_of,
    created,
    cursor,
    event,
    events,
    members,
    seqs,
    store_all,
    stored,
    whole_log,
)

MANY = 1_000


async def floor_of(store: Store, conv: ConversationName) -> int:
    record = await store.conversation(conv)
    assert record is not None
    return record.floor


class RetentionContract:
    """A log loses its oldest events, its floor says so, and everything else stays as it was."""

    async def test_events_below_are_gone_and_the_others_stay(self, store: Store) -> None:
        log = await store_all(store, events(20, LINE))
        assert await store.trim(LINE, 8, limit=MANY) == 8
        assert await whole_log(store, LINE) == log[7:]
        assert await store.read_one(LINE, 7) is None
        assert await store.read_one(LINE, 8) == log[7]
        page = await store.read_page(LINE, 2, limit=3, bytes_max=EVERYTHING)
        assert page is not None
        assert (page.first, page.last, page.events) == (8, 10, log[7:10])

    async def test_the_floor_is_told_with_the_conversation_and_to_its_members(
        self, store: Store
    ) -> None:
        await store_all(store, events(20, LINE))
        assert await floor_of(store, LINE) == 1
        await store.trim(LINE, 8, limit=MANY)
        assert await floor_of(store, LINE) == 8
        [membership] = await store.memberships(R1, MAIN)
        assert (membership.floor, membership.head) == (8, 20)

    async def test_one_step_takes_no_more_than_its_limit(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        floors = [await store.trim(LINE, 18, limit=5) for _ in range(5)]
        assert floors == [6, 11, 16, 18, 18]

    async def test_one_step_takes_few_large_events_but_one_at_least(self, store: Store) -> None:
        body = body_of(400_000)
        await store_all(store, [event(f"c{n}", LINE, body=body) for n in range(8)])
        floor = await store.trim(LINE, 8, limit=MANY)
        assert 2 <= floor <= 8
        while await store.trim(LINE, 8, limit=MANY) < 8:
            pass
        assert seqs(await whole_log(store, LINE)) == [8]

    async def test_the_head_stays_always(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        assert await store.trim(LINE, 2**40, limit=MANY) == 20
        assert await store.trim(LINE, 2**40, limit=MANY) == 20
        assert seqs(await whole_log(store, LINE)) == [20]
        assert stored((await store.append([event("new", LINE)]))[0]).event.seq == 21

    async def test_a_floor_never_goes_down(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        await store.trim(LINE, 8, limit=MANY)
        for below in (0, -3, 1, 7, 8):
            assert await store.trim(LINE, below, limit=MANY) == 8

    async def test_an_unknown_conversation_has_no_floor(self, store: Store) -> None:
        assert await store.trim(LINE, 8, limit=MANY) == 0
        assert await store.first_kept(LINE, Keep(events=1)) == 0

    async def test_pages_begin_at_the_floor(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        await store.trim(LINE, 8, limit=MANY)
        forwards = [
            seqs(await store.read_after(LINE, after, limit=3, bytes_max=EVERYTHING))
            for after in (0, 6, 7, 8)
        ]
        assert forwards == [[8, 9, 10], [8, 9, 10], [8, 9, 10], [9, 10, 11]]
        backwards = [
            seqs(await store.read_before(LINE, before, limit=3, bytes_max=EVERYTHING))
            for before in (21, 10, 9, 8, 3)
        ]
        assert backwards == [[18, 19, 20], [8, 9], [8], [], []]

    async def test_other_logs_cursors_and_members_stay(self, store: Store) -> None:
        await store.append([created(members=["r2"]), created(YARD), *events(9, YARD)])
        await store.append(events(9))
        await store.move_cursors([cursor(4)])
        await store.trim(YARD, 8, limit=MANY)
        await store.trim(created().conv, 8, limit=MANY)
        assert seqs(await whole_log(store, YARD)) == [8, 9, 10]
        assert await store.acked(created().conv) == {R1: 4}
        assert len(await members(store)) == 2

    async def test_a_cid_is_known_for_as_long_as_its_event_is_kept(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        await store.trim(LINE, 8, limit=MANY)
        gone, kept = await store.append([event("c0", LINE), event("c7", LINE)])
        assert (stored(gone).dup, stored(gone).event.seq) == (False, 21)
        assert (stored(kept).dup, stored(kept).event.seq) == (True, 8)

    async def test_the_newest_are_kept_by_number(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        found = [await store.first_kept(LINE, Keep(events=n)) for n in (0, 1, 5, 20, 99)]
        assert found == [20, 20, 16, 1, 1]

    async def test_the_newest_are_kept_by_age(self, store: Store) -> None:
        asked = [structs.replace(event(f"c{n}", LINE), ts=1_000 + 10 * n) for n in range(20)]
        await store.append(asked)
        found = [
            await store.first_kept(LINE, Keep(since_ms=since)) for since in (0, 1_050, 1_055, 9_999)
        ]
        assert found == [1, 6, 7, 20]

    async def test_an_event_in_the_past_goes_with_the_older_ones_before_it(
        self, store: Store
    ) -> None:
        times = [100, 100, 900, 100, 900]
        asked = [structs.replace(event(f"c{n}", LINE), ts=ts) for n, ts in enumerate(times)]
        await store.append(asked)
        assert await store.first_kept(LINE, Keep(since_ms=500)) == 3
        assert await store.first_kept(LINE, Keep(since_ms=500, events=2)) == 4

    async def test_the_newest_are_kept_by_size(self, store: Store) -> None:
        sizes = [100, 100, 500, 10, 10]
        asked = [event(f"c{n}", LINE, body=body_of(size)) for n, size in enumerate(sizes)]
        await store.append(asked)
        found = [
            await store.first_kept(LINE, Keep(body_bytes=size)) for size in (0, 10, 25, 519, 520)
        ]
        assert found == [5, 5, 4, 4, 3]

    async def test_the_strictest_rule_counts_and_none_goes_below_the_floor(
        self, store: Store
    ) -> None:
        await store_all(store, events(20, LINE))
        assert await store.first_kept(LINE, Keep(since_ms=0, events=5, body_bytes=2**30)) == 16
        await store.trim(LINE, 10, limit=MANY)
        assert await store.first_kept(LINE, Keep()) == 10
        assert await store.first_kept(LINE, Keep(since_ms=0, events=99, body_bytes=2**30)) == 10

    async def test_a_log_goes_on_after_it_was_trimmed(self, store: Store) -> None:
        await store_all(store, events(20, LINE))
        await store.trim(LINE, 15, limit=MANY)
        outcomes = await store.append(events(10, LINE, prefix="later"))
        assert all(isinstance(outcome, Stored) for outcome in outcomes)
        assert seqs(await whole_log(store, LINE)) == list(range(15, 31))
