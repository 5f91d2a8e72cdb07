"""permessage-deflate on a link: what is agreed on, what readers share, and how much is taken in at a time."""

from collections.abc import AsyncIterator

import pytest
from msgspec import Raw
from websockets.datastructures import Headers
from websockets.frames import Close, Opcode
from websockets.http11 import Request, Response

from imserver.access.deflate import Inflate, deflate_form
from imserver.access.handshake import Judge
from imserver.access.tcp import tcp_form
from imserver.access.websocket import FORMS
from imserver.core.settings import AccessSettings, Settings
from imserver.protocol import client_frames as frames
from imserver.protocol.codec import JSON, MSGPACK, Codec
from imserver.protocol.deflate import deflated, deflated_message
from imserver.protocol.length_prefix import framed
from imserver.protocol.limits import Limits
from imserver.protocol.server_frames import Error, Pong
from imserver.protocol.shared_frame import SharedFrame
from tests.unit.access import tcp_client
from tests.unit.access.node_in_memory import NodeInMemory, running
from tests.unit.access.raw_client import RawClient, frame, message, ping, pongs

FRAME_MAX = 10_000
LIMITS = Limits(body_bytes_max=8_000, frame_bytes_max=FRAME_MAX, requests_max=8)
BOTH = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.fixture
async def node() -> AsyncIterator[NodeInMemory]:
    async with running(Settings(limits=LIMITS)) as node:
        yield node


# What is agreed on.


