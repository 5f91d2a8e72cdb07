"""Robots come into being and say hello, with nothing but the wire."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import connect

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import JSON, MSGPACK, Fleet, Peer, Refused, together

EXAMPLE = Path(__file__).parents[2] / "examples" / "wire_client.py"


async def test_a_robot_registers_with_the_token_that_the_command_printed(
    shared_server: ServerProcess, fleet: Fleet
) -> None:
    name = fleet.name("r1")
    printed = shared_server.command("enroll", "--robot", name)
    assert re.fullmatch(r"\S+\n", printed), "the token alone on standard output"
    peer = await fleet.stranger()
    key = Ed25519PrivateKey.generate()
    assert (await peer.register(name, token=printed.strip(), key=key))["t"] == "ok"
    assert (await peer.hello(name, key=key))["robot"] == name


async def test_a_bearer_token_that_the_command_printed_opens_a_session(
    shared_server: ServerProcess, fleet: Fleet
) -> None:
    name = fleet.name("r1")
    printed = shared_server.command("token", "--robot", name)
    assert re.fullmatch(r"\S+\n", printed), "the token alone on standard output"
    peer = await fleet.stranger()
    welcome = await peer.hello(name, key=None, token=printed.strip())
    assert welcome["t"] == "welcome"


async def test_json_robots_register_with_keys_and_signatures_in_base64(
    shared_server: ServerProcess, fleet: Fleet
) -> None:
    name = fleet.name("r1")
    peer = await fleet.stranger(JSON)
    key = Ed25519PrivateKey.generate()
    await peer.register(name, token=shared_server.enroll(name), key=key)
    assert (await peer.hello(name, key=key))["t"] == "welcome"


async def test_an_enrolment_token_puts_the_robot_into_its_groups(fleet: Fleet) -> None:
    owner = await fleet.online("owner")
    conv = await fleet.group(owner)
    name = fleet.name("r1")
    peer = await fleet.stranger()
    key = Ed25519PrivateKey.generate()
    await peer.register(name, token=fleet.server.enroll(name, [conv]), key=key)
    welcome = await peer.hello(name, key=key)
    assert [state["conv"] for state in welcome["conversations"]] == [conv]
    assert (await peer.send(conv, "here"))["seq"] > 1


async def test_welcome_tells_who_where_when_and_the_limits(fleet: Fleet) -> None:
    robot = await fleet.online("r1", device="arm")
    welcome = robot.welcome
    assert (welcome["robot"], welcome["device"]) == (robot.robot, "arm")
    assert welcome["session"] and welcome["node"]
    assert welcome["now"] > 1_600_000_000_000
    assert welcome["limits"]["body_bytes_max"] == 256 * 1024
    assert welcome["conversations"] == []


async def test_welcome_lists_each_conversation_with_its_head_and_what_the_device_acked(
    fleet: Fleet,
) -> None:
    robot = await fleet.online("r1")
    conv = await fleet.group(robot)
    epoch = (await robot.send(conv, 1))["epoch"]
    await robot.send(conv, 2)
    await robot.ack(conv, 2)
    await robot.settle()
    await robot.close()
    again = await fleet.online("r1")
    state = {"conv": conv, "epoch": epoch, "seq": 3, "acked": 2}
    assert again.welcome["conversations"] == [state]


async def test_the_server_keeps_its_id_over_a_restart(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    await own_fleet.register("r1")
    ids = []
    for _ in range(2):
        peer = await own_fleet.stranger()
        await peer.write({"t": "hello", "robot": own_fleet.name("r1")})
        challenge = await peer.read()
        ids.append(challenge["server"])
        server.restart()
    assert ids[0] == ids[1]


async def test_each_challenge_has_a_nonce_of_its_own(fleet: Fleet) -> None:
    await fleet.register("r1")
    nonces = set()
    for _ in range(5):
        peer = await fleet.stranger()
        await peer.write({"t": "hello", "robot": fleet.name("r1")})
        nonces.add((await peer.read())["nonce"])
    assert len(nonces) == 5


async def test_messagepack_is_spoken_when_no_subprotocol_is_asked_for(
    shared_server: ServerProcess, fleet: Fleet
) -> None:
    socket = await connect(f"{shared_server.ws_url}/v1/connect")
    peer = Peer(socket, MSGPACK)
    name = fleet.name("r1")
    welcome = await peer.hello(name, key=None, token=shared_server.token(name))
    assert welcome["t"] == "welcome"
    await peer.close()


async def test_whoami_answers_with_the_name_the_device_and_the_session(fleet: Fleet) -> None:
    robot = await fleet.online("r1", device="arm")
    identity = (await robot.request("whoami"))["result"]
    assert identity["robot"] == robot.robot
    assert identity["device"] == "arm"
    assert identity["session"] == robot.welcome["session"]
    assert identity["node"] == robot.welcome["node"]


async def test_ping_answers_with_the_clock_of_the_server(fleet: Fleet) -> None:
    robot = await fleet.online("r1")
    first = await robot.request("ping")
    second = await robot.request("ping")
    assert first["t"] == "pong"
    assert robot.welcome["now"] <= first["now"] <= second["now"]


def test_the_example_runs_as_its_first_lines_say(
    shared_server: ServerProcess,
) -> None:
    for flags in ([], ["--json"]):
        names = [f"example-{'json' if flags else 'msgpack'}-{number}" for number in (1, 2)]
        pairs = [f"{name}={shared_server.enroll(name)}" for name in names]
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), shared_server.ws_url, *pairs, *flags],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("both robots read the same log\n"), done.stdout


async def test_of_many_that_race_with_one_token_through_both_doors_one_is_registered(
    fleet: Fleet,
) -> None:
    name, server = fleet.name("raced"), fleet.server
    token = server.enroll(name)
    keys = [Ed25519PrivateKey.generate() for _ in range(10)]
    peers = [await fleet.stranger() for _ in keys[:5]]

    async def by_frame(peer: Peer, key: Ed25519PrivateKey) -> Ed25519PrivateKey | None:
        try:
            await peer.register(name, token=token, key=key)
        except Refused:
            return None
        return key

    async with httpx.AsyncClient(base_url=server.url, verify=False) as http:

        async def by_request(key: Ed25519PrivateKey) -> Ed25519PrivateKey | None:
            public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
            body = {"robot": name, "token": token, "public_key": public}
            answer = await http.post("/v1/robots", json=body)
            return key if answer.is_success else None

        frames = map(by_frame, peers, keys[:5])
        done = await together(*frames, *map(by_request, keys[5:]))
    [winner] = [key for key in done if key is not None]
    for key in keys:
        peer = await fleet.stranger()
        if key is winner:
            assert (await peer.hello(name, key=key))["t"] == "welcome"
        else:
            with pytest.raises(Refused):
                await peer.hello(name, key=key)
