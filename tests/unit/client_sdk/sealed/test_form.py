"""The form of sealed events: as the documentation has it, byte by byte, and the vectors that go with it."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from client_sdk import RobotKey
from client_sdk.sealed import envelope, ratchet
from client_sdk.sealed.envelope import Message
from client_sdk.sealed.outcome import CannotOpen
from client_sdk.sealed.outgoing import Draft, Outgoing, SenderKey
from client_sdk.sealed.own_device import OwnDevice
from tests.unit.client_sdk.sealed import second_reader
from tests.unit.client_sdk.sealed.party import CONV, POLICY, dock

VECTORS = Path(__file__).parents[4] / "docs" / "end-to-end-vectors.json"


@pytest.fixture(scope="module")
def vectors():
    return json.loads(VECTORS.read_text())


def bytes_of(vectors, name):
    return bytes.fromhex(vectors[name])


def device_of(vectors):
    signer = RobotKey(Ed25519PrivateKey.from_private_bytes(bytes_of(vectors, "identity_private")))
    return OwnDevice("r1", "main", signer, lambda _: bytes_of(vectors, "device_private"))


def test_the_ratchet_gives_the_keys_of_the_vectors(vectors):
    chain = bytes_of(vectors, "chain_key")
    assert ratchet.advance(chain, 3) == bytes_of(vectors, "chain_key_3")
    assert ratchet.secret_of(ratchet.advance(chain, 3)) == bytes_of(vectors, "secret_3")
    key, nonce = ratchet._key_and_nonce(bytes_of(vectors, "secret_3"))
    assert (key, nonce) == (bytes_of(vectors, "message_key_3"), bytes_of(vectors, "nonce_3"))


def test_an_announcement_is_that_of_the_vectors(vectors):
    own = device_of(vectors)
    own.renew(vectors["serial"], 1)
    assert own.announcement(CONV) == bytes_of(vectors, "device_event")


def test_a_message_is_that_of_the_vectors(vectors):
    outgoing = Outgoing(device_of(vectors), bytes, POLICY)
    chain = ratchet.advance(bytes_of(vectors, "chain_key"), 3)
    outgoing.use(CONV, SenderKey(vectors["generation"], chain, b"", 0, index=3, unsettled={2}))
    plaintext = msgspec.msgpack.encode(vectors["body"])
    draft = Draft(CONV, vectors["cid"], "message", None, plaintext)
    sealed = outgoing.seal(draft, epoch=vectors["epoch"], seen=vectors["seen"])
    assert sealed.content == bytes_of(vectors, "message_event")


def test_a_sender_key_of_the_vectors_is_unwrapped(vectors):
    own = device_of(vectors)
    own.renew(vectors["serial"], 1)
    key = envelope.read_key(bytes_of(vectors, "key_event"))
    assert own.unwrap(CONV, "r1", key) == bytes_of(vectors, "chain_key")


def test_a_second_implementation_reads_the_vectors(vectors):
    device, _, identity, serial = second_reader.read_device(
        bytes_of(vectors, "device_event"), conv=CONV, robot="r1"
    )
    assert (device, serial) == ("main", vectors["serial"])
    _, generation, chain = second_reader.read_key(
        bytes_of(vectors, "key_event"), bytes_of(vectors, "device_private"), conv=CONV, sender="r1"
    )
    assert generation == vectors["generation"]
    index, seen, plaintext = second_reader.read_message(
        bytes_of(vectors, "message_event"),
        chain,
        identity,
        conv=CONV,
        sender="r1",
        cid=vectors["cid"],
        kind="message",
        ref=None,
    )
    assert (index, seen) == (3, vectors["seen"])
    assert msgspec.msgpack.decode(plaintext) == vectors["body"]


def test_a_second_implementation_reads_what_is_said():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, ["hello"], ref=2)
    contents = [envelope.content_of(msgspec.msgpack.decode(event.body)) for event in log.events[1:]]
    private = r2.session.own._keys[-1].private
    _, _, chain = second_reader.read_key(contents[-2], private, conv=CONV, sender="r1")
    place = {
        "conv": CONV,
        "sender": "r1",
        "cid": log.events[seq - 1].cid,
        "kind": "message",
        "ref": 2,
    }
    identity = r1.identity.public_key
    _, seen, plaintext = second_reader.read_message(contents[-1], chain, identity, **place)
    assert (seen, plaintext) == (seq - 1, msgspec.msgpack.encode(["hello"]))


NUMBER = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**64 - 1)


HEADS = st.tuples(st.text(max_size=64), LONG, NUMBER, NUMBER, st.text(max_size=40), LONG)


@given(HEADS, st.binary(max_size=99))
def test_a_message_reads_as_it_was_packed(fields, ciphertext):
    bare = Message(*fields, b"", b"", b"")
    head = envelope.pack_head(bare)
    read = envelope.read_message(head + ciphertext + bytes(64))
    filled = msgspec.structs.replace(bare, head=head, ciphertext=ciphertext, signature=bytes(64))
    assert read == filled


@given(st.binary(max_size=400), st.sampled_from([b"", b"\x01\x01", b"\x01\x02", b"\x01\x03"]))
def test_any_bytes_are_read_or_refused(content, start):
    for read in (envelope.read_message, envelope.read_key, envelope.read_device):
        with contextlib.suppress(CannotOpen):  # and nothing else
            read(start + content)


def test_a_count_of_wraps_beyond_what_is_there_is_refused_before_it_is_believed():
    content = envelope.pack_key("main", bytes(32), 1, {})[:-4] + b"\xff\xff\xff\xff"
    with pytest.raises(CannotOpen):
        envelope.read_key(content + bytes(64))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=50), st.binary(max_size=50))
def test_what_is_encrypted_opens_with_its_secret_and_context_alone(secret, plaintext, associated):
    sealed = ratchet.encrypt(secret, plaintext, associated)
    assert ratchet.decrypt(secret, sealed, associated) == plaintext
    for other in ((ratchet.advance(secret), associated), (secret, associated + b"x")):
        with pytest.raises(InvalidTag):
            ratchet.decrypt(other[0], sealed, other[1])
