"""What a robot makes of answers and connections that come twice, or when all is over."""

from imserver.protocol.client_frames import Follow
from imserver.protocol.errors import ErrorCode
from tests.unit.client_sdk.frames import CONV, run, state
from tests.unit.client_sdk.test_machine import Driver, error


def test_a_passing_refusal_that_comes_twice_has_the_send_written_again_once():
    driver = Driver()
    driver.go_online()
    frame = driver.send()
    driver.frames()
    driver.receive(*[error(ErrorCode.UNAVAILABLE, request_id=900, retry_after=500)] * 2)
    driver.advance(5.0)
    assert driver.frames() == [frame]


def test_a_connection_that_comes_up_when_all_is_over_hears_nothing():
    driver = Driver()
    driver.machine.connecting(driver.now_s)
    driver.machine.fail(None)
    driver.machine.connected()
    assert driver.frames() == []


def test_what_is_followed_is_asked_for_again_when_the_server_cannot_tell_just_now():
    driver = Driver(auto=False)
    driver.go_online(state())
    driver.receive(run(1, 2))
    driver.machine.follows.wanted.add(CONV)
    driver.lose()
    driver.go_online(state(head=2))
    [follow] = [frame for frame in driver.frames() if isinstance(frame, Follow)]
    driver.receive(error(ErrorCode.UNAVAILABLE, request_id=follow.id))
    assert driver.frames() == []
    driver.advance(5.0)
    [again] = driver.frames()
    assert (again.conv, again.after) == (CONV, follow.after)
