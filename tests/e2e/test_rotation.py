"""A robot replaces its key: who may, what ends with the old one, and that no kill locks it out."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_sdk import Options, Robot
from client_sdk.errors import Refused as RobotRefused
from client_sdk.keys import load_key
from imserver.protocol.errors import CloseCode
from tests.e2e import rotating_robot
from tests.e2e.wire import Fleet, Frame, Peer, Refused


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "r1.key"


async def enrolled(fleet: Fleet, key_path: Path, name: str = "r1") -> str:
    """Register a robot of the SDK with a key in a file; return its name."""
    robot = fleet.name(name)
    token = fleet.server.enroll(robot)
    async with Robot(fleet.server.ws_url, name=robot, key=key_path, token=token):
        return robot


def signed(peer: Peer, old: Ed25519PrivateKey, new: Ed25519PrivateKey, **lies: str) -> Frame:
    """Return the fields of `rotate_key`, as the wire's description says, with lies in what is signed."""
    welcome = peer.welcome
    public = {name: key.public_key().public_bytes_raw() for name, key in (("o", old), ("n", new))}
    facts = {"server": welcome["server"], "session": welcome["session"], "robot": peer.robot} | lies
    text = (
        f"imserver.v1 rotate {facts['server']} {facts['session']} {facts['robot']} "
        f"{public['o'].hex()} {public['n'].hex()}"
    ).encode()
    return {"public_key": public["n"], "signature": old.sign(text), "proof": new.sign(text)}


async def test_the_new_key_is_the_robots_and_the_old_one_opens_nothing(fleet: Fleet) -> None:
    peer, other = await fleet.online("r1"), await fleet.online("r1", device="arm")
    old, new = await fleet.register("r1"), Ed25519PrivateKey.generate()
    frame = signed(peer, old, new)
    await peer.request("rotate_key", **frame)
    await peer.settle()
    assert await other.until_closed() == CloseCode.KEY_REPLACED
    await peer.request("rotate_key", **frame)  # the answer might have been lost
    stranger = await fleet.stranger()
    with pytest.raises(Refused, match="unauthenticated"):
        await stranger.hello(peer.robot, key=old, device="arm")
    again = await fleet.stranger()
    assert (await again.hello(peer.robot, key=new, device="arm"))["t"] == "welcome"


@pytest.mark.parametrize("lie", ["server", "session", "robot", "old key", "no proof"])
async def test_a_rotation_that_is_not_proven_is_refused(fleet: Fleet, lie: str) -> None:
    peer = await fleet.online("r1")
    old, new = await fleet.register("r1"), Ed25519PrivateKey.generate()
    if lie == "old key":
        frame = signed(peer, Ed25519PrivateKey.generate(), new)
    elif lie == "no proof":
        frame = signed(peer, old, new) | {"proof": signed(peer, old, new)["signature"]}
    else:
        frame = signed(peer, old, new, **{lie: "another"})
    assert await peer.refused_with("rotate_key", **frame) == "unauthenticated"
    await peer.settle()
    again = await fleet.stranger()
    assert (await again.hello(peer.robot, key=old, device="d2"))["t"] == "welcome"


async def test_a_rotation_cannot_be_shown_again_in_another_session(fleet: Fleet) -> None:
    peer = await fleet.online("r1")
    old, second = await fleet.register("r1"), Ed25519PrivateKey.generate()
    kept = signed(peer, old, second)
    other = await fleet.online("r1", device="d2")
    assert await other.refused_with("rotate_key", **kept) == "unauthenticated"


async def test_a_key_of_small_order_and_a_robot_without_a_key_are_refused(fleet: Fleet) -> None:
    peer = await fleet.online("r1")
    old = await fleet.register("r1")
    frame = signed(peer, old, Ed25519PrivateKey.generate()) | {"public_key": bytes(32)}
    assert await peer.refused_with("rotate_key", **frame) == "bad_frame"
    bearer = await fleet.stranger()
    bearer.robot = fleet.name("b")
    token = fleet.server.token(bearer.robot)
    bearer.welcome = await bearer.hello(bearer.robot, key=None, token=token)
    frame = signed(bearer, old, Ed25519PrivateKey.generate())
    assert await bearer.refused_with("rotate_key", **frame) == "forbidden"


async def test_a_robot_of_the_sdk_rotates_its_key_and_stays_online(
    fleet: Fleet, key_path: Path
) -> None:
    name = await enrolled(fleet, key_path)
    before = load_key(key_path).public_key
    async with Robot(fleet.server.ws_url, name=name, key=key_path) as robot:
        for _ in range(2):
            await robot.rotate_key()
        assert robot.statistics().connections == 1
    assert load_key(key_path).public_key != before
    assert not key_path.with_name("r1.key.new").exists()
    async with Robot(fleet.server.ws_url, name=name, key=key_path) as robot:
        assert (await robot.whoami()).robot == name


async def test_devices_that_share_the_key_file_come_back_with_the_new_key(
    fleet: Fleet, key_path: Path
) -> None:
    name = await enrolled(fleet, key_path)
    url = fleet.server.ws_url
    async with (
        Robot(url, name=name, key=key_path) as robot,
        Robot(url, name=name, key=key_path, device="arm") as arm,
    ):
        await robot.rotate_key()
        while arm.statistics().connections < 2:
            await asyncio.sleep(0.01)
        assert (await arm.whoami()).device == "arm"


async def test_a_stolen_copy_of_the_old_key_is_worthless(fleet: Fleet, key_path: Path) -> None:
    name = await enrolled(fleet, key_path)
    stolen = load_key(key_path)
    async with Robot(fleet.server.ws_url, name=name, key=key_path) as robot:
        await robot.rotate_key()
    thief = Robot(fleet.server.ws_url, name=name, key=stolen, options=Options(connect_timeout_s=10))
    with pytest.raises(RobotRefused):
        await thief.__aenter__()


@pytest.mark.process
@pytest.mark.parametrize("step", rotating_robot.STEPS)
async def test_a_robot_that_is_killed_while_it_rotates_can_log_in(
    fleet: Fleet, key_path: Path, step: str
) -> None:
    name, url = await enrolled(fleet, key_path), fleet.server.ws_url
    program = [sys.executable, rotating_robot.__file__, url, name, str(key_path), step]
    killed = await asyncio.to_thread(
        subprocess.run, program, check=False, capture_output=True, timeout=50
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    async with Robot(url, name=name, key=key_path) as robot:
        assert (await robot.whoami()).robot == name
        await robot.rotate_key()
        assert not key_path.with_name("r1.key.new").exists()
    async with Robot(url, name=name, key=key_path) as robot:
        assert (await robot.whoami()).robot == name


async def test_files_go_on_after_a_new_key(fleet: Fleet, key_path: Path, tmp_path: Path) -> None:
    name, path = await enrolled(fleet, key_path), tmp_path / "a.txt"
    path.write_text("content")
    # Files go over HTTP, whichever way messages go.
    options = Options(http=fleet.server.url)
    async with Robot(fleet.server.ws_url, name=name, key=key_path, options=options) as robot:
        upload = await robot.upload(path)
        await robot.rotate_key()
        copy = await robot.download(upload.file, tmp_path / "copy.txt")
    assert copy.read_text() == "content"
