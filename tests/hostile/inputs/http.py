"""HTTP: smuggling, sizes, methods, origins, slowness."""

import asyncio
import gzip
import json
import socket
from collections.abc import Callable
from typing import Final

from tests.hostile.conftest import ADDRESS_CONNECTIONS_MAX, HELLO_TIMEOUT_S
from tests.hostile.inputs.attack import PATIENCE_S, Http, Input, Stage, Story
from tests.hostile.raw_socket import TEXT, RawSocket, frame, upgrade

EVENTS: Final = "/v1/groups/dock/events"
ALIVE: Final = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
VISITORS_RESERVE: Final = 256
SYBILS: Final = 4


def get(path: str = "/healthz", *headers: str, method: str = "GET") -> bytes:
    """Return a request without a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(stage: Stage, *headers: str) -> bytes:
    """Return the head of a request by a known robot that sends an event."""
    token = stage.server.token("mallory")
    fixed = [f"Authorization: Bearer {token}", "Idempotency-Key: c1"]
    return get(EVENTS, *fixed, *headers, method="POST")


JSON: Final = "Content-Type: application/json"
CHUNKED: Final = "Transfer-Encoding: chunked"


def chunked(chunks: bytes, *headers: str) -> Callable[[Stage], bytes]:
    """Return what sends an event in these chunks."""
    return lambda stage: post(stage, JSON, CHUNKED, *headers) + chunks


async def slow_head(stage: Stage) -> None:
    raw = await RawSocket.connect(stage.server)
    for byte in ALIVE * 40:
        raw.write(bytes([byte]))
        if await raw.wait_end(HELLO_TIMEOUT_S / 10):
            return
    raise AssertionError("each byte puts the deadline off")


async def slow_body(stage: Stage) -> None:
    raw = await RawSocket.connect(stage.server)
    raw.write(post(stage, JSON, "Content-Length: 100", "Expect: 100-continue"))
    seen = b""
    async with asyncio.timeout(PATIENCE_S):
        while b"HTTP/1.1 408 " not in seen:
            seen += await raw._reader.read(4_096)
    assert seen.startswith(b"HTTP/1.1 100 ")


async def pipelined(stage: Stage) -> None:
    raw = await RawSocket.connect(stage.server)
    raw.write((ALIVE + b"\r\n") * 1_000)
    seen = b""
    async with asyncio.timeout(PATIENCE_S):
        while seen.count(b"HTTP/1.1 200 OK") < 1_000:
            seen += await raw._reader.read(65_536)


async def many_polls(stage: Stage) -> None:
    robot = await stage.robot("poller")
    conv = await stage.gang.group(robot, name="polled")
    path = f"/v1/groups/{conv.removeprefix('g/')}/events?after=1&wait=30"
    token = f"Authorization: Bearer {stage.server.token(robot.robot)}"
    polls = []
    for _ in range(65):
        polls.append(await RawSocket.connect(stage.server))
        polls[-1].write(get(path, token))  # at once: who says nothing for long is closed
    waiting = {asyncio.ensure_future(raw.response()) for raw in polls}
    done, others = await asyncio.wait(waiting, timeout=PATIENCE_S, return_when="FIRST_COMPLETED")
    for each in others:
        each.cancel()
    assert [each.result()[0] for each in done] == [429]
    assert len(others) == 64


async def one_address(stage: Stage) -> None:
    opened = []
    for number in range(ADDRESS_CONNECTIONS_MAX + 1):
        raw = socket.socket()
        raw.setblocking(False)
        raw.bind(("127.0.0.9", 0))
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", stage.server.port))
        spoken = RawSocket(*await asyncio.open_connection(sock=raw))
        forged = f"10.0.0.{number % 250}"
        spoken.write(upgrade(X_Forwarded_For=forged, Sec_WebSocket_Protocol="imserver.v1.json"))
        opened.append((await spoken.response())[0])
        if opened[-1] == 101:  # they stay, however long it takes until all are there
            robot = stage.gang.name(f"sybil{number % SYBILS}")
            hello = {"t": "hello", "robot": robot, "device": f"d{number}", "auto": False}
            hello["token"] = stage.server.token(robot)
            spoken.write(frame(TEXT, json.dumps(hello).encode()))
            answer = await spoken.read_frame()
            assert answer is not None and b'"welcome"' in answer.payload, answer
    assert opened == [101] * ADDRESS_CONNECTIONS_MAX + [429]


def bomb(stage: Stage) -> bytes:
    """Return a send whose body is small and swells."""
    body = gzip.compress(b" " * 2**24)
    return post(stage, JSON, "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body


def csrf(*headers: str, status: int) -> Http:
    """Return a send as a browser could be made to do it."""
    return Http(
        lambda stage: post(stage, "Content-Length: 2", *headers) + b"{}", status, ends=False
    )


INPUTS: Final = (
    Input("a head that comes a byte at a time", Story("closes at the hello deadline", slow_head)),
    Input("Content-Length and Transfer-Encoding", Http(
        lambda stage: post(stage, JSON, "Content-Length: 5", CHUNKED) + b"0\r\n\r\n", 400)),
    Input("Transfer-Encoding before Content-Length", Http(
        lambda stage: post(stage, JSON, CHUNKED, "Content-Length: 5") + b"0\r\n\r\n", 400)),
    Input("Transfer-Encoding: chunked, identity", Http(
        lambda stage: post(stage, JSON, "Transfer-Encoding: chunked, identity"), 400)),
    Input("Transfer-Encoding: xchunked", Http(
        lambda stage: post(stage, JSON, "Transfer-Encoding: xchunked") + b"0\r\n\r\n", 400)),
    Input("two values of Content-Length", Http(
        get("/healthz", "Content-Length: 4", "Content-Length: 5", method="POST"), 400)),
    *(Input(f"Content-Length: {value}", Http(
        get("/healthz", f"Content-Length: {value}", method="POST"), 400))
      for value in ("+5", "-1", "5_0", "0x5", "5, 5")),
    Input("a chunk of size 0x5", Http(chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400)),
    Input("a chunk whose size has 17 digits", Http(chunked(b"1" * 17 + b"\r\nhello\r\n"), 400)),
    Input("a line feed in a chunk's extension", Http(chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400)),
    Input("chunks whose lines end with a line feed alone", Http(chunked(b"5\nhello\n0\n\n"), 400)),
    Input("a chunk that is longer than it says", Http(chunked(b"5\r\nhelloworld\r\n0\r\n\r\n"), 400)),
    Input("a trailer without end", Http(chunked(b"0\r\n" + b"X: y\r\n" * 20_000), 431)),
    Input("lines that end with a line feed alone", Http(b"GET /healthz HTTP/1.1\nHost: a\n\n", 400)),
    Input("a carriage return in a header", Http(get("/healthz", "Torn: a\rb"), 400)),
    Input("a NUL in a header", Http(get("/healthz", "Null: a\0b"), 400)),
    Input("a folded header", Http(get("/healthz", "Folded: a\r\n b"), 400)),
    Input("a space before a colon", Http(get("/healthz", "Bad : a"), 400)),
    Input("a header of 100 KiB", Http(get("/healthz", "X: " + "a" * 100_000), 431)),
    Input("a thousand headers", Http(get("/healthz", *["X: y"] * 1_000), 431)),
    Input("an address of 64 KiB", Http(get("/" + "a" * 65_536), 431)),
    Input("a body over the limit, announced", Http(
        lambda stage: post(stage, JSON, "Content-Length: 9999999999"), 413, ends=False)),
    Input("a body over the limit, in chunks", Http(
        chunked((b"10000\r\n" + b" " * 65_536 + b"\r\n") * 6), 413, ends=False)),
    Input("Expect: 100-continue, then nothing", Story("100, then 408 at the deadline", slow_body)),
    *(Input(f"a body with Content-Encoding: {coding}",
            csrf(JSON, f"Content-Encoding: {coding}", status=415)) for coding in ("gzip, gzip", "br")),
    Input("a gzip of 16 MiB of blanks", Http(bomb, 413, ends=False)),
    Input("a thousand requests in one piece", Story("answers each, in order", pipelined)),
    Input("HTTP/0.9", Http(b"GET /healthz\r\n\r\n", 400)),
    Input("the preface of HTTP/2", Http(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)),
    Input("the address of another host", Http(get("http://evil.example/healthz"), 200, ends=False)),
    Input("no Host", Http(b"GET /healthz HTTP/1.1\r\n\r\n", 400)),
    Input("two Hosts", Http(get("/healthz", "Host: evil.example"), 400)),
    *(Input(f"the path {path}", Http(get(path), status, ends=False))
      for path, status in (
          ("/v1/../healthz", 404), ("/v1/%2e%2e/healthz", 404), ("/v1/groups/%00/events", 401),
          ("/v1/groups/%c0%ae%c0%ae/events", 401), ("/v1//groups", 401))),
    Input("65 long polls of one robot", Story("holds 64; 429 to the last", many_polls)),
    Input("one WebSocket more than an address may have, with a forged X-Forwarded-For",
          Story("429 Too Many Requests", one_address)),
    Input("an event as text/plain, as a form of another site could send it",
          csrf("Content-Type: text/plain", status=415)),
    Input("an event as a form", csrf("Content-Type: application/x-www-form-urlencoded", status=415)),
    Input("an event from a page of another origin",
          csrf(JSON, "Origin: https://evil.example", status=403)),
    Input("TRACE", Http(get(method="TRACE"), 405, ends=False)),
    Input("CONNECT", Http(get(method="CONNECT"), 405, ends=False)),
    Input("a method that nobody knows", Http(get(method="BREW"), 400)),
    Input("X-HTTP-Method-Override: DELETE", Http(
        get("/healthz", "X-HTTP-Method-Override: DELETE"), 200, ends=False)),
    Input("a bearer token in the address", Http(
        lambda stage: get(f"/v1/whoami?token={stage.server.token('mallory')}"), 401, ends=False)),
    Input("administration without being an administrator", Http(
        lambda stage: get(
            "/v1/tokens", f"Authorization: Bearer {stage.server.token('mallory')}", JSON,
            "Content-Length: 31", method="POST") + b'{"kind":"bearer","robot":"r99"}', 403, ends=False)),
    *(Input(f"the debugging page {path}", Http(get(path), 404, ends=False))
      for path in ("/debug/pprof/", "/schema/../.env", "/admin")),
    Input("TLS on the port for HTTP, which has none", Http(
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400)),
    Input("raw TCP on the port for HTTP", Http(b"IM1M\x00\x00\x00\x05hello", 400)),
    Input("noise on the port for HTTP", Http(bytes(range(256)) * 100, 400)),
)  # fmt: skip
