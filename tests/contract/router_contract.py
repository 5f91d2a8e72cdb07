"""The contract of the route tier's port, as far as one node can see it: every engine passes all of it.

An engine's test class inherits `RouterContract` and gives a fixture ``router``. How fast a hint arrives is
the engine's business: the tests wait until it is there.
"""

import asyncio

import pytest
from msgspec import Raw

from imserver.core.model import Run
from imserver.protocol.events import Event
from imserver.protocol.names import ConversationName
from imserver.protocol.server_frames import SignalValue
from imserver.route.router import Router
from tests.until import PATIENCE_S

A, B = ConversationName("g/a"), ConversationName("g/b")


class Ear:
    """A `RouteListener` that keeps what it hears, in order."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.signals: list[SignalValue] = []
        self.heads: list[tuple[ConversationName, int]] = []
        self.notices: list[bytes] = []
        self.followed: list[ConversationName] = []
        self.connections = 0
        self.times_unheard = 0

    def on_committed(self, run: Run) -> None:
        self.runs.append(run)

    def on_signal(self, signal: SignalValue) -> None:
        self.signals.append(signal)

    def on_head(self, conv: ConversationName, seq: int) -> None:
        self.heads.append((conv, seq))

    def on_notice(self, notice: bytes) -> None:
        self.notices.append(notice)

    def on_followed(self, conv: ConversationName) -> None:
        self.followed.append(conv)

    def on_connected(self) -> None:
        self.connections += 1

    def on_unheard(self) -> None:
        self.times_unheard += 1

    async def wait_heard(self, *, runs: int = 0, signals: int = 0) -> None:
        """Return when so much was heard."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.runs) < runs or len(self.signals) < signals:
                await asyncio.sleep(0.001)

    def seqs(self, conv: ConversationName) -> list[int]:
        """Return the seqs of a conversation's events, as they came."""
        return [event.seq for run in self.runs if run.conv == conv for event in run.events]


def run(conv: ConversationName, first: int, count: int = 1) -> Run:
    body = Raw(b"\xa2hi")
    events = [
        Event(seq, 1_000 + seq, "r1", f"c{seq}", "message", body, ref=1)
        for seq in range(first, first + count)
    ]
    return Run(conv, "epoch-1", events)


def signal(rev: int, *, conv: ConversationName = A) -> SignalValue:
    return SignalValue(conv, "r1", "position", Raw(b"\x92\x01\x02"), rev)


class RouterContract:
    """What every router promises."""

    @pytest.fixture
    def router(self) -> Router:
        raise NotImplementedError("an engine's test class gives its router")

    @pytest.fixture
    def ear(self, router: Router) -> Ear:
        ear = Ear()
        router.attach(ear)
        return ear

    async def test_the_publishing_node_hears_its_own_events(self, router: Router, ear: Ear) -> None:
        router.follow(A)
        router.publish(run(A, 1, 3))
        await ear.wait_heard(runs=1)
        assert ear.runs == [run(A, 1, 3)]

    async def test_what_is_handed_on_was_heard(self, router: Router, ear: Ear) -> None:
        router.follow(A)
        router.publish(run(A, 1))
        router.publish_signal(signal(1))
        await router.handed_on()
        assert (ear.runs, ear.signals) == ([run(A, 1)], [signal(1)])

    async def test_it_hears_them_without_having_a_reader(self, router: Router, ear: Ear) -> None:
        router.publish(run(A, 1))
        await ear.wait_heard(runs=1)
        assert ear.seqs(A) == [1]

    async def test_events_of_a_conversation_come_in_order_and_once(
        self, router: Router, ear: Ear
    ) -> None:
        for seq in range(1, 101):
            router.publish(run(A if seq % 3 else B, seq))
        await ear.wait_heard(runs=100)
        assert ear.seqs(A) == [seq for seq in range(1, 101) if seq % 3]
        assert ear.seqs(B) == [seq for seq in range(1, 101) if not seq % 3]
        assert len(ear.runs) == 100

    async def test_a_signal_is_heard_as_it_was_published(self, router: Router, ear: Ear) -> None:
        router.follow(A)
        router.publish_signal(signal(7))
        await ear.wait_heard(signals=1)
        assert ear.signals == [signal(7)] and ear.runs == []

    async def test_signals_of_a_conversation_come_in_order(self, router: Router, ear: Ear) -> None:
        router.follow(A)
        for rev in range(50):
            router.publish_signal(signal(rev))
        await ear.wait_heard(signals=50)
        assert [each.rev for each in ear.signals] == list(range(50))

    async def test_following_and_letting_go_may_be_said_again_and_in_any_order(
        self, router: Router, ear: Ear
    ) -> None:
        router.unfollow(A)
        for _ in range(2):
            router.follow(A)
        for _ in range(3):
            router.unfollow(A)
        router.publish(run(A, 1))
        await ear.wait_heard(runs=1)
        assert ear.seqs(A) == [1]

    async def test_what_a_node_tells_the_others_it_does_not_hear_itself(
        self, router: Router, ear: Ear
    ) -> None:
        router.tell(b"\xa2hi")
        router.publish(run(A, 1))
        await ear.wait_heard(runs=1)
        assert ear.notices == []

    async def test_a_second_listener_is_refused(self, router: Router, ear: Ear) -> None:
        with pytest.raises(RuntimeError, match="listener"):
            router.attach(Ear())
        router.publish(run(A, 1))
        await ear.wait_heard(runs=1)

    async def test_nothing_is_published_before_there_is_a_listener(self, router: Router) -> None:
        with pytest.raises(RuntimeError, match="attach"):
            router.publish(run(A, 1))
        with pytest.raises(RuntimeError, match="attach"):
            router.publish_signal(signal(1))
