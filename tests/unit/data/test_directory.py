"""The data directory and the deployment's key in it."""

import multiprocessing
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from imserver.core.errors import DataDirectoryUnusable
from imserver.data.directory import DataDirectory


def key_bytes(path):
    """Return the public half of the key in a directory (also run in other processes)."""
    return DataDirectory(path).signing_key().public_key().public_bytes_raw()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_missing_directory_is_made_for_its_user_alone(tmp_path):
    directory = DataDirectory(tmp_path / "a" / "b")
    assert mode(directory.path) == 0o700


def test_the_key_is_made_once_and_stays(tmp_path):
    assert key_bytes(tmp_path) == key_bytes(tmp_path)


def test_only_its_user_can_read_the_key(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.signing_key()
    assert mode(directory.key_path) == 0o600


def test_nothing_is_left_over_from_making_the_key(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.signing_key()
    assert list(tmp_path.iterdir()) == [directory.key_path]


def test_processes_that_make_the_key_at_once_get_the_same_one(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        keys = processes.map(key_bytes, [tmp_path] * 16, chunksize=1)
    assert len(set(keys)) == 1


def test_of_two_keys_made_at_once_the_first_stays(tmp_path):
    ours, theirs = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first = key_bytes(tmp_path)
    ours._create_key()  # as if `theirs` had been faster after we saw that there was none
    assert key_bytes(theirs.path) == first
    assert list(tmp_path.iterdir()) == [ours.key_path]


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(DataDirectoryUnusable, match="is not a directory; name a directory"):
        DataDirectory(place)


def test_a_file_above_the_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryUnusable, match="is not a directory"):
        DataDirectory(tmp_path / "file" / "data")


def test_a_place_where_no_directory_can_be_made_is_refused():
    with pytest.raises(DataDirectoryUnusable, match=r"cannot be made: .*; name a writable place"):
        DataDirectory("/proc/imserver-data")


@pytest.mark.parametrize("text", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path, text):
    directory = DataDirectory(tmp_path)
    directory.key_path.write_bytes(text)
    with pytest.raises(DataDirectoryUnusable, match="is damaged: it must be an Ed25519"):
        directory.signing_key()
    assert directory.key_path.read_bytes() == text


def test_a_key_of_another_kind_is_refused(tmp_path):
    directory = DataDirectory(tmp_path)
    directory.key_path.write_bytes(
        generate_private_key(SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(DataDirectoryUnusable, match="must be an Ed25519 private key"):
        directory.signing_key()
