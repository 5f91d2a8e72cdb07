"""What a robot decides: who it says it is, what it writes again, when it comes back."""

import random

import msgspec
import pytest

from client_sdk.errors import (
    ConnectionLost,
    NoAnswer,
    OutcomeUnknown,
    Refused,
    StayAway,
    WrongServer,
)
from client_sdk.introduction import Credentials, Introduction
from client_sdk.keys import RobotKey
from client_sdk.machine import Machine
from client_sdk.memory import Bound, KeptRecord, KeptSend, Recollection
from client_sdk.options import Options
from client_sdk.outbox import Repeat
from client_sdk.records import Sent
from client_sdk.states import State
from imserver.protocol import server_frames as wire
from imserver.protocol.client_frames import (
    Ack,
    CreateGroup,
    Follow,
    Hello,
    Position,
    Prove,
    Register,
    Send,
    Signal,
    WhoAmI,
)
from imserver.protocol.codec import MSGPACK
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import Limits
from imserver.protocol.proof import signed_text
from tests.unit.client_sdk.frames import CONV, EPOCH, raw, run, state, welcome

KEY = RobotKey.generate()


class Driver:
    """A machine with its clock, driven by hand."""

    def __init__(self, *, token=None, bearer="b", key=None, server=None, **options):
        credentials = Credentials(key=key, token=token, bearer=None if key else bearer)
        introduction = Introduction(
            credentials,
            robot="r1",
            device="main",
            instance="i",
            window=8,
            auto=options.get("auto", True),
            server=server,
        )
        self.machine = Machine(
            introduction, Options(window=8, **options), codec=MSGPACK, dice=random.Random(1)
        )
        self.now_s = 100.0

    def connect(self):
        self.machine.connecting(self.now_s)
        self.machine.connected()
        return self.frames()

    def go_online(self, *states, limits=None):
        frames = self.connect()
        self.receive(welcome(*states, limits=limits))
        assert self.machine.state is State.ONLINE
        return frames

    def frames(self):
        return self.machine.take_frames()

    def receive(self, *frames):
        for frame in frames:
            self.machine.received(frame, self.now_s)

    def lose(self, code=1006, reason="broke"):
        self.machine.disconnected(code, reason, self.now_s)

    def wait_s(self):
        assert self.machine.state is State.WAITING
        return self.machine.retry_at_s - self.now_s

    def send(self, request_id=900, *, cid="c", timeout_s=30.0):
        frame = Send(request_id, CONV, cid, raw({"a": 1}))
        self.machine.requests.submit(frame, repeat=Repeat.SAFE, deadline_s=self.now_s + timeout_s)
        return frame

    def change(self, request_id=800):
        frame = CreateGroup(request_id, "dock")
        self.machine.requests.submit(frame, repeat=Repeat.NEVER, deadline_s=self.now_s + 30)
        return frame

    def keep(self):
        """Write what is noted for the memory, and return it."""
        changes = self.machine.notes.take(self.now_s)
        if changes:
            self.machine.notes.written()
        return changes

    def advance(self, seconds):
        self.now_s += seconds
        self.machine.tick(self.now_s)

    def answer(self):
        answers = self.machine.requests.take_ended()
        assert len(answers) == 1, answers
        return answers[0][1]


def sent(request_id=900, *, seq=1, dup=False):
    return wire.Sent(request_id, CONV, EPOCH, seq, 5, dup=dup)


def error(code, *, request_id=None, retry_after=None, fatal=False):
    return wire.Error(code, "no", fatal, id=request_id, retry_after=retry_after)


# Who it says it is.


def test_a_bearer_token_is_shown_in_hello():
    (hello,) = Driver(bearer="secret").connect()
    assert hello == Hello("r1", "main", "secret", {}, 8, True, "i")


def test_a_key_proves_the_challenge():
    driver = Driver(key=KEY)
    (hello,) = driver.connect()
    assert hello.token is None
    driver.receive(wire.Challenge("n", "srv"))
    (prove,) = driver.frames()
    assert prove == Prove(KEY.sign(signed_text(server="srv", nonce="n", robot="r1", device="main")))


