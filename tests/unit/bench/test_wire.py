import os

import msgpack
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from bench.load import wire
from imserver.protocol.client_frames import Ack, Send
from imserver.protocol.codec import MSGPACK
from tests.unit.bench.streams import server_frame


def received(stream: bytes) -> list[bytes]:
    """Return the payloads that the websockets package finds in what a client sent."""
    server = Protocol(Side.SERVER, state=OPEN, max_size=None)
    server.receive_data(stream)
    return [bytes(frame.data) for frame in server.events_received() if isinstance(frame, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_a_client_frame_of_any_size_reaches_the_server_unchanged(size):
    payload = os.urandom(size)
    assert received(wire.client_frame(payload)) == [payload]


@pytest.mark.parametrize("number", [0, 1, 65_536, 4_294_967_295])
def test_a_send_template_makes_valid_frames_that_differ_in_id_and_cid(number):
    body = wire.body_of(256)
    template = wire.SendTemplate(conv="g/bench", cid_prefix="sender7-", body=body)
    frame = MSGPACK.decode_client(received(template(number))[0])
    assert isinstance(frame, Send)
    assert (frame.id, frame.conv, frame.cid) == (number, "g/bench", f"sender7-{number:010d}")
    assert bytes(frame.body) == body


@pytest.mark.parametrize("seq", [1, 2**32 - 1])
def test_an_ack_template_makes_valid_frames(seq):
    frame = MSGPACK.decode_client(received(wire.AckTemplate("g/bench")(seq))[0])
    assert frame == Ack(conv="g/bench", seq=seq)


@pytest.mark.parametrize("size", [34, 256, 257, 259, 1_000])
def test_a_body_takes_the_bytes_asked_for(size):
    assert len(wire.body_of(size)) == size
    assert set(msgpack.unpackb(wire.body_of(size))) == {"x"}


def test_the_scanner_finds_the_frames_of_every_size_and_where_the_unfinished_one_begins():
    payloads = [os.urandom(size) for size in (0, 1, 125, 126, 65_535, 65_536, 70_000)]
    whole = b"".join(server_frame(payload) for payload in payloads)
    found, rest = wire.scan(whole + server_frame(b"unfinished")[:-1], 0)
    stream = whole
    assert [stream[start:stop] for _, start, stop in found] == payloads
    assert rest == len(whole)


@pytest.mark.parametrize("size", [10, 300, 70_000])
def test_the_scanner_takes_no_frame_before_its_last_byte(size):
    frame = server_frame(b"x" * size)
    cuts = [*range(min(len(frame), 20)), len(frame) - 1]
    assert all(wire.scan(frame[:cut], 0) == ([], 0) for cut in cuts)


def test_the_scanner_tells_control_frames_apart():
    found, _ = wire.scan(server_frame(b"?", Opcode.PING) + server_frame(b"!"), 0)
    assert [first for first, _, _ in found] == [
        wire.FINAL | wire.PING,
        wire.FINAL | wire.BINARY,
    ]


def test_a_masked_frame_of_a_server_is_refused():
    with pytest.raises(wire.Broken, match="masked"):
        wire.scan(wire.client_frame(b"x"), 0)
