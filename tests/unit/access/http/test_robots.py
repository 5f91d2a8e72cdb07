"""Robots, registration and tokens over HTTP."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imserver import __version__
from imserver.core.warrant import Warrant
from imserver.protocol.client_frames import Hello
from imserver.protocol.names import DeviceName, RobotName
from tests.unit.access.http.api_in_memory import Answer, Api
from tests.unit.logic.recording_peer import RecordingPeer

KEY = Ed25519PrivateKey.from_private_bytes(b"r" * 32).public_key().public_bytes_raw()
PUBLIC_KEY = base64.b64encode(KEY).decode()


async def mint(api: Api, **fields: Any) -> Answer:
    """Ask for a token as an admin."""
    return await api.ask("POST", "/v1/tokens", robot="boss", admin=True, body=fields)


async def test_robots_are_listed_by_name_with_who_is_online(api: Api):
    peer, robot, device = RecordingPeer(), RobotName("r2"), DeviceName("main")
    await api.node.node.sessions.open(peer, Warrant(robot, 0), device, hello=Hello("r2"))
    first = await api.ask("GET", "/v1/robots?limit=2", robot="r1")
    rest = await api.ask("GET", "/v1/robots?after=r2", robot="r1")
    assert [(row["robot"], row["online"]) for row in first.json["robots"]] == [
        ("r1", False),
        ("r2", True),
    ]
    assert [row["robot"] for row in rest.json["robots"]] == ["r3"]


async def test_one_robot_is_told_of(api: Api):
    known = await api.ask("GET", "/v1/robots/r2", robot="r1")
    unknown = await api.ask("GET", "/v1/robots/r9", robot="r1")
    impossible = await api.ask("GET", "/v1/robots/a b", robot="r1")
    assert known.json["robot"] == "r2"
    assert unknown.code == impossible.code == "not_found"


async def test_a_caller_learns_for_whom_its_token_speaks(api: Api):
    answer = await api.ask("GET", "/v1/whoami", robot="boss", admin=True)
    expires = api.node.clock.ms + 3_600_000
    assert answer.json == {
        "robot": "boss",
        "admin": True,
        "scopes": ["admin"],
        "expires": expires,
    }


async def test_a_caller_learns_the_servers_id_its_clock_and_its_limits(api: Api):
    answer = await api.ask("GET", "/v1/server", robot="r1")
    assert answer.json["server"] == api.node.node.cases.identity.server_id
    assert answer.json["node"] == api.node.node.sessions.node
    assert answer.json["now"] == api.node.clock.ms
    assert answer.json["limits"]["page_max"] == 1_000


async def test_a_robot_registers_with_an_enrolment_token_from_an_admin(api: Api):
    minted = await mint(api, kind="enroll", robot="r9", groups=["g/dock"], ttl_s=60)
    body = {"robot": "r9", "token": minted.json["token"], "public_key": PUBLIC_KEY}
    answer = await api.ask("POST", "/v1/robots", body=body)
    members = await api.ask("GET", "/v1/groups/dock/members", robot="r1")
    assert (minted.status, answer.status, answer.json) == (201, 201, {"robot": "r9"})
    assert minted.json["expires"] == api.node.clock.ms + 60_000
    assert "r9" in [member["robot"] for member in members.json["members"]]


async def test_an_enrolment_token_is_good_once(api: Api):
    token = (await mint(api, kind="enroll", robot="r9")).json["token"]
    await api.ask(
        "POST", "/v1/robots", body={"robot": "r9", "token": token, "public_key": PUBLIC_KEY}
    )
    other = base64.b64encode(bytes(range(32))).decode()
    again = await api.ask(
        "POST", "/v1/robots", body={"robot": "r9", "token": token, "public_key": other}
    )
    assert (again.status, again.code) == (401, "unauthenticated")


@pytest.mark.parametrize("key", ["", "AA==", "no base64!", base64.b64encode(bytes(32)).decode()])
async def test_a_key_that_is_none_is_refused(api: Api, key: str):
    token = (await mint(api, kind="enroll", robot="r9")).json["token"]
    answer = await api.ask(
        "POST", "/v1/robots", body={"robot": "r9", "token": token, "public_key": key}
    )
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_a_bearer_token_from_an_admin_is_good(api: Api):
    minted = await mint(api, kind="bearer", robot="r2", ttl_s=60)
    token = {"Authorization": f"Bearer {minted.json['token']}"}
    good = await api.ask("GET", "/v1/whoami", headers=token)
    api.node.clock.ms += 60_000
    expired = await api.ask("GET", "/v1/whoami", headers=token)
    assert good.json["robot"] == "r2"
    assert expired.status == 401


async def test_only_an_admin_mints_tokens(api: Api):
    body = {"kind": "bearer", "robot": "r1", "scopes": ["admin"]}
    answer = await api.ask("POST", "/v1/tokens", robot="r1", body=body)
    assert (answer.status, answer.code) == (403, "forbidden")


async def test_minting_is_logged_without_the_token(api: Api, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO", "imserver.audit")
    minted = await mint(api, kind="bearer", robot="r2")
    record = next(record for record in caplog.records if record.msg == "act.performed")
    assert (record.by, record.robot, record.act) == ("boss", "r2", "token_minted")  # type: ignore[attr-defined]
    assert minted.json["token"] not in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "bearer", "robot": "a b"},
        {"kind": "root", "robot": "r1"},
        {"kind": "bearer", "robot": "r1", "ttl_s": 0},
        {"kind": "bearer", "robot": "r1", "ttl_s": 10**12},
        {"kind": "bearer", "robot": "r1", "groups": ["g/dock"]},
        {"kind": "enroll", "robot": "r1", "groups": ["d/r1/r2"]},
        {"kind": "enroll", "robot": "r1", "scopes": ["admin"]},
    ],
)
async def test_a_token_that_cannot_be_is_refused(api: Api, fields: dict[str, Any]):
    answer = await mint(api, **fields)
    assert (answer.status, answer.code) == (400, "bad_frame")


async def test_an_admin_sees_the_node(api: Api):
    answer = await api.ask("GET", "/v1/nodes", robot="boss", admin=True)
    assert answer.json == {
        "nodes": [
            {
                "node": api.node.node.sessions.node,
                "url": "http://127.0.0.1:7400",
                "version": __version__,
                "started_ms": api.node.clock.ms,
                "robots": 0,
                "connections": 0,
                "draining": False,
                "answers": 0,
            }
        ]
    }


async def test_a_node_counts_whom_it_holds_and_tells_that_it_drains(api: Api):
    peer, robot, device = RecordingPeer(), RobotName("r2"), DeviceName("main")
    await api.node.node.sessions.open(peer, Warrant(robot, 0), device, hello=Hello("r2"))
    api.node.door.drain()
    (node,) = (await api.ask("GET", "/v1/nodes", robot="boss", admin=True)).json["nodes"]
    assert (node["robots"], node["draining"]) == (1, True)


async def test_nobody_else_sees_the_nodes(api: Api):
    assert (await api.ask("GET", "/v1/nodes", robot="r1")).code == "forbidden"