def test_a_token_registers_the_key_before_hello():
    driver = Driver(key=KEY, token="t")
    (register,) = driver.connect()
    assert register == Register(register.id, "r1", "t", KEY.public_key)
    driver.receive(wire.Ok(register.id))
    assert [type(frame) for frame in driver.frames()] == [Hello]


@pytest.mark.parametrize("code", [ErrorCode.EXISTS, ErrorCode.UNAUTHENTICATED])
def test_a_refused_registration_leaves_it_to_the_proof(code):
    driver = Driver(key=KEY, token="t")
    (register,) = driver.connect()
    driver.receive(error(code, request_id=register.id))
    assert [type(frame) for frame in driver.frames()] == [Hello]


def test_a_registration_whose_refusal_closes_is_followed_by_hello_at_once():
    driver = Driver(key=KEY, token="t")
    (register,) = driver.connect()
    driver.receive(error(ErrorCode.UNAUTHENTICATED, request_id=register.id, fatal=True))
    driver.lose(4201, "unauthenticated")
    assert driver.wait_s() == 0.0
    assert [type(frame) for frame in driver.connect()] == [Hello]


def test_a_registration_whose_answer_was_lost_is_tried_again():
    driver = Driver(key=KEY, token="t")
    driver.connect()
    driver.lose()
    assert [type(frame) for frame in driver.connect()] == [Register]


def test_a_refused_hello_is_over_and_tells_of_the_registration_too():
    driver = Driver(key=KEY, token="t")
    (register,) = driver.connect()
    driver.receive(error(ErrorCode.EXISTS, request_id=register.id))
    driver.receive(error(ErrorCode.UNAUTHENTICATED, fatal=True))
    assert driver.machine.state is State.OVER
    assert isinstance(driver.machine.failure, Refused)
    assert driver.machine.failure.code is ErrorCode.UNAUTHENTICATED
    assert "exists" in str(driver.machine.failure)


def test_a_hello_refused_for_now_is_tried_later():
    driver = Driver()
    driver.connect()
    driver.receive(error(ErrorCode.UNAVAILABLE, retry_after=700))
    assert driver.machine.hang_up is not None
    driver.lose(1000, "")
    assert driver.wait_s() >= 0.7


def test_a_server_that_is_not_the_pinned_one_gets_no_proof():
    driver = Driver(key=KEY, server="ours")
    driver.connect()
    driver.receive(wire.Challenge("n", "theirs"))
    assert driver.frames() == []
    assert isinstance(driver.machine.failure, WrongServer)


@pytest.mark.parametrize("shown", ["theirs", ""])
def test_a_welcome_that_does_not_show_the_pinned_server_is_no_welcome(shown):
    driver = Driver(server="ours")
    driver.connect()
    driver.receive(msgspec.structs.replace(welcome(), server=shown))
    assert isinstance(driver.machine.failure, WrongServer)
    assert driver.machine.connections == 0


def test_the_pinned_server_may_show_itself_in_its_challenge_or_its_welcome():
    proving, bearing = Driver(key=KEY, server="ours"), Driver(server="ours")
    for driver in (proving, bearing):
        driver.connect()
    proving.receive(wire.Challenge("n", "ours"), welcome())
    bearing.receive(msgspec.structs.replace(welcome(), server="ours"))
    assert proving.machine.state is bearing.machine.state is State.ONLINE


def test_what_a_server_showed_on_one_connection_does_not_count_on_the_next():
    driver = Driver(key=KEY, server="ours")
    driver.connect()
    driver.receive(wire.Challenge("n", "ours"), welcome())
    driver.lose()
    driver.connect()
    driver.receive(welcome())
    assert isinstance(driver.machine.failure, WrongServer)


