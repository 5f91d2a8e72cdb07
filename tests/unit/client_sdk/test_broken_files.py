"""Files over connections that break where it hurts, from a server made by hand."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from client_sdk import ConnectionLost, Options, Robot
from client_sdk.testing import MemoryServer

MIB = 1024 * 1024
CONTENT = b"x" * (16 * MIB)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STEPS = 8
STEP_S = 0.2
PATIENCE_S = 1.0
"""Shorter than a try that goes all its steps, longer than any of them."""


class Handler(BaseHTTPRequestHandler):
    """Breaks the first try behind a part of the file that took long, or each before its first byte."""

    def log_message(self, *_arguments):
        pass

    def do_POST(self):
        self.answer(201, Location="/v1/files/f1")

    def do_HEAD(self):
        offset = str(self.server.done)
        self.answer(200, Content_Length=len(CONTENT), **{"Upload-Offset": offset}, **self.etag())

    def do_GET(self):
        begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.answer(206, Content_Length=len(CONTENT) - begin)
        self.move(lambda: self.wfile.write(CONTENT[:MIB]))
        if self.server.may_end:
            self.wfile.write(CONTENT[begin + self.server.moved :])

    def do_PATCH(self):
        self.server.is_upload = True
        self.move(lambda: self.rfile.read(MIB))
        if self.server.may_end:
            self.rfile.read(int(self.headers["Content-Length"]) - self.server.moved)
            self.answer(204)

    def move(self, step):
        """Go slowly through a part of the file, the first time."""
        self.server.tries += 1
        self.server.may_end = self.server.tries > 1 and not self.server.breaks_always
        self.server.moved = 0
        if self.server.tries == 1 and not self.server.breaks_always:
            for _ in range(STEPS):
                self.server.pace.wait(STEP_S)
                step()
                self.server.done += MIB
        self.close_connection = True

    def etag(self):
        return {} if self.server.is_upload else {"ETag": f'"{DIGEST}"'}

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.done = server.tries = 0
    server.is_upload = server.breaks_always = False
    server.pace = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.pace.set()
    server.shutdown()
    thread.join()
    server.server_close()


def robot(web):
    options = Options(http=f"http://127.0.0.1:{web.server_port}")
    memory = MemoryServer()
    memory._node.know("r1")
    return Robot("ws://m", name="r1", bearer="b", connector=memory, options=options)


async def test_a_download_that_moved_until_its_line_broke_goes_on(web, tmp_path):
    async with robot(web) as r1:
        path = await r1.download("f1", tmp_path / "copy", timeout_s=PATIENCE_S)
    assert path.read_bytes() == CONTENT
    assert web.tries == 2


async def test_an_upload_that_moved_until_its_line_broke_goes_on(web, tmp_path):
    path = tmp_path / "whole"
    path.write_bytes(CONTENT)
    async with robot(web) as r1:
        upload = await r1.upload(path, timeout_s=PATIENCE_S)
    assert (upload.sha256, web.tries) == (DIGEST, 2)


async def test_a_download_that_is_cut_before_its_first_byte_each_time_gives_up(web, tmp_path):
    web.breaks_always = True
    async with robot(web) as r1:
        with pytest.raises(ConnectionLost, match="no progress"):
            await r1.download("f1", tmp_path / "copy", timeout_s=PATIENCE_S)
    assert web.tries < 20
