"""The small parts: keys, cids, addresses, bodies, signals."""

import math
import stat

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client_sdk import KeyFileError, Options, Refused, Robot
from client_sdk.address import check_address
from client_sdk.cids import Cids
from client_sdk.keys import create_key, load_key
from client_sdk.options import websocket_url
from client_sdk.payload import encode
from client_sdk.signals import SignalBoard
from client_sdk.states import MOVES, State
from imserver.protocol.codec import JSON, MSGPACK
from imserver.protocol.errors import ErrorCode
from imserver.protocol.limits import CID_CHARS_MAX
from imserver.protocol.server_frames import SignalValue
from tests.unit.client_sdk.frames import raw


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("ws://h:7400", "ws://h:7400/v1/connect"),
        ("http://h:7400/", "ws://h:7400/v1/connect"),
        ("https://h", "wss://h/v1/connect"),
        ("wss://h/robots", "wss://h/robots/v1/connect"),
        ("ws://[::1]:1/v1/connect", "ws://[::1]:1/v1/connect"),
    ],
)
def test_an_address_becomes_the_websockets_url(address, url):
    assert websocket_url(address) == url


@pytest.mark.parametrize("address", ["127.0.0.1:7400", "tcp://h", "ws://", "ws://h?x=1"])
def test_what_is_no_address_is_refused_with_what_would_be_right(address):
    with pytest.raises(ValueError, match="must"):
        websocket_url(address)


@pytest.mark.parametrize(
    "address", ["tcp://h:1", "tcp://[::1]:7401/", "ws://h", "https://h/robots"]
)
def test_addresses_of_both_transports_are_addresses(address):
    check_address(address)


@pytest.mark.parametrize(
    "address", ["tcp://h", "tcp://h:x", "tcp://h:1/v1", "tcp://:1", "udp://h:1"]
)
def test_an_address_for_raw_tcp_is_a_host_and_a_port(address):
    with pytest.raises(ValueError, match="must"):
        check_address(address)


@pytest.mark.parametrize("scheme", ["ws", "tcp"])
def test_a_password_in_an_address_is_refused_and_not_repeated(scheme):
    with pytest.raises(ValueError, match="key or bearer token") as caught:
        check_address(f"{scheme}://me:geheim@h:1")
    assert "geheim" not in str(caught.value)


def test_a_key_file_is_made_whole_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "r1.key"
    key = create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).public_key == key.public_key
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_is_there_is_never_written_over(tmp_path):
    path = tmp_path / "r1.key"
    assert create_key(path).public_key == create_key(path).public_key


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "r1.key"
    path.write_text("not a key")
    with pytest.raises(KeyFileError, match="not a private key"):
        load_key(path)


def test_a_key_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "r1.key"
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(KeyFileError, match="Ed25519"):
        load_key(path)


def test_a_robot_without_a_key_file_is_told_how_to_get_one(tmp_path):
    with pytest.raises(KeyFileError, match="imserver enroll --robot r1"):
        Robot("ws://h", name="r1", key=tmp_path / "r1.key")


def test_a_robot_needs_a_key_or_a_bearer_token_and_not_both(tmp_path):
    with pytest.raises(ValueError, match="bearer"):
        Robot("ws://h", name="r1")
    with pytest.raises(ValueError, match="not both"):
        Robot("ws://h", name="r1", key=create_key(tmp_path / "k"), bearer="b")


def test_cids_are_unique_sorted_and_fit():
    now = [1_700_000_000_000.0]
    cids = Cids(lambda: now[0], "0123456789abcdef")
    made = [cids.next() for _ in range(1000)]
    now[0] += 5
    made += [cids.next() for _ in range(1000)]
    now[0] -= 60_000
    made += [cids.next() for _ in range(1000)]
    assert len(set(made)) == 3000
    assert made == sorted(made)
    assert all(len(cid) <= CID_CHARS_MAX for cid in made)


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_a_body_is_encoded_in_its_codec(codec):
    body = encode(codec, {"task": ["pick", 7, None, 1.5]}, 1000)
    assert codec.decode_body(body) == {"task": ["pick", 7, None, 1.5]}


def test_a_body_over_the_limit_is_refused_here():
    with pytest.raises(Refused) as caught:
        encode(MSGPACK, "x" * 1000, 999)
    assert caught.value.code is ErrorCode.TOO_LARGE


def _nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [math.nan, {"deep": _nested(100)}, 2**70, {2.5: 1}])
def test_a_body_that_no_server_takes_is_a_value_error(value):
    with pytest.raises(ValueError, match=r"."):
        encode(MSGPACK, value, 100_000)


def test_a_body_of_a_type_without_a_place_is_a_type_error():
    with pytest.raises(TypeError):
        encode(MSGPACK, object(), 1000)


def signal(key, value, rev):
    return SignalValue("g/dock", "r2", key, raw(value), rev)


def test_only_the_latest_value_of_a_signal_is_read():
    board = SignalBoard(msgspec.msgpack.decode, signals_max=10)
    board.put(signal("battery", 90, 1))
    board.put(signal("place", "A", 2))
    board.put(signal("battery", 80, 3))
    assert [(s.key, s.body, s.rev) for s in iter(board.next, None)] == [
        ("battery", 80, 3),
        ("place", "A", 2),
    ]


def test_signals_that_nobody_reads_are_bounded():
    board = SignalBoard(msgspec.msgpack.decode, signals_max=2)
    for n in range(5):
        board.put(signal(f"k{n}", n, n))
    assert [s.key for s in iter(board.next, None)] == ["k3", "k4"]
    assert board.dropped == 3


def test_every_state_but_the_last_can_be_left_and_reached():
    reached = {state for moves in MOVES.values() for state in moves}
    assert reached == set(State) - {State.NEW}
    assert [state for state, moves in MOVES.items() if not moves] == [State.OVER]


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        Options().window = 5
