"""What every engine's `EventLog` must do. An engine's test class inherits this and gives a `store`."""

import asyncio
import itertools

import pytest

from imserver.core.model import Mismatch, Missing
from imserver.data.store import Store
from imserver.protocol.events import Role
from imserver.protocol.names import ConversationName
from tests.contract.records import (
    DOCK,
    EVERYTHING,
    LINE,
    R1,
    R2,
    YARD,
    body_of,
    created,
    deleted,
    event,
    events,
    members,
    recalled,
    seqs,
    store_all,
    stored,
    whole_log,
)


class EventLogContract:
    """Order, exactly once, and pages."""

    async def test_events_get_consecutive_seq_in_the_order_of_the_call(self, store: Store) -> None:
        await store.append([created()])
        outcomes = await store.append(events(700))
        assert seqs(outcomes) == list(range(2, 702))
        assert [entry.cid for entry in await whole_log(store)][1:] == [f"c{n}" for n in range(700)]

    async def test_an_event_is_read_as_it_was_stored(self, store: Store) -> None:
        asked = event("c", LINE, kind="file", ref=7, body=b"\x93\x01\x02\x03")
        outcome = stored((await store.append([asked]))[0])
        [read] = await whole_log(store, LINE)
        assert read == outcome.event
        assert (read.seq, read.ts, read.sender, read.cid) == (1, asked.ts, R1, "c")
        assert type(read.ts) is int  # no class of a driver's, which no encoder knows
        assert (read.kind, read.ref, bytes(read.body)) == ("file", 7, b"\x93\x01\x02\x03")

    async def test_each_conversation_counts_by_itself(self, store: Store) -> None:
        await store.append([created(DOCK), created(YARD)])
        mixed = list(itertools.chain(*zip(events(50, DOCK), events(50, YARD), strict=True)))
        outcomes = await store.append(mixed)
        assert seqs(outcomes[0::2]) == seqs(outcomes[1::2]) == list(range(2, 52))

    async def test_a_cid_in_a_later_call_answers_the_first_event(self, store: Store) -> None:
        [first] = await store_all(store, [event("c", LINE)])
        again = stored((await store.append([event("c", LINE)]))[0])
        assert again.dup
        assert again.event == first
        assert len(await whole_log(store, LINE)) == 1

    async def test_a_cid_twice_in_one_call_is_stored_once(self, store: Store) -> None:
        first, again, third = await store.append(
            [event("c", LINE), event("c", LINE), event("d", LINE)]
        )
        assert [stored(outcome).dup for outcome in (first, again, third)] == [False, True, False]
        assert stored(again).event == stored(first).event
        assert seqs(await whole_log(store, LINE)) == [1, 2]

    async def test_a_cid_twice_in_a_call_is_new_once_whatever_stands_between(
        self, store: Store
    ) -> None:
        await store_all(store, [event("known", LINE)])
        cids = ("first", "known", "first", "known", "last")
        outcomes = await store.append([event(cid, LINE) for cid in cids])
        assert seqs(outcomes) == [2, 1, 2, 1, 3]
        assert [stored(outcome).dup for outcome in outcomes] == [False, True, True, True, False]

    async def test_repeats_anywhere_in_a_large_call_leave_no_gap(self, store: Store) -> None:
        await store_all(store, [event(f"c{number}", LINE) for number in range(0, 600, 7)])
        outcomes = await store.append([*events(600, LINE), *events(600, LINE)])
        assert [stored(outcome).dup for outcome in outcomes[:600]] == [
            n % 7 == 0 for n in range(600)
        ]
        assert all(stored(outcome).dup for outcome in outcomes[600:])
        assert seqs(outcomes[600:]) == seqs(outcomes[:600])
        assert seqs(await whole_log(store, LINE)) == list(range(1, 601))

    async def test_a_call_of_repeats_alone_stores_nothing(self, store: Store) -> None:
        first = await store_all(store, events(300, LINE))
        outcomes = await store.append(events(300, LINE))
        assert [stored(outcome).event for outcome in outcomes] == first
        assert all(stored(outcome).dup for outcome in outcomes)
        assert len(await whole_log(store, LINE)) == 300

    async def test_recalling_finds_what_is_stored_and_stores_nothing(self, store: Store) -> None:
        await store.append([created()])
        [first] = await store.append([event("c")])
        asked = [recalled("c"), recalled("other"), recalled("c", LINE), recalled("c", YARD)]
        outcomes = await store.append([*asked, event("next")])
        assert stored(outcomes[0]).event == stored(first).event
        assert stored(outcomes[0]).dup
        assert outcomes[1:4] == [Missing(), Missing(), Missing()]
        assert seqs(outcomes[4:]) == [3]
        assert await store.conversation(LINE) is None

    async def test_a_group_that_has_ended_is_recalled_all_the_same(self, store: Store) -> None:
        await store.append([created(), event("c"), deleted("end")])
        [outcome] = await store.append([recalled("c")])
        assert stored(outcome).event.seq == 2

    async def test_a_cid_belongs_to_its_sender_and_conversation(self, store: Store) -> None:
        await store.append([created(DOCK), created(YARD)])
        await store_all(
            store,
            [event("c", DOCK), event("c", DOCK, sender=R2), event("c", YARD), event("c", LINE)],
        )

    @pytest.mark.parametrize(
        "other",
        [
            event("c", LINE, body=b"\xa5other"),
            event("c", LINE, kind="file"),
            event("c", LINE, ref=1),
        ],
        ids=["body", "kind", "ref"],
    )
    @pytest.mark.parametrize("one_call", [True, False])
    async def test_a_cid_with_another_content_is_refused(
        self, store: Store, other, one_call
    ) -> None:
        first = [event("b", LINE), event("c", LINE)]
        if one_call:
            *_, outcome, after = await store.append([*first, other, event("d", LINE)])
        else:
            await store_all(store, first)
            outcome, after = await store.append([other, event("d", LINE)])
        assert outcome == Mismatch(seq=2)
        assert stored(after).event.seq == 3

    async def test_events_of_an_unknown_group_are_refused_alone(self, store: Store) -> None:
        await store.append([created()])
        outcomes = await store.append([event("a"), event("b", YARD), event("c")])
        assert outcomes[1] == Missing()
        assert seqs([outcomes[0], outcomes[2]]) == [2, 3]
        assert await store.conversation(YARD) is None

    async def test_a_direct_line_begins_with_its_first_event(self, store: Store) -> None:
        assert await store.conversation(LINE) is None
        outcomes = await store.append([event("a", LINE), event("b", LINE, sender=R2)])
        assert seqs(outcomes) == [1, 2]
        assert await members(store, LINE) == {R1: (Role.MEMBER, 1), R2: (Role.MEMBER, 1)}

    async def test_all_events_of_a_conversation_carry_its_epoch(self, store: Store) -> None:
        outcomes = await store.append([event("a", LINE), event("a", LINE), event("b", LINE)])
        record = await store.conversation(LINE)
        assert record is not None
        assert {stored(outcome).epoch for outcome in outcomes} == {record.epoch}

    async def test_an_empty_call_does_nothing(self, store: Store) -> None:
        assert await store.append([]) == []

    @pytest.mark.parametrize(
        "body",
        [
            *(b"\xc0", b"\x00", b"\xff", b"\xc4\x00", b"\xc4\x02\xff\xfe", b"\x91\xc4\x01\xd5"),
            *(b"\xc5\x01\x00" + bytes(range(256)), b"\xd9\x01a", body_of(262_144)),
        ],
        ids=lambda body: bytes(body[:8]).hex(),
    )
    async def test_any_body_comes_back_byte_for_byte(self, store: Store, body: bytes) -> None:
        await store_all(store, [event("a", LINE, body=body), event("b", LINE, body=body)])
        assert [bytes(entry.body) for entry in await whole_log(store, LINE)] == [body, body]
        assert stored((await store.append([event("a", LINE, body=body)]))[0]).dup

    @pytest.mark.parametrize(
        "cid", ['"', "\\", "\x00", "\x7f", "ä€🤖", "a\x00b", "\u2028", "' OR 1"]
    )
    async def test_any_text_makes_a_cid(self, store: Store, cid: str) -> None:
        await store_all(store, [event(cid, LINE), event(cid + "x", LINE)])
        assert [entry.cid for entry in await whole_log(store, LINE)] == [cid, cid + "x"]
        assert stored((await store.append([event(cid, LINE)]))[0]).dup

    async def test_pages_forwards_join_to_the_whole_log(self, store: Store) -> None:
        await store_all(store, events(25, LINE))
        pages = [
            seqs(await store.read_after(LINE, after, limit=10, bytes_max=EVERYTHING))
            for after in (0, 10, 20, 25, 99)
        ]
        assert pages == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26)), [], []]

    async def test_pages_backwards_come_in_log_order(self, store: Store) -> None:
        await store_all(store, events(25, LINE))
        pages = [
            seqs(await store.read_before(LINE, before, limit=10, bytes_max=EVERYTHING))
            for before in (26, 16, 6, 1, 99)
        ]
        assert pages[:3] == [list(range(16, 26)), list(range(6, 16)), list(range(1, 6))]
        assert pages[3:] == [[], list(range(16, 26))]

    async def test_a_page_of_an_unknown_conversation_is_empty(self, store: Store) -> None:
        assert await store.read_after(LINE, 0, limit=10, bytes_max=EVERYTHING) == []
        assert await store.read_before(LINE, 10, limit=10, bytes_max=EVERYTHING) == []

    async def test_pages_end_where_their_conversation_ends(self, store: Store) -> None:
        lines = [ConversationName(f"d/r{number}/s") for number in range(3)]
        for line in lines:
            await store_all(store, events(3, line, prefix=line))
        for line in lines:
            forwards = await store.read_after(line, 0, limit=100, bytes_max=EVERYTHING)
            backwards = await store.read_before(line, 100, limit=100, bytes_max=EVERYTHING)
            assert [entry.cid for entry in forwards] == [f"{line}{number}" for number in range(3)]
            assert backwards == forwards

    @pytest.mark.parametrize(
        ("bytes_max", "count"), [(0, 1), (99, 1), (100, 1), (250, 2), (300, 3)]
    )
    async def test_a_page_holds_what_fits_in_its_bytes(
        self, store: Store, bytes_max, count
    ) -> None:
        await store_all(
            store, [event(f"c{number}", LINE, body=body_of(100)) for number in range(5)]
        )
        after = await store.read_after(LINE, 1, limit=10, bytes_max=bytes_max)
        before = await store.read_before(LINE, 5, limit=10, bytes_max=bytes_max)
        assert seqs(after) == [2, 3, 4][:count]
        assert seqs(before) == [2, 3, 4][-count:]

    @pytest.mark.parametrize(("limit", "bytes_max"), [(1, 0), (3, 1_000), (40, 1_000), (9, 250)])
    async def test_a_page_can_be_had_as_it_is_delivered(
        self, store: Store, limit: int, bytes_max: int
    ) -> None:
        asked = [event(f"c{n}", LINE, body=body_of(100), ref=n or None) for n in range(20)]
        await store_all(store, asked)
        for after in (0, 3, 18, 19):
            plain = await store.read_after(LINE, after, limit=limit, bytes_max=bytes_max)
            page = await store.read_page(LINE, after, limit=limit, bytes_max=bytes_max)
            assert page is not None
            assert (page.first, page.last) == (plain[0].seq, plain[-1].seq)
            assert page.events == plain

    async def test_there_is_no_page_where_there_are_no_events(self, store: Store) -> None:
        await store_all(store, events(3, LINE))
        assert await store.read_page(LINE, 3, limit=10, bytes_max=EVERYTHING) is None
        assert await store.read_page(DOCK, 0, limit=10, bytes_max=EVERYTHING) is None
        assert await store.read_page(LINE, 0, limit=0, bytes_max=EVERYTHING) is None

    async def test_a_page_ends_before_the_first_body_that_does_not_fit(self, store: Store) -> None:
        sizes = [10, 10, 5000, 10]
        await store_all(
            store, [event(f"c{n}", LINE, body=body_of(size)) for n, size in enumerate(sizes)]
        )
        assert seqs(await store.read_after(LINE, 0, limit=10, bytes_max=100)) == [1, 2]
        assert seqs(await store.read_before(LINE, 5, limit=10, bytes_max=100)) == [4]

    async def test_one_event_is_read_by_its_seq(self, store: Store) -> None:
        asked = await store_all(store, events(3, LINE))
        found = [await store.read_one(LINE, seq) for seq in (0, 1, 3, 4)]
        assert found == [None, asked[0], asked[2], None]
        assert await store.read_one(YARD, 1) is None

    async def test_the_last_edit_decides(self, store: Store) -> None:
        await store_all(store, [*events(4, LINE), event("e1", LINE, kind="edit", ref=2)])
        await store_all(
            store,
            [
                event("e2", LINE, kind="edit", ref=2),
                event("e3", LINE, kind="edit", ref=3),
                event("answer", LINE, ref=1),
            ],
        )
        found = await store.amendments(LINE, [1, 2, 4], until=8)
        assert {seq: entry.cid for seq, entry in found.items()} == {2: "e2"}

    async def test_a_redaction_stands_against_later_edits(self, store: Store) -> None:
        await store_all(
            store,
            [
                event("m", LINE),
                event("gone", LINE, kind="redact", ref=1),
                event("late", LINE, kind="edit", ref=1),
            ],
        )
        found = await store.amendments(LINE, [1], until=3)
        assert found[1].cid == "gone"

    async def test_what_amends_later_does_not_count_yet(self, store: Store) -> None:
        edits = [event(f"e{number}", LINE, kind="edit", ref=1) for number in (2, 3)]
        await store_all(
            store, [event("m", LINE), *edits, event("gone", LINE, kind="redact", ref=1)]
        )
        deciding = [
            {seq: entry.cid for seq, entry in found.items()}
            for found in [await store.amendments(LINE, [1], until=until) for until in range(6)]
        ]
        assert deciding == [{}, {}, {1: "e2"}, {1: "e3"}, {1: "gone"}, {1: "gone"}]

    async def test_amendments_stay_in_their_conversation(self, store: Store) -> None:
        other = ConversationName("d/r1/r3")
        await store_all(store, [event("m", LINE), event("n", other)])
        await store_all(store, [event("e", other, kind="edit", ref=1)])
        assert await store.amendments(LINE, [1], until=1) == {}
        assert await store.amendments(YARD, [1], until=1) == {}
        assert await store.amendments(LINE, [], until=1) == {}

    async def test_what_was_appended_is_seen_at_once(self, store: Store) -> None:
        for number in range(100):
            [entry] = await store_all(store, [event(f"c{number}", LINE)])
            assert await store.read_one(LINE, entry.seq) == entry

    async def test_appends_of_many_tasks_make_one_log(self, store: Store) -> None:
        async def send(task: int) -> list[int]:
            own: list[int] = []
            for number in range(10):
                own += seqs(await store.append([event(f"{task}-{number}", LINE)]))
            return own

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(send(task)) for task in range(30)]
        given = [task.result() for task in tasks]
        assert all(own == sorted(own) for own in given)
        assert sorted(itertools.chain(*given)) == list(range(1, 301))
        assert seqs(await whole_log(store, LINE)) == list(range(1, 301))

    async def test_reads_beside_writes_see_no_gap(self, store: Store) -> None:
        writing = True

        async def write() -> None:
            nonlocal writing
            for number in range(100):
                await store.append(events(10, LINE, prefix=f"{number}-"))
            writing = False

        async def read() -> int:
            seen = 0
            while writing or seen < 1000:
                for entry in await store.read_after(LINE, seen, limit=64, bytes_max=EVERYTHING):
                    assert entry.seq == seen + 1
                    seen = entry.seq
                await asyncio.sleep(0)  # an engine in memory never waits
            return seen

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read()) for _ in range(3)]
            group.create_task(write())
        assert [reader.result() for reader in readers] == [1000, 1000, 1000]
