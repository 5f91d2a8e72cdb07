"""A real Chromium, and pages in it that follow a log as docs/http.md says."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.conftest import deployment, pytest_runtest_makereport, server, start_server
from tests.e2e.server_process import ServerProcess
from tests.house.source_tree import ROOT

__all__ = ["deployment", "pytest_runtest_makereport", "server", "start_server"]

CHROMIUM: Final = Path("/usr/bin/chromium")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_S: Final = 40
"""No test takes so long, and nothing is asserted about it: it is there so that none hangs."""

_SCRIPT: Final = re.compile(r"^```js\n(.*?)^```$", re.MULTILINE | re.DOTALL)
(DOCUMENTED,) = _SCRIPT.findall((ROOT / "docs" / "http.md").read_text(encoding="utf-8"))
"""What the page on HTTP tells authors of pages to write."""

_PAGE: Final = """<!doctype html><title>log</title><script>
const token = {token};
const shown = [], gaps = [];
const show = (event) => shown.push([event.seq, event.body]);
const showGap = (gap) => gaps.push(gap);
{script}
</script>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, with a profile of its own that ends with it.

    Not for the whole session: while Playwright waits for it, no other event loop can run.
    """
    assert CHROMIUM.exists(), "`make test` installs it: tools/set_up_tests.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that has no cookies yet."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_S * 1_000)
    yield page
    context.close()


class Speaker:
    """A robot that sends over HTTP, with a group of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.count = 0
        self.token = server.token("r1")
        self._ask("POST", "/groups", json={"name": "dock"})

    def say(self, count: int) -> None:
        """Send so many events."""
        for _ in range(count):
            self.count += 1
            key = {"Idempotency-Key": f"c{self.count}"}
            self._ask("POST", "/groups/dock/events", json={"body": self.count}, headers=key)

    @property
    def log(self) -> list[list[Any]]:
        """What a page has shown that was shown everything once: seq and body of each event."""
        return [[1, None], *([number + 1, number] for number in range(1, self.count + 1))]

    def _ask(self, method: str, path: str, *, headers: Any = None, json: Any) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        url = f"{self.server.url}/v1{path}"
        answer = httpx.request(method, url, json=json, headers=headers, timeout=TIMEOUT_S)
        assert answer.is_success, answer.text


def following(token: str, script: str = DOCUMENTED) -> str:
    """Return a page that follows the group from its begin on, by what the documentation says."""
    return _PAGE.format(token=repr(token), script=f"{script}\nfollow(0);")


def until_shown(page: Page, count: int) -> list[list[Any]]:
    """Wait until a page has shown so many events; return all it has shown, as ``Speaker.log`` has them."""
    page.wait_for_function(f"shown.length >= {count}")
    assert page.evaluate("gaps") == []
    shown: list[list[Any]] = page.evaluate("shown")
    return [[seq, None if seq == 1 else body] for seq, body in shown]


@pytest.fixture
def elsewhere() -> Iterator["Elsewhere"]:
    """A web server that is not the one of robots."""
    web = Elsewhere()
    yield web
    web.close()


class Elsewhere:
    """Serves one page on a port of its own.

    Attributes:
        page: what it serves.
        origin: from where.
    """

    def __init__(self) -> None:
        self.page = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = outer.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
