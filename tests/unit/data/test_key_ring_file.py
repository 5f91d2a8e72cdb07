"""The file of a key ring: made for its owner alone, replaced whole, and refused when it is not right."""

import json
import multiprocessing
import os
import stat
from functools import partial

import pytest

from imserver.core.errors import KeyRingUnusable, SealingKeyMissing
from imserver.data.key_ring_file import KeyRingFile

PLACE = b"event|g/dock"


@pytest.fixture
def file(tmp_path):
    return KeyRingFile(tmp_path / "sealing.keys", random_bytes=os.urandom)


def test_a_new_ring_seals_and_is_loaded_again(file):
    key = file.create(now_ms=5)
    sealed = file.load().seal(b"body", PLACE)
    assert file.load().open(sealed, PLACE) == b"body"
    assert file.load().current == key
    assert [(record.id, record.created_ms, record.is_current) for record in file.records()] == [
        (key, 5, True)
    ]


def test_only_its_owner_can_read_it_and_nothing_else_is_left(file):
    previous = os.umask(0)
    try:
        file.create(now_ms=1)
        file.rotate(now_ms=2)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["sealing.keys"]


def test_there_is_only_one_first_key(file):
    file.create(now_ms=1)
    with pytest.raises(KeyRingUnusable, match="keys rotate"):
        file.create(now_ms=2)


def test_a_rotation_adds_a_key_that_seals_and_keeps_the_old_one(file):
    old = file.create(now_ms=1)
    sealed = file.load().seal(b"body", PLACE)
    new = file.rotate(now_ms=2)
    ring = file.load()
    assert (ring.current, ring.ids) == (new, {old, new})
    assert ring.open(sealed, PLACE) == b"body"


def test_a_ring_in_use_takes_the_keys_of_the_file(file):
    file.create(now_ms=1)
    ring = file.load()
    new = file.rotate(now_ms=2)
    file.renew(ring)
    assert ring.current == new


def test_a_key_can_be_taken_out_but_the_current_one_cannot(file):
    old = file.create(now_ms=1)
    new = file.rotate(now_ms=2)
    with pytest.raises(KeyRingUnusable, match="keys rotate"):
        file.remove(new)
    file.remove(old)
    assert file.load().ids == {new}
    with pytest.raises(SealingKeyMissing, match=old):
        file.remove(old)


def test_a_ring_that_is_not_there_is_refused_with_what_to_do(file):
    with pytest.raises(KeyRingUnusable, match="imserver keys new"):
        file.load()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_ring_that_others_may_read_is_refused(file, mode):
    file.create(now_ms=1)
    file.path.chmod(mode)
    with pytest.raises(KeyRingUnusable, match="chmod 600"):
        file.load()


def changed(document, **changes):
    return json.dumps(document | changes)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda document: "", "truncated"),
        (lambda document: "[]", "object"),
        (lambda document: changed(document, current="0" * 8), "current key"),
        (lambda document: changed(document, keys=[]), "current key"),
        (lambda document: changed(document, keys=[document["keys"][0] | {"key": "AAAA"}]), "bytes"),
        (lambda document: changed(document, keys=[document["keys"][0] | {"key": "?"}]), "key "),
        (
            lambda document: changed(document, keys=[document["keys"][0] | {"id": "0" * 8}]),
            "another one",
        ),
        (
            lambda document: changed(document, keys=[document["keys"][0] | {"form": "rot13"}]),
            "of form rot13",
        ),
    ],
)
def test_a_damaged_ring_is_refused_and_says_why(file, spoil, why):
    file.create(now_ms=1)
    document = json.loads(file.path.read_text())
    file.path.write_text(spoil(document))
    with pytest.raises(KeyRingUnusable, match=why) as refused:
        file.load()
    assert document["keys"][0]["key"] not in str(refused.value)  # a message shows no secret


def test_a_writer_that_died_leaves_nothing_in_the_way(file):
    file.create(now_ms=1)
    file.path.with_name(".sealing.keys.draft").write_text("half a ri")
    new = file.rotate(now_ms=2)
    assert file.load().current == new


def rotate(path, count):
    for _ in range(count):
        KeyRingFile(path, random_bytes=os.urandom).rotate(now_ms=1)


def test_rotations_at_once_lose_no_key(file):
    file.create(now_ms=1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(partial(rotate, file.path), [10, 10])
    assert len(file.load().ids) == 21


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    file = KeyRingFile(tmp_path / "none" / "sealing.keys", random_bytes=os.urandom)
    with pytest.raises(KeyRingUnusable, match="cannot be written"):
        file.create(now_ms=1)
