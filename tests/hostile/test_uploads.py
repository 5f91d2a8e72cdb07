"""Uploads that nobody should send: each gets a clear answer, and honest robots notice nothing."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.http.uploads import BYTES, TUS, Stalled, metadata, offset_of, upload
from tests.e2e.server_process import ServerProcess
from tests.hostile.conftest import HELLO_TIMEOUT_S

pytestmark = pytest.mark.process


@pytest.fixture
async def robot(target: ServerProcess) -> AsyncIterator[HttpRobot]:
    robot = HttpRobot(target, "uploader")
    yield robot
    await robot.aclose()
    robot = HttpRobot(target, "uploader")
    for row in (await robot.ask("GET", "/files")).json()["files"]:
        await robot.ask("DELETE", f"/files/{row['file']}", headers=TUS)
    await robot.aclose()


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    return answer.status_code, answer.json()["code"]


def said(key: str, value: str) -> dict[str, str]:
    return {"Upload-Metadata": metadata(**{key: value})}


CREATIONS: list[tuple[dict[str, str], tuple[int, str]]] = [
    ({"Upload-Length": "-1"}, (400, "bad_frame")),
    ({"Upload-Length": "1e3"}, (400, "bad_frame")),
    ({"Upload-Length": ""}, (400, "bad_frame")),
    ({"Upload-Length": "9" * 400}, (400, "bad_frame")),
    ({"Upload-Length": str(2**53)}, (413, "too_large")),
    ({"Upload-Length": str(5 * 1024**3)}, (413, "too_large")),
    ({"Tus-Resumable": "0.2.2"}, (412, "unsupported")),
    ({"Upload-Metadata": "filename"} | {"Upload-Metadata": "filename !!!"}, (400, "bad_frame")),
    ({"Upload-Metadata": "filename /w=="}, (400, "bad_frame")),
    ({"Upload-Metadata": ",,,"}, (400, "bad_frame")),
    ({"Upload-Metadata": "a YQ==,a YQ=="}, (400, "bad_frame")),
    ({"Upload-Metadata": "a " + "A" * 5_000}, (400, "bad_frame")),
    (said("filename", "../../etc/passwd"), (400, "bad_frame")),
    (said("filename", "C:\\boot.ini"), (400, "bad_frame")),
    (said("filename", ".."), (400, "bad_frame")),
    (said("filename", "a\r\nSet-Cookie: x=1"), (400, "bad_frame")),
    (said("filename", "gpj.\u202eexe"), (400, "bad_frame")),
    (said("filename", "a" * 256), (400, "bad_frame")),
    (said("filetype", "text/html\r\nX: y"), (400, "bad_frame")),
    (said("filetype", "nothing"), (400, "bad_frame")),
    (said("sha256", "abc"), (400, "bad_frame")),
    ({"Content-Type": "text/plain"}, (415, "unsupported")),
    ({"Upload-Checksum": "sha256 !!!"}, (400, "bad_frame")),
    ({"Repr-Digest": "sha-256=:AAAA:"}, (400, "bad_frame")),
]


@pytest.mark.parametrize(("headers", "expected"), CREATIONS, ids=range(len(CREATIONS)))
async def test_an_upload_that_cannot_be_is_not_begun(
    robot: HttpRobot, headers: dict[str, str], expected: tuple[int, str]
):
    answer = await robot.ask("POST", "/files", headers=TUS | {"Upload-Length": "9"} | headers)
    assert code(answer) == expected
    assert answer.json()["detail"]
    assert (await robot.ask("GET", "/files")).json() == {"files": []}


RUNS: list[tuple[dict[str, str], bytes, tuple[int, str]]] = [
    ({"Upload-Offset": "1"}, b"x", (409, "conflict")),
    ({"Upload-Offset": "-1"}, b"x", (400, "bad_frame")),
    ({"Upload-Offset": "zero"}, b"x", (400, "bad_frame")),
    ({"Upload-Offset": str(2**60)}, b"x", (400, "bad_frame")),
    ({}, b"x" * 11, (413, "too_large")),
    ({"Content-Type": "application/json"}, b"x", (415, "unsupported")),
    ({"Tus-Resumable": "2.0.0"}, b"x", (412, "unsupported")),
    ({"Upload-Checksum": "md5 AAAA"}, b"x", (400, "bad_frame")),
    ({"Upload-Checksum": "sha256 AAAA"}, b"x", (400, "bad_frame")),
    (
        {"Upload-Checksum": "sha256 " + base64.b64encode(bytes(32)).decode()},
        b"x",
        (460, "conflict"),
    ),
]


@pytest.mark.parametrize(("headers", "body", "expected"), RUNS, ids=range(len(RUNS)))
async def test_bytes_that_do_not_belong_there_are_refused(
    robot: HttpRobot, headers: dict[str, str], body: bytes, expected: tuple[int, str]
):
    file = await upload(robot, 10)
    given = TUS | {"Upload-Offset": "0", "Content-Type": BYTES} | headers
    answer = await robot.ask("PATCH", f"/files/{file}", headers=given, content=body)
    assert code(answer) == expected
    assert await offset_of(robot, file) == 0


async def test_a_body_without_end_stops_at_the_end_of_the_file(robot: HttpRobot):
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000

    file = await upload(robot, 5_000)
    headers = TUS | {"Upload-Offset": "0", "Content-Type": BYTES}
    answer = await robot.ask("PATCH", f"/files/{file}", headers=headers, content=endless())
    assert code(answer) == (413, "too_large")
    assert await offset_of(robot, file) <= 5_000


@pytest.mark.parametrize(
    "path", ["..", "%2e%2e%2f%2e%2e%2fserver.key", "x" * 5_000, "%00", "a%0ab"]
)
async def test_an_id_that_is_none_finds_nothing(robot: HttpRobot, path: str):
    answer = await robot.ask("GET", f"/files/{path}")
    assert answer.status_code in (200, 404) if path == ".." else answer.status_code == 404
    assert b"PRIVATE" not in answer.content


async def test_of_two_writers_one_is_told_that_the_other_writes(robot: HttpRobot):
    file = await upload(robot, 1_000)
    async with Stalled(robot, file, 0, b"x" * 100, announced=1_000) as first:
        answer = await refused_beside(robot, file)
        assert code(answer) == (423, "conflict")
        assert "HEAD" in answer.json()["detail"]
        await first.send(b"y" * 900)
        assert await first.status() == 204
    got = await robot.ask("GET", f"/files/{file}")
    assert got.content == b"x" * 100 + b"y" * 900


async def refused_beside(robot: HttpRobot, file: str) -> httpx.Response:
    """Write beside another, once that one has the turn; return how that is refused."""
    while "imserver_http_stays 1.0" not in await robot.metrics():
        await asyncio.sleep(0.01)
    headers = TUS | {"Upload-Offset": "0", "Content-Type": BYTES}
    return await robot.ask("PATCH", f"/files/{file}", headers=headers, content=b"")


async def test_who_asks_how_far_it_came_takes_it_over(robot: HttpRobot):
    file = await upload(robot, 1_000)
    async with Stalled(robot, file, 0, b"x" * 100, announced=1_000) as first:
        await refused_beside(robot, file)
        assert await offset_of(robot, file) == 100
        assert await first.status() == 423
    headers = TUS | {"Upload-Offset": "100", "Content-Type": BYTES}
    answer = await robot.ask("PATCH", f"/files/{file}", headers=headers, content=b"y" * 900)
    assert answer.status_code == 204


async def test_a_body_that_dribbles_is_given_up_and_what_came_is_kept(
    robot: HttpRobot, target: ServerProcess
):
    file = await upload(robot, 1_000)
    async with Stalled(robot, file, 0, b"x" * 100, announced=1_000) as first:
        async with asyncio.timeout(20 * HELLO_TIMEOUT_S):
            assert await first.status() == 408
        again = HttpRobot(
            target, robot.name
        )  # the connection that idled meanwhile is given up, too
        assert await offset_of(again, file) == 100
        await again.ask("DELETE", f"/files/{file}", headers=TUS)
        await again.aclose()


async def test_nobody_gets_more_than_the_quota(start_limited: Any):
    robot = await start_limited(ROBOT_BYTES_MAX="100", FILE_BYTES_MAX="80", ROBOT_UPLOADS_MAX="2")
    headers = TUS | {"Upload-Length": "81"}
    assert code(await robot.ask("POST", "/files", headers=headers)) == (413, "too_large")
    await upload(robot, 60)
    headers = TUS | {"Upload-Length": "60"}
    refused = await robot.ask("POST", "/files", headers=headers)
    assert code(refused) == (413, "too_large")
    assert "120" in refused.json()["detail"]
    await upload(robot, 10)
    answers = [await robot.ask("POST", "/files", headers=TUS | {"Upload-Length": "1"})]
    assert code(answers[0]) == (429, "rate_limited")


async def test_a_disk_without_room_takes_no_files_and_goes_on_with_messages(start_limited: Any):
    robot = await start_limited(FREE_BYTES_MIN=str(2**49))
    await robot.ask("POST", "/groups", json={"name": "dock"})
    file = await upload(robot, 600_000)
    headers = TUS | {"Upload-Offset": "0", "Content-Type": BYTES}
    answer = await robot.ask("PATCH", f"/files/{file}", headers=headers, content=bytes(600_000))
    assert code(answer) == (503, "unavailable")
    await robot.send("dock", "still here", key="c1")


@pytest.fixture
async def start_limited(tmp_path) -> AsyncIterator[Any]:
    """Start a server with other limits for files, and a robot on it."""
    servers: list[ServerProcess] = []
    robots: list[HttpRobot] = []

    async def start(**limits: str) -> HttpRobot:
        environment = {f"IMSERVER_FILES_{name}": value for name, value in limits.items()}
        servers.append(ServerProcess(tmp_path / "limited", environment=environment))
        await asyncio.to_thread(servers[-1].start)
        robots.append(HttpRobot(servers[-1], "r1"))
        return robots[-1]

    yield start
    for robot in robots:
        await robot.aclose()
    for server in servers:
        server.stop()