def test_a_memory_is_bound_by_a_welcome_too_before_anything_is_sent():
    driver = Driver()
    driver.machine.recall(Recollection(None, [], []))
    driver.connect()
    assert driver.frames() == [], "no hello before the count of this start is kept"
    assert driver.keep() == [KeptRecord("boot", b"1")]
    assert [frame.boot for frame in driver.frames()] == [1]
    frame = driver.send()
    driver.receive(msgspec.structs.replace(welcome(), server="ours"))
    assert driver.frames() == []
    assert Bound("ours") in driver.keep()
    assert driver.frames() == [frame]


def test_nothing_that_waited_in_a_memory_is_sent_before_the_memory_is_bound():
    driver = Driver()
    waiting = KeptSend(1, CONV, "c", "message", None, msgspec.msgpack.encode({"a": 1}), 0)
    driver.machine.recall(Recollection(None, [waiting], [], {"boot": b"6"}))
    driver.connect()
    assert driver.keep() == [KeptRecord("boot", b"7")]
    driver.frames()
    driver.receive(msgspec.structs.replace(welcome(), server="ours"))
    assert driver.frames() == []
    assert driver.keep() == [Bound("ours")]
    assert [frame.cid for frame in driver.frames()] == ["c"]


def test_a_memory_of_another_server_is_not_used_whoever_vouches_for_the_robot():
    driver = Driver()
    driver.machine.recall(Recollection("theirs", [], []))
    driver.connect()
    driver.keep()
    driver.receive(msgspec.structs.replace(welcome(), server="ours"))
    assert isinstance(driver.machine.failure, WrongServer)


def test_a_challenge_out_of_place_gets_no_signature():
    driver = Driver(key=KEY)
    driver.go_online()
    driver.receive(wire.Challenge("n", "srv"), welcome())
    assert driver.frames() == []
    assert driver.machine.connections == 1


def test_a_server_that_never_welcomes_is_hung_up_on():
    driver = Driver(open_timeout_s=3)
    driver.connect()
    assert driver.machine.next_deadline_s() == driver.now_s + 3
    driver.advance(3)
    assert driver.machine.hang_up is not None
    assert driver.machine.reconnect.unanswered


# What goes out and how it ends.


def test_a_stored_send_is_answered():
    driver = Driver()
    driver.go_online()
    frame = driver.send()
    assert driver.frames() == [frame]
    driver.receive(sent(seq=7))
    assert driver.answer() == Sent(CONV, EPOCH, 7, 5, dup=False)


def test_nothing_is_sent_before_welcome():
    driver = Driver()
    driver.send()
    assert [type(frame) for frame in driver.connect()] == [Hello]
    driver.receive(welcome())
    assert [type(frame) for frame in driver.frames()] == [Send]


def test_an_unanswered_send_is_written_again_with_the_same_cid_and_in_order():
    driver = Driver()
    driver.go_online()
    frames = [driver.send(900 + n, cid=f"c{n}") for n in range(3)]
    assert driver.frames() == frames
    late = driver.send(910, cid="late")
    driver.lose()
    driver.go_online()
    assert driver.frames() == [*frames, late]
    assert driver.machine.requests.outbox.resent == 3


def test_an_answer_that_comes_twice_counts_once():
    driver = Driver()
    driver.go_online()
    driver.send()
    driver.frames()
    driver.receive(sent(), sent(dup=True))
    assert isinstance(driver.answer(), Sent)


def test_a_definite_refusal_ends_a_send():
    driver = Driver()
    driver.go_online()
    driver.send()
    driver.frames()
    driver.receive(error(ErrorCode.FORBIDDEN, request_id=900))
    refusal = driver.answer()
    assert isinstance(refusal, Refused)
    assert refusal.code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize("code", [ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN])
def test_a_send_whose_first_try_may_be_stored_is_unknown_when_its_robot_was_removed(code):
    driver = Driver()
    driver.go_online()
    driver.send(cid="mine")
    driver.frames()
    driver.lose()
    driver.go_online()
    driver.frames()
    driver.receive(error(code, request_id=900))
    unknown = driver.answer()
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.cid == "mine"