def answer(offer: str, *, deflates: bool = True) -> tuple[str | None, int | None]:
    """Return what a server says to an offer, and the window that it then uses."""
    headers = Headers(
        [
            ("Host", "x"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Extensions", offer),
        ]
    )
    judge = Judge([None], deflates=deflates)
    response: Response = judge.answer(Request("/v1/connect", headers), None)
    assert response.status_code == 101
    return response.headers.get("Sec-WebSocket-Extensions"), judge.window_bits


@pytest.mark.parametrize(
    ("offer", "agreed", "window_bits"),
    [
        ("permessage-deflate", AGREED, 15),
        ("permessage-deflate; client_max_window_bits", AGREED, 15),
        ("permessage-deflate; server_no_context_takeover", AGREED, 15),
        (
            "permessage-deflate; server_max_window_bits=15",
            AGREED + "; server_max_window_bits=15",
            15,
        ),
        (
            "permessage-deflate; server_max_window_bits=14; client_max_window_bits=10",
            AGREED + "; server_max_window_bits=12; client_max_window_bits=10",
            12,
        ),
        (
            "permessage-deflate; server_max_window_bits=9",
            AGREED + "; server_max_window_bits=9",
            9,
        ),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", AGREED, 15),
        (", ".join(["permessage-deflate"] * 50), AGREED, 15),
        ("permessage-deflate; server_max_window_bits=8", None, None),
        ("permessage-deflate; server_max_window_bits=7", None, None),
        ("permessage-deflate; server_max_window_bits=16", None, None),
        ("permessage-deflate; server_max_window_bits=009", None, None),
        ("permessage-deflate; client_max_window_bits=16", None, None),
        ("permessage-deflate; server_no_context_takeover=1", None, None),
        (
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            None,
            None,
        ),
        ("permessage-deflate; strength=9", None, None),
        ("x-webkit-deflate-frame", None, None),
    ],
)
def test_an_offer_is_taken_without_context_takeover_or_left(
    offer: str, agreed: str | None, window_bits: int | None
) -> None:
    assert answer(offer) == (agreed, window_bits)


def test_nothing_is_agreed_on_where_it_is_turned_off() -> None:
    assert answer("permessage-deflate", deflates=False) == (None, None)


# What goes out.


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
def test_readers_that_agreed_on_the_same_share_what_was_compressed_once(codec: Codec) -> None:
    shared = SharedFrame(Pong(1, 1))
    websocket, tcp = deflate_form(codec.name, 15, 0), tcp_form(codec.name, 0)
    assert websocket is deflate_form(codec.name, 15, 0) and tcp is tcp_form(codec.name, 0)
    for form in (websocket, tcp):
        assert shared.encoded(form) is shared.encoded(form)
    others = [deflate_form(codec.name, 12, 0), FORMS[codec.name], tcp_form(codec.name, None)]
    assert len({websocket, tcp, *others}) == 5


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_large_frames_are_compressed_and_small_ones_and_noise_are_not(window_bits: int) -> None:
    form = deflate_form(JSON.name, window_bits, 1_000)
    compressed, plain = 0xC1, 0x81
    sizes = {size: form.encode(error(size))[0] for size in (900, 1_000, 10_000)}
    assert sizes == {900: plain, 1_000: compressed, 10_000: compressed}
    assert form.encode(error(1_000_000))[0] == (plain if window_bits == 9 else compressed)


def error(size: int) -> Error:
    """Return a frame of a size in JSON."""
    text = Error("internal", "", fatal=False)  # type: ignore[arg-type]
    return Error("internal", "x" * (size - len(JSON.encode(text))), fatal=False)  # type: ignore[arg-type]


# What comes in.


async def deflating(node: NodeInMemory, codec: Codec = MSGPACK) -> RawClient:
    """Return a client that agreed on compression and has a session."""
    client = RawClient(node.door, codec=codec)
    assert (await client.upgrade(deflates=True)).status_code == 101
    await client.say(node.hello())
    return client


def compressed(payload: bytes, codec: Codec = MSGPACK, *, cut: int | None = None) -> bytes:
    """Return a compressed message, in two fragments if it is cut somewhere."""
    shrunk = deflated_message(payload, 15)
    opcode = Opcode.BINARY if codec.binary else Opcode.TEXT
    if cut is None:
        return flagged(frame(opcode, shrunk))
    return flagged(frame(opcode, shrunk[:cut], fin=False)) + frame(Opcode.CONT, shrunk[cut:])


def flagged(first: bytes) -> bytes:
    """Return a frame with the bit that says that its message is compressed."""
    return bytes([first[0] | 0x40]) + first[1:]


def padded(number: int, size: int, codec: Codec) -> bytes:
    """Return a `ping` of a size."""
    if not codec.binary:
        return codec.encode(frames.Ping(number)).ljust(size)
    pad = size - len(codec.encode(frames.Ping(number))) - len(b"\xa1p\xc5\x00\x00")
    body = b"\x83" + codec.encode(frames.Ping(number))[1:]
    return body + b"\xa1p\xc5" + pad.to_bytes(2) + bytes(pad)


@BOTH
async def test_compressed_messages_are_read_whole_and_in_fragments(
    node: NodeInMemory, codec: Codec
) -> None:
    client = await deflating(node, codec)
    client.feed(compressed(padded(1, 2_000, codec), codec))
    for number, cut in enumerate([0, 1, 7, len(deflated_message(padded(2, 2_000, codec), 15))], 2):
        client.feed(compressed(padded(number, 2_000, codec), codec, cut=cut))
    client.feed(message(ping(6, codec), codec))
    await client.tick()
    assert pongs(client) == [1, 2, 3, 4, 5, 6]


@BOTH
async def test_the_limit_is_on_what_comes_out_to_the_byte(node: NodeInMemory, codec: Codec) -> None:
    client = await deflating(node, codec)
    client.feed(compressed(padded(1, FRAME_MAX, codec), codec))
    client.feed(compressed(padded(2, FRAME_MAX, codec), codec, cut=20))
    client.feed(message(padded(3, FRAME_MAX, codec), codec))
    await client.tick()
    assert pongs(client) == [1, 2, 3]
    for over in (compressed, message):
        client = await deflating(node, codec)
        client.feed(over(padded(4, FRAME_MAX + 1, codec), codec))
        await client.tick()
        assert not pongs(client) and client.close_code == 1009
        assert [f.code for f in client.frames if isinstance(f, Error)] == ["too_large"]


def stored(piece: bytes) -> bytes:
    """Return a block of DEFLATE that holds a piece as it is."""
    size = len(piece)
    return b"\x00" + size.to_bytes(2, "little") + (0xFFFF - size).to_bytes(2, "little") + piece


async def test_nothing_is_held_for_a_client_between_its_messages(node: NodeInMemory) -> None:
    client = await deflating(node)
    client.feed(compressed(padded(1, 2_000, MSGPACK)))
    client.feed(compressed(padded(2, 2_000, MSGPACK), cut=9))
    await client.tick()
    assert pongs(client) == [1, 2] and client.link._websocket is not None
    (inflate,) = client.link._websocket.extensions
    assert isinstance(inflate, Inflate) and inflate._inflater is None


async def test_what_cannot_be_compressed_may_come_longer_than_the_limit(
    node: NodeInMemory,
) -> None:
    client = await deflating(node)
    whole = padded(1, FRAME_MAX, MSGPACK)
    pieces = [whole[start : start + 100] for start in range(0, len(whole), 100)]
    # Stored as it is, with a header of five bytes for each hundred.
    shrunk = b"".join(map(stored, pieces)) + b"\x00"
    assert len(shrunk) > FRAME_MAX
    client.feed(flagged(frame(Opcode.BINARY, shrunk)))
    await client.tick()
    assert pongs(client) == [1]


@pytest.mark.parametrize("shrunk", [b"\xff\xff", deflated(b"x") + b"more"], ids=["noise", "more"])
async def test_what_is_no_compressed_message_is_an_error_of_the_protocol(
    node: NodeInMemory, shrunk: bytes
) -> None:
    client = await deflating(node)
    client.feed(flagged(frame(Opcode.BINARY, shrunk)))
    await client.tick()
    assert client.close_code == 1002


async def test_compressed_text_that_is_no_utf8_is_told(node: NodeInMemory) -> None:
    client = await deflating(node, JSON)
    client.feed(compressed(b'{"t":"ping","id":1,"x":"\xff"}', JSON))
    await client.tick()
    assert client.close_code == 1007 and not pongs(client)


async def test_a_bit_that_was_not_agreed_on_is_an_error_of_the_protocol(
    node: NodeInMemory,
) -> None:
    client = RawClient(node.door)
    await client.upgrade()
    client.feed(compressed(ping(1)))
    await client.tick()
    assert client.close_code == 1002


# How much is taken in at a time: a little that comes in may be a lot.


async def test_websockets_take_no_more_compressed_messages_than_the_session_does(
    node: NodeInMemory,
) -> None:
    client = await deflating(node)
    node.store.commits.shut = True
    client.feed(b"".join(compressed(create(number, 3_000)) for number in range(1_000)))
    await client.tick()
    assert holds(client) and not client.transport.reading
    node.store.open_all()
    await settled(node, client)
    assert not holds(client)
    assert len([f for f in client.frames if getattr(f, "id", None) is not None]) == 1_000


async def settled(node: NodeInMemory, client: RawClient | tcp_client.TcpClient) -> None:
    for _ in range(1_000):
        await node.settle()
    await client.tick()


def holds(client: RawClient | tcp_client.TcpClient) -> bool:
    """Tell whether something came that was not taken yet."""
    if isinstance(client, RawClient):
        return bool(client.link._held)
    return client.link._frames is not None and not client.link._frames.is_between


def create(number: int, size: int) -> bytes:
    """Return a request that waits for the store, of a size."""
    plain = MSGPACK.encode(frames.CreateGroup(number, f"g{number}"))
    pad = size - len(plain) - 5
    return bytes([plain[0] + 1]) + plain[1:] + b"\xa1p\xc5" + pad.to_bytes(2) + bytes(pad)


async def test_raw_tcp_takes_no_more_compressed_frames_than_the_session_does(
    node: NodeInMemory,
) -> None:
    client = await tcp_client.opened(node, deflates=True)
    node.store.commits.shut = True
    requests = [create(number, 3_000) for number in range(1_000)]
    shrunk = [deflated(request) for request in requests]
    await client.feed(b"".join((0x8000_0000 | len(one)).to_bytes(4) + one for one in shrunk))
    assert holds(client) and not client.transport.reading
    node.store.open_all()
    await settled(node, client)
    assert not holds(client)
    assert len([f for f in client.frames if getattr(f, "id", None) is not None]) == 1_000


async def test_a_goodbye_behind_held_messages_is_heard(node: NodeInMemory) -> None:
    client = await deflating(node)
    node.store.commits.shut = True
    stream = b"".join(compressed(create(number, 3_000)) for number in range(500))
    client.feed(stream + frame(Opcode.CLOSE, Close(1000, "").serialize()))
    await client.tick()
    assert holds(client)
    client.link.shutdown()
    for _ in range(500):  # turns of a millisecond
        await client.tick()
    assert client.transport.is_closed() and not client.transport.is_aborted()


@BOTH
async def test_frames_over_raw_tcp_are_compressed_if_the_preface_says_so(codec: Codec) -> None:
    settings = Settings(limits=LIMITS, access=AccessSettings(deflate_bytes_min=100))
    async with running(settings) as node:
        client = await tcp_client.opened(node, codec, deflates=True)
        body = Raw(codec.encode({"text": "x" * 5_000}))  # type: ignore[arg-type]
        await client.say(frames.Send(1, "d/r1/r2", "c", body))
        await client.say(frames.Ping(2))
        assert [pong.id for pong in client.of(Pong)] == [2]
        welcome = client.transport.writes[0]
        assert welcome[0] & 0x80 and len(welcome) < 5_000
        assert framed(b"")[0] & 0x80 == 0


async def test_where_it_is_turned_off_frames_over_raw_tcp_are_plain_and_compressed_ones_are_read() -> (
    None
):
    settings = Settings(access=AccessSettings(deflate=False, deflate_bytes_min=0))
    async with running(settings) as node:
        client = await tcp_client.opened(node, deflates=True)
        assert client.transport.writes[0][0] & 0x80 == 0
        shrunk = deflated(padded(3, 1_000, MSGPACK))
        await client.feed((0x8000_0000 | len(shrunk)).to_bytes(4) + shrunk)
        assert [pong.id for pong in client.of(Pong)] == [3]
