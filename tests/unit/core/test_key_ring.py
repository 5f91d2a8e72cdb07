"""Sealing: what opens, what does not, that it is XAES-256-GCM, and that no nonce comes twice."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imserver.core import key_ring
from imserver.core.errors import SealBroken, SealingKeyMissing
from imserver.core.key_ring import OVERHEAD, KeyRing, SealingKey, sealed_with

OLD, NEW = SealingKey(bytes(32)), SealingKey(bytes([7] * 32))
PLACE = b"event|g/dock|r1|c1"
HEADER_BYTES = 28  # key id and nonce


def ring(*keys, current=None, random_bytes=os.urandom):
    keys = keys or (NEW,)
    return KeyRing(keys, current or keys[-1].id, random_bytes=random_bytes)


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_what_was_sealed_opens_at_its_place(plain, place):
    sealed = ring().seal(plain, place)
    assert len(sealed) == len(plain) + OVERHEAD
    assert ring().open(sealed, place) == plain


@given(st.binary(min_size=8, max_size=300))
def test_sealed_bytes_do_not_show_what_was_sealed(plain):
    assert plain not in ring().seal(plain, PLACE)[HEADER_BYTES:]


def test_it_does_not_open_at_another_place():
    with pytest.raises(SealBroken, match="changed, or was sealed for another place"):
        ring().open(ring().seal(b"body", PLACE), PLACE + b"!")


def test_a_changed_bit_anywhere_is_refused():
    sealed = ring().seal(b"body", PLACE)
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises((SealBroken, SealingKeyMissing)):
                ring().open(bytes(changed), PLACE)


def test_a_piece_of_it_is_refused():
    sealed = ring().seal(b"body", PLACE)
    for end in range(len(sealed)):
        with pytest.raises((SealBroken, SealingKeyMissing)):
            ring().open(sealed[:end], PLACE)


def test_a_ring_without_the_key_names_the_key_that_is_missing():
    with pytest.raises(SealingKeyMissing, match=OLD.id):
        ring(NEW).open(ring(OLD).seal(b"body", PLACE), PLACE)


def test_a_key_is_known_by_its_secret_so_a_wrong_one_cannot_pass_for_it():
    assert SealingKey(bytes(32)).id == OLD.id != NEW.id


def test_a_key_does_not_show_its_secret():
    assert str(SealingKey(b"s" * 32)) == f"SealingKey({SealingKey(b's' * 32).id})"


def test_after_a_rotation_new_bytes_are_sealed_with_the_new_key_and_old_ones_open():
    one = ring(OLD)
    before = one.seal(b"before", PLACE)
    one.renew([OLD, NEW], NEW.id)
    after = one.seal(b"after", PLACE)
    assert (sealed_with(before), sealed_with(after)) == (OLD.id, NEW.id)
    assert (one.open(before, PLACE), one.open(after, PLACE)) == (b"before", b"after")
    assert one.current == NEW.id
    assert one.ids == {OLD.id, NEW.id}


def test_a_ring_cannot_be_renewed_without_its_current_key():
    one = ring(OLD)
    with pytest.raises(SealingKeyMissing):
        one.renew([OLD], NEW.id)
    assert one.open(one.seal(b"body", PLACE), PLACE) == b"body"


@pytest.mark.parametrize(
    ("secret", "associated", "ciphertext"),
    [
        (b"\x01" * 32, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            b"\x03" * 32,
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ],
)
def test_it_opens_the_vectors_of_the_algorithms_specification(secret, associated, ciphertext):
    key = SealingKey(secret)
    sealed = bytes.fromhex(key.id) + b"ABCDEFGHIJKLMNOPQRSTUVWX" + bytes.fromhex(ciphertext)
    assert ring(key).open(sealed, associated) == b"XAES-256-GCM"


def nonces(one, count):
    return [one.seal(b"", b"")[4:28] for _ in range(count)]


def test_no_nonce_comes_twice_under_one_key_whoever_seals(monkeypatch):
    monkeypatch.setattr(key_ring, "RUN_SEALS_MAX", 100)  # so that many runs are seen
    seen = []
    shared = ring()

    def seal():
        seen.extend(nonces(shared, 2_000))

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(100):  # restarts
        seen += nonces(ring(), 20)
    assert len(seen) == len(set(seen)) == 10_000


def test_a_run_of_nonces_ends_at_its_limit_and_the_next_is_drawn_anew(monkeypatch):
    monkeypatch.setattr(key_ring, "RUN_SEALS_MAX", 3)
    drawn = iter(bytes([number]) * 16 for number in range(9))
    found = nonces(ring(random_bytes=lambda _: next(drawn)), 7)
    assert [(nonce[:16], nonce[16:]) for nonce in found] == [
        (bytes([run]) * 16, count.to_bytes(8, "big")) for run, count in [
            (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)
        ]
    ]  # fmt: skip


def test_keys_that_differ_derive_different_ciphers_from_one_nonce():
    start = bytes(12)
    sealed = {key.derived(start).encrypt(bytes(12), b"body", None) for key in (OLD, NEW)}
    assert len(sealed) == 2


def test_segments_of_one_size_open_at_random_and_cannot_be_exchanged():
    one, size = ring(), 100
    content = os.urandom(950)

    def place(number):
        return b"file|f1|%d|%d" % (number, number == 9)

    sealed = b"".join(one.seal(content[n * size : (n + 1) * size], place(n)) for n in range(10))

    def segment(number):
        start = number * (size + OVERHEAD)
        return memoryview(sealed)[start : start + size + OVERHEAD]

    assert one.open(segment(7), place(7)) == content[700:800]
    with pytest.raises(SealBroken):
        one.open(segment(7), place(8))