def test_a_passing_refusal_is_waited_out():
    driver = Driver()
    driver.go_online()
    frame = driver.send()
    driver.frames()
    driver.receive(error(ErrorCode.UNAVAILABLE, request_id=900, retry_after=500))
    driver.advance(0.4)
    assert driver.frames() == []
    driver.advance(1.0)
    assert driver.frames() == [frame]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(ErrorCode.UNAVAILABLE, OutcomeUnknown), (ErrorCode.RATE_LIMITED, Refused)],
)
def test_a_refusal_that_does_not_pass_in_time_ends_as_what_is_known(code, outcome):
    driver = Driver()
    driver.go_online()
    driver.send(timeout_s=2)
    driver.frames()
    driver.receive(error(code, request_id=900, retry_after=60_000))
    driver.advance(2)
    assert isinstance(driver.answer(), outcome)


def test_a_send_without_an_answer_ends_as_unknown_at_its_deadline():
    driver = Driver()
    driver.go_online()
    driver.send(cid="mine", timeout_s=2)
    driver.frames()
    assert driver.machine.next_deadline_s() == driver.now_s + 2
    driver.advance(2)
    unknown = driver.answer()
    assert isinstance(unknown, OutcomeUnknown)
    assert unknown.cid == "mine"
    driver.receive(sent())
    assert driver.machine.requests.take_ended() == []


def test_a_change_whose_connection_is_lost_ends_as_unknown_and_is_not_repeated():
    driver = Driver()
    driver.go_online()
    driver.change()
    driver.frames()
    driver.lose()
    assert isinstance(driver.answer(), OutcomeUnknown)
    driver.go_online()
    assert driver.frames() == []


def test_a_change_that_was_not_written_yet_waits_for_the_connection():
    driver = Driver()
    driver.go_online()
    driver.lose()
    frame = driver.change()
    driver.go_online()
    assert driver.frames() == [frame]


def test_a_question_without_an_answer_may_be_asked_again():
    driver = Driver()
    driver.go_online()
    driver.machine.requests.submit(WhoAmI(5000), repeat=Repeat.SAFE, deadline_s=driver.now_s + 1)
    driver.frames()
    driver.advance(1)
    assert isinstance(driver.answer(), NoAnswer)


def test_no_more_is_in_flight_than_the_server_allows():
    driver = Driver()
    driver.go_online(limits=Limits(requests_max=2))
    frames = [driver.send(900 + n, cid=f"c{n}") for n in range(3)]
    assert driver.frames() == frames[:2]
    driver.receive(sent(900))
    assert driver.frames() == frames[2:]


def test_a_signal_is_dropped_while_offline():
    driver = Driver()
    driver.machine.post(Signal(CONV, "k", raw(1)))
    driver.go_online()
    assert driver.frames() == []
    driver.machine.post(Signal(CONV, "k", raw(1)))
    assert driver.frames() == [Signal(CONV, "k", raw(1))]


# What follows an end.


def test_a_broken_connection_is_made_again_soon():
    driver = Driver()
    driver.go_online()
    driver.lose()
    assert 0 <= driver.wait_s() <= 0.2


def test_waits_grow_with_each_attempt_up_to_a_cap():
    driver = Driver(backoff_cap_s=1.5)
    waits = []
    for _ in range(200):
        driver.machine.connecting(driver.now_s)
        driver.lose()
        waits.append(driver.wait_s())
        driver.now_s += waits[-1]
    assert waits[0] <= 0.2
    assert max(waits[1:3]) <= 0.8
    assert 1.0 < max(waits) <= 1.5


def test_a_connection_that_held_makes_waits_small_again():
    driver = Driver()
    for _ in range(8):
        driver.machine.connecting(driver.now_s)
        driver.lose()
    driver.go_online()
    driver.now_s += 60
    driver.lose()
    assert driver.wait_s() <= 0.2


def test_a_connection_that_is_cut_at_once_each_time_makes_waits_grow():
    driver = Driver()
    waits = []
    for _ in range(40):
        driver.go_online()
        driver.lose()
        waits.append(driver.wait_s())
    assert max(waits) > 1.0


def test_codes_of_40xx_reconnect_at_once_the_first_time():
    driver = Driver()
    driver.go_online()
    driver.lose(4000, "idle")
    assert driver.wait_s() == 0.0
    driver.go_online()
    driver.lose(4000, "idle")
    assert driver.wait_s() > 0.0


