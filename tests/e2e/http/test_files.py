"""Files over HTTP on a real server: uploads that are cut, seen by whom they should be, read in ranges."""

import asyncio
import base64
import hashlib
import io
import random
from pathlib import Path

import httpx
import pytest
from PIL import Image
from tusclient.client import TusClient

from tests.e2e.conftest import StartServer
from tests.e2e.http.conftest import NewRobot
from tests.e2e.http.robot_over_http import HttpRobot
from tests.e2e.http.uploads import (
    BYTES,
    TUS,
    Cut,
    metadata,
    offset_of,
    send_a_part,
    upload,
    upload_through_cuts,
)
from tests.e2e.server_process import ServerProcess

pytestmark = pytest.mark.process


@pytest.fixture
async def pair(
    shared_server: ServerProcess, new_robot: NewRobot, tag: str
) -> tuple[HttpRobot, HttpRobot, HttpRobot]:
    """Two members of a group, ``dock.<tag>``, and a stranger."""
    robots = [new_robot(shared_server, f"{name}.{tag}") for name in ("owner", "member", "stranger")]
    for robot in robots:
        await robot.ask("GET", "/whoami")
    owner, member, stranger = robots
    await owner.ask("POST", "/groups", json={"name": f"dock.{tag}", "members": [member.name]})
    return owner, member, stranger


async def refer(robot: HttpRobot, tag: str, file: str, key: str = "c1") -> httpx.Response:
    return await robot.ask(
        "POST",
        f"/groups/dock.{tag}/events",
        json={"kind": "file", "body": {"file": file}},
        headers={"Idempotency-Key": key},
    )


def code(answer: httpx.Response) -> tuple[int, str]:
    """Return an answer's status and its error code."""
    return answer.status_code, answer.json()["code"]


async def test_tuspy_uploads_unchanged(shared_server: ServerProcess, tag: str, tmp_path: Path):
    path = tmp_path / "video.mp4"
    path.write_bytes(random.Random(1).randbytes(3_000_000))
    auth = {"Authorization": f"Bearer {shared_server.token(f'r.{tag}')}"}
    client = TusClient(f"{shared_server.url}/v1/files", headers=auth)
    with path.open("rb") as video:
        uploader = client.uploader(
            file_stream=video,
            chunk_size=700_000,
            metadata={"filename": "video.mp4", "filetype": "video/mp4"},
            upload_checksum=True,
        )
        await asyncio.to_thread(uploader.upload)
    async with httpx.AsyncClient() as http:
        answer = await http.get(str(uploader.url), headers=auth)
    assert answer.content == path.read_bytes()
    assert answer.headers["Content-Type"] == "video/mp4"
    assert hashlib.sha256(answer.content).hexdigest() in answer.headers["ETag"]


async def test_an_upload_goes_on_after_it_was_cut_at_any_byte(
    pair: tuple[HttpRobot, ...], rng: random.Random
):
    owner, *_ = pair
    content = rng.randbytes(2_000_000)
    cuts = sorted(rng.randrange(len(content)) for _ in range(8))
    file = await upload_through_cuts(owner, content, cuts)
    answer = await owner.ask("GET", f"/files/{file}")
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()


async def test_a_client_goes_on_after_the_refusal_of_much_that_it_sent(pair: tuple[HttpRobot, ...]):
    content = bytes(3_000_000)
    file = await upload(pair[0], len(content))
    for _ in range(20):
        refused = await append(pair[0], file, content[1:], offset=1)
        assert refused.status_code == 409
        assert await offset_of(pair[0], file) == 0


async def test_an_upload_goes_on_after_its_server_was_killed(
    server: ServerProcess, new_robot: NewRobot, rng: random.Random
):
    robot = new_robot(server, "r1")
    content = rng.randbytes(1_500_000)
    file = await upload(robot, len(content))
    offset = 0
    for cut in sorted(rng.randrange(len(content)) for _ in range(2)):
        if cut > offset:
            await send_a_part(robot, file, content, Cut(offset, cut))
        await asyncio.to_thread(server.restart)
        robot = new_robot(server, "r1")
        head = await robot.ask("HEAD", f"/files/{file}", headers=TUS)
        offset = int(head.headers["Upload-Offset"])
        assert offset <= max(cut, offset)
    answer = await append(robot, file, content[offset:], offset)
    assert answer.status_code == 204
    got = await robot.ask("GET", f"/files/{file}")
    assert got.content == content


