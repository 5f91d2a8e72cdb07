"""A key's file that several devices share while one of them replaces the key."""

import threading

from client_sdk.key_file import KeyFile
from client_sdk.keys import create_key, load_key

ROTATIONS = 200


def test_who_looks_while_another_device_replaces_the_key_finds_the_one_in_force(tmp_path):
    path = tmp_path / "r1.key"
    in_force = [create_key(path).public_key]

    def rotate():
        files = KeyFile(path)
        for _ in range(ROTATIONS):
            key = files.prepare().public_key
            in_force.append(key)
            files.adopt(key)

    files, thread = KeyFile(path), threading.Thread(target=rotate)
    thread.start()
    try:
        while thread.is_alive():
            before = len(in_force) - 1
            held = {key.public_key for key in files.keys()}  # noqa: SIM118  no dict
            assert held & set(in_force[before:])
            files.adopt(in_force[0])
    finally:
        thread.join()
    assert load_key(path).public_key == in_force[-1]