def test_a_draining_node_is_left_for_as_long_as_it_asks():
    driver = Driver()
    driver.go_online()
    driver.receive(wire.Bye(4100, "draining", 1500))
    driver.lose(1006, "")
    assert 1.5 <= driver.wait_s() <= 1.7


def test_a_robot_that_is_told_to_stay_away_stays_away():
    driver = Driver()
    driver.go_online()
    driver.send()
    driver.receive(wire.Bye(4300, "replaced"))
    driver.lose(4300, "replaced")
    assert driver.machine.state is State.OVER
    assert isinstance(driver.machine.failure, StayAway)
    assert isinstance(driver.answer(), StayAway)


def test_42xx_authenticates_again_once_and_is_then_refused():
    driver = Driver()
    driver.go_online()
    driver.lose(4201, "token expired")
    driver.go_online()
    driver.lose(4201, "token expired")
    assert isinstance(driver.machine.failure, Refused)
    assert driver.machine.failure.code is ErrorCode.UNAUTHENTICATED


def test_closing_tells_those_who_wait():
    driver = Driver()
    driver.go_online()
    driver.send()
    driver.frames()
    driver.machine.fail(None)
    assert isinstance(driver.answer(), OutcomeUnknown)
    driver.send(901)
    assert isinstance(driver.answer(), ConnectionLost)


# What comes in again.


def test_hello_resumes_behind_what_was_processed():
    driver = Driver()
    driver.go_online(state())
    driver.receive(run(1, 3))
    driver.machine.inbox.processed(driver.machine.inbox.next(), driver.now_s)
    driver.lose()
    (hello,) = driver.go_online(state(head=3, acked=1))
    assert hello.resume == {CONV: Position(EPOCH, 1)}


def test_a_hole_before_a_page_of_history_is_none_in_what_is_delivered():
    driver = Driver()
    driver.go_online(state())
    driver.receive(run(1, 2))
    driver.receive(wire.Gap(CONV, EPOCH, from_=3, to=4, why="retention", id=7))
    driver.receive(run(3, 5))
    inbox = driver.machine.inbox
    assert [inbox.next().seq for _ in range(len(inbox))] == [1, 2, 3, 4, 5]


def test_acks_are_written_when_due():
    driver = Driver()
    driver.go_online(state())
    driver.receive(run(1, 1))
    driver.machine.inbox.processed(driver.machine.inbox.next(), driver.now_s)
    assert driver.frames() == []
    driver.advance(0.06)
    assert driver.frames() == [Ack(CONV, 1)]


def test_a_hole_is_asked_for_by_follow():
    driver = Driver()
    driver.go_online(state())
    driver.receive(run(2, 3))
    (follow,) = driver.frames()
    assert follow == Follow(follow.id, CONV, 0)
    driver.receive(wire.Ok(follow.id), run(1, 3))
    assert driver.machine.inbox.next().seq == 1


def test_a_hole_that_may_not_be_read_becomes_a_gap():
    driver = Driver()
    driver.go_online(state())
    driver.receive(run(2, 3))
    (follow,) = driver.frames()
    driver.receive(error(ErrorCode.NOT_FOUND, request_id=follow.id))
    assert driver.machine.inbox.next().why == "no"


def test_followed_conversations_are_followed_again_from_where_they_were():
    driver = Driver(auto=False)
    driver.go_online()
    driver.machine.inbox.place(CONV, 4)
    driver.machine.follows.wanted.add(CONV)
    driver.receive(run(5, 6))
    driver.lose()
    driver.go_online()
    (follow,) = driver.frames()
    assert follow == Follow(follow.id, CONV, 6)


def test_frames_survive_the_codec():
    driver = Driver(key=KEY, token="t")
    for frame in driver.connect():
        assert MSGPACK.decode_client(MSGPACK.encode(frame)) == frame
    assert msgspec.msgpack.decode(bytes(raw({"a": 1}))) == {"a": 1}