async def append(
    robot: HttpRobot, file: str, part: bytes, offset: int, **headers: str
) -> httpx.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = TUS | {"Upload-Offset": str(offset), "Content-Type": BYTES} | more
    return await robot.ask("PATCH", f"/files/{file}", content=part, headers=sent)


async def finished(robot: HttpRobot, content: bytes, **said: str) -> str:
    """Upload a file in one request; return its id."""
    headers = TUS | {"Upload-Length": str(len(content)), "Content-Type": BYTES}
    headers["Upload-Metadata"] = metadata(**said)
    answer = await robot.ask("POST", "/files", content=content, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Upload-Offset"] == str(len(content))
    return answer.headers["Location"].rpartition("/")[2]


async def test_what_the_server_can_is_told(pair: tuple[HttpRobot, ...]):
    answer = await pair[0].ask("OPTIONS", "/files")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    extensions = "creation,creation-with-upload,checksum,termination,expiration"
    assert answer.headers["Tus-Extension"] == extensions
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"


async def test_an_upload_tells_how_far_it_came(pair: tuple[HttpRobot, ...]):
    owner, _, stranger = pair
    file = await upload(owner, 10, filename="a.txt")
    await append(owner, file, b"12345", 0)
    head = await owner.ask("HEAD", f"/files/{file}", headers=TUS)
    assert head.status_code == 200
    told = {
        name: head.headers[name] for name in ("Upload-Offset", "Upload-Length", "Cache-Control")
    }
    assert told == {"Upload-Offset": "5", "Upload-Length": "10", "Cache-Control": "no-store"}
    assert head.headers["Upload-Metadata"] == metadata(filename="a.txt")
    assert "Upload-Expires" in head.headers
    assert code(await owner.ask("GET", f"/files/{file}")) == (409, "conflict")
    assert (await stranger.ask("HEAD", f"/files/{file}", headers=TUS)).status_code == 404
    listed = (await owner.ask("GET", "/files")).json()["files"]
    assert [(row["file"], row["offset"], row["name"]) for row in listed] == [(file, 5, "a.txt")]


async def test_members_see_a_file_that_an_event_refers_to_and_nobody_else(
    pair: tuple[HttpRobot, ...], tag: str
):
    owner, member, stranger = pair
    file = await finished(owner, b"a map", filename="map.png", filetype="image/png")
    for robot in (member, stranger):
        assert code(await robot.ask("GET", f"/files/{file}")) == (404, "not_found")
    assert (await refer(owner, tag, file)).status_code == 201
    assert (await member.ask("GET", f"/files/{file}")).content == b"a map"
    unseen = await stranger.ask("GET", f"/files/{file}")
    missing = await stranger.ask("GET", f"/files/{'x' * len(file)}")
    assert code(unseen) == (404, "not_found")
    assert unseen.json()["detail"].replace(file, "") == missing.json()["detail"].replace(
        "x" * len(file), ""
    )
    for method in ("DELETE", "PATCH"):
        headers = TUS | {"Upload-Offset": "0", "Content-Type": BYTES}
        answer = await member.ask(method, f"/files/{file}", headers=headers, content=b"")
        assert answer.status_code == 404
    await owner.ask("DELETE", f"/groups/dock.{tag}/members/{member.name}")
    assert code(await member.ask("GET", f"/files/{file}")) == (404, "not_found")


async def test_an_event_refers_to_a_file_that_is_there_and_that_its_sender_sees(
    pair: tuple[HttpRobot, ...], tag: str
):
    owner, member, _ = pair
    unfinished = await upload(owner, 10)
    assert code(await refer(owner, tag, unfinished)) == (409, "conflict")
    assert code(await refer(member, tag, unfinished)) == (404, "not_found")
    assert code(await refer(owner, tag, "nothing")) == (404, "not_found")
    for body in ({"name": "map.png"}, {"file": 7}, "text", None):
        answer = await owner.ask(
            "POST",
            f"/groups/dock.{tag}/events",
            json={"kind": "file", "body": body},
            headers={"Idempotency-Key": "c"},
        )
        assert code(answer) == (400, "bad_frame"), body
    file = await finished(owner, b"one")
    assert (await refer(owner, tag, file, "c1")).status_code == 201
    assert (await refer(member, tag, file, "c2")).status_code == 201  # who sees it passes it on
    assert (await owner.ask("DELETE", f"/files/{file}", headers=TUS)).status_code == 204
    assert (await refer(owner, tag, file, "c1")).json()["dup"]  # stored before it went
    assert code(await refer(owner, tag, file, "c3")) == (404, "not_found")
    assert (await member.ask("GET", f"/files/{file}")).status_code == 404


RANGES: list[tuple[str, int, str, str]] = [
    ("bytes=0-3", 206, "0123", "bytes 0-3/20"),
    ("bytes=15-", 206, "56789", "bytes 15-19/20"),
    ("bytes=-4", 206, "6789", "bytes 16-19/20"),
    ("bytes=18-999", 206, "89", "bytes 18-19/20"),
    ("bytes=-999", 206, "01234567890123456789", "bytes 0-19/20"),
    ("bytes=20-", 416, "", "bytes */20"),
    ("bytes=-0", 416, "", "bytes */20"),
    ("bytes=0-1,5-6", 200, "01234567890123456789", ""),
    ("bytes=5-3", 200, "01234567890123456789", ""),
    ("lines=1-2", 200, "01234567890123456789", ""),
]


@pytest.mark.parametrize(("wanted", "status", "text", "told"), RANGES)
async def test_a_part_of_a_file_is_read_by_its_range(
    pair: tuple[HttpRobot, ...], wanted: str, status: int, text: str, told: str
):
    owner, *_ = pair
    file = await finished(owner, b"01234567890123456789")
    answer = await owner.ask("GET", f"/files/{file}", headers={"Range": wanted})
    assert (answer.status_code, answer.headers.get("Content-Range", "")) == (status, told)
    if status != 416:
        assert answer.text == text
    head = await owner.ask("HEAD", f"/files/{file}", headers={"Range": wanted})
    assert head.status_code == status
    assert head.content == b""


async def test_a_range_and_a_copy_go_by_the_etag(pair: tuple[HttpRobot, ...]):
    owner, *_ = pair
    file = await finished(owner, b"0123456789")
    path = f"/files/{file}"
    etag = (await owner.ask("GET", path)).headers["ETag"]
    part = await owner.ask("GET", path, headers={"Range": "bytes=2-3", "If-Range": etag})
    assert (part.status_code, part.text) == (206, "23")
    whole = await owner.ask("GET", path, headers={"Range": "bytes=2-3", "If-Range": '"other"'})
    assert (whole.status_code, whole.text) == (200, "0123456789")
    same = await owner.ask("GET", path, headers={"If-None-Match": f'"x", {etag}'})
    assert (same.status_code, same.content) == (304, b"")


async def test_a_browser_does_not_run_what_it_is_given(pair: tuple[HttpRobot, ...]):
    owner, *_ = pair
    for name, media_type in (
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ('"; x=".js', "application/javascript"),
        ("käse\u2603.exe", "application/xhtml+xml"),
    ):
        file = await finished(owner, b"<script>1</script>", filename=name, filetype=media_type)
        answer = await owner.ask("GET", f"/files/{file}")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith("attachment; filename=")
        assert disposition.count('"') == 2


async def test_a_run_with_a_wrong_checksum_is_dropped_and_sent_again(pair: tuple[HttpRobot, ...]):
    owner, *_ = pair
    content = random.Random(2).randbytes(600_000)
    file = await upload(owner, len(content))
    good = "sha256 " + base64.b64encode(hashlib.sha256(content[300_000:]).digest()).decode()
    first = "sha1 " + base64.b64encode(hashlib.sha1(content[:300_000]).digest()).decode()
    assert (
        await append(owner, file, content[:300_000], 0, Upload_Checksum=first)
    ).status_code == 204
    wrong = bytes(300_000)
    answer = await append(owner, file, wrong, 300_000, Upload_Checksum=good)
    assert code(answer) == (460, "conflict")
    head = await owner.ask("HEAD", f"/files/{file}", headers=TUS)
    assert head.headers["Upload-Offset"] == "300000"
    answer = await append(owner, file, content[300_000:], 300_000, Upload_Checksum=good)
    assert answer.status_code == 204
    whole = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert answer.headers["Repr-Digest"] == f"sha-256=:{whole}:"
    assert (await owner.ask("GET", f"/files/{file}")).content == content


async def test_a_whole_with_another_digest_than_was_said_is_let_go(pair: tuple[HttpRobot, ...]):
    owner, *_ = pair
    content = b"what came"
    said = hashlib.sha256(b"what was meant").hexdigest()
    file = await upload(owner, len(content), sha256=said)
    assert code(await append(owner, file, content, 0)) == (460, "conflict")
    assert (await owner.ask("HEAD", f"/files/{file}", headers=TUS)).status_code == 404
    file = await upload(owner, len(content))
    told = base64.b64encode(hashlib.sha256(b"else").digest()).decode()
    answer = await append(owner, file, content, 0, Repr_Digest=f"sha-256=:{told}:")
    assert code(answer) == (460, "conflict")
    good = hashlib.sha256(content).hexdigest()
    file = await upload(owner, len(content), sha256=good)
    assert (await append(owner, file, content, 0)).status_code == 204


async def test_files_of_the_same_content_are_kept_once(server: ServerProcess, new_robot: NewRobot):
    content = random.Random(3).randbytes(900_000)
    one, other = new_robot(server, "r1"), new_robot(server, "r2")
    first, second = await finished(one, content), await finished(other, content)
    assert (await other.ask("GET", f"/files/{second}")).content == content
    assert (await other.ask("GET", f"/files/{first}")).status_code == 404
    await one.ask("DELETE", f"/files/{first}", headers=TUS)
    assert (await other.ask("GET", f"/files/{second}")).content == content


@pytest.mark.one_node(reason="it looks for the bytes in the directory of the embedded store")
async def test_what_expires_goes_with_its_bytes(start_server: StartServer, new_robot: NewRobot):
    brief = {"IMSERVER_FILES_UPLOAD_TTL_S": "1", "IMSERVER_FILES_TTL_S": "1"}
    server = start_server(environment=brief)  # which sweeps so seldom that all stays meanwhile
    robot = new_robot(server, "r1")
    headers = TUS | {"Upload-Length": "10", "Content-Type": BYTES}
    begun = await robot.ask("POST", "/files", content=b"12345", headers=headers)
    unfinished = begun.headers["Location"].rpartition("/")[2]
    whole = await finished(robot, b"0123456789")
    folder = server.data / "files"
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 2
    await robot.aclose()
    await asyncio.to_thread(server.stop)
    server = start_server(data=server.data, environment={"IMSERVER_FILES_SWEEP_S": "0.1"})
    robot = new_robot(server, "r1")
    for file in (unfinished, whole):
        while (await robot.ask("HEAD", f"/files/{file}", headers=TUS)).status_code != 404:
            await asyncio.sleep(0.02)
    while any(path.is_file() for path in folder.rglob("*")):
        await asyncio.sleep(0.02)
    assert server.running


def picture(size: tuple[int, int], form: str = "PNG", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, "red").save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "RGB"), ("PNG", "RGBA"), ("GIF", "P")])
async def test_a_picture_has_a_thumbnail_for_who_sees_it(
    pair: tuple[HttpRobot, ...], form: str, mode: str
):
    owner, member, _ = pair
    file = await finished(owner, picture((1_000, 500), form, mode), filetype="image/png")
    for _ in range(2):
        answer = await owner.ask("GET", f"/files/{file}/thumbnail")
        assert answer.status_code == 200
        with Image.open(io.BytesIO(answer.content)) as small:
            assert small.size == (320, 160)
            assert answer.headers["Content-Type"] == f"image/{str(small.format).lower()}"
    assert code(await member.ask("GET", f"/files/{file}/thumbnail")) == (404, "not_found")


BROKEN = {
    "no picture": b"text",
    "cut off": picture((500, 500))[:300],
    "a bomb": picture((20_000, 20_000), "PNG", "1"),
    "empty": b"",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_good_picture_has_no_thumbnail(
    pair: tuple[HttpRobot, ...], content: bytes
):
    owner, *_ = pair
    file = await finished(owner, content, filetype="image/png")
    for _ in range(2):
        assert code(await owner.ask("GET", f"/files/{file}/thumbnail")) == (404, "not_found")
    assert (await owner.ask("GET", f"/files/{file}")).content == content
