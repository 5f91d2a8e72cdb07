"""The outbound half of a link: what waits for the beat, and what does not."""

from types import SimpleNamespace
from typing import Any

from imserver.access.buffered_link import ENOUGH_BYTES, BufferedLink
from imserver.access.websocket import FORMS
from imserver.protocol.codec import MSGPACK


class WithinABeat:
    """A flusher in a beat in which the link was pushed to before."""

    def __init__(self) -> None:
        self.next_tick: list[Any] = []

    def add(self, flushable: Any) -> None:
        self.next_tick.append(flushable)

    def add_pushed(self, flushable: Any) -> bool:
        return False


def link_of(flusher: WithinABeat) -> BufferedLink:
    door: Any = SimpleNamespace(flusher=flusher, write_buffer_bytes_max=2**30)
    return BufferedLink(door, FORMS[MSGPACK.name])


def test_a_little_that_is_pushed_waits_for_the_beat() -> None:
    flusher = WithinABeat()
    link_of(flusher).push(bytes(ENOUGH_BYTES - 1))
    assert flusher.next_tick == []


def test_much_that_is_pushed_goes_out_in_the_next_tick() -> None:
    flusher = WithinABeat()
    link = link_of(flusher)
    for _ in range(3):
        link.push(bytes(ENOUGH_BYTES // 2))
    assert flusher.next_tick == [link]
    link.write(b"an answer goes with it")
    assert flusher.next_tick == [link]
