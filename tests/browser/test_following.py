"""Pages in a real Chromium follow a group by EventSource, through lost connections: no gap, no double."""

import random
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Request

from tests.browser.conftest import DOCUMENTED, Elsewhere, Speaker, following, until_shown
from tests.cutting_proxy import CuttingProxy
from tests.e2e.conftest import StartServer
from tests.e2e.server_process import ServerProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
CUTS = 3


def open_at(page: Page, origin: str, content: str) -> None:
    """Open a page as if the server of ``origin`` had it; everything else it asks for goes there indeed."""
    page.route(
        f"{origin}/page", lambda route: route.fulfill(body=content, content_type="text/html")
    )
    page.goto(f"{origin}/page")


def test_a_page_goes_on_after_its_server_was_killed_and_started_again(
    server: ServerProcess, page: Page
):
    speaker = Speaker(server)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_at(page, server.url, following(speaker.token))
    speaker.say(3)
    assert until_shown(page, 4) == speaker.log, "live"
    for _ in range(2):
        server.kill()
        server.start()
        speaker.say(3)
        assert until_shown(page, speaker.count + 1) == speaker.log
    streams = [url for url in asked if "/events/stream" in url]
    assert len(streams) >= 3
    assert not [url for url in asked if speaker.token in url], "a token stands in no address"


@pytest.fixture
def proxy(server: ServerProcess, rng: random.Random) -> Iterator[CuttingProxy]:
    """A proxy before the server, which cuts the first few streams."""
    proxy = CuttingProxy(server.port, rng, cuts=CUTS, bytes_max=900)
    yield proxy
    proxy.close()


def test_a_stream_that_is_cut_in_the_middle_of_an_event_goes_on_without_gap_or_double(
    server: ServerProcess, proxy: CuttingProxy, page: Page
):
    speaker = Speaker(server)
    speaker.say(5)
    open_at(page, f"http://127.0.0.1:{proxy.port}", following(speaker.token))
    for _ in range(20):
        speaker.say(1)
        until_shown(page, 1)
    assert until_shown(page, speaker.count + 1) == speaker.log
    assert proxy.cut == CUTS
    speaker.say(1)
    assert until_shown(page, speaker.count + 1) == speaker.log, "and it is live again"


def from_elsewhere(server: ServerProcess, speaker: Speaker) -> str:
    """Return a page that follows a server of another origin."""
    script = DOCUMENTED.replace('"/v1', f'"{server.url}/v1').replace(
        "new EventSource(`${ticket.url}", f"new EventSource(`{server.url}${{ticket.url}}"
    )
    script = script.replace("${after}`)", "${after}`, { withCredentials: true })")
    assert script.count(server.url) == 2 and "withCredentials" in script
    return following(speaker.token, script)


def test_a_page_from_an_allowed_port_follows_and_goes_on_by_its_cookie(
    start_server: StartServer, page: Page, elsewhere: Elsewhere
):
    server = start_server(environment={"IMSERVER_ACCESS_ORIGINS": elsewhere.origin})
    speaker = Speaker(server)
    elsewhere.page = from_elsewhere(server, speaker)
    tickets: list[Request] = []
    page.on(
        "request",
        lambda asked: tickets.append(asked) if asked.url.endswith("/tickets") else None,
    )
    page.goto(elsewhere.origin)
    assert until_shown(page, 1) == speaker.log
    server.kill()
    server.start()
    speaker.say(2)
    assert until_shown(page, 3) == speaker.log
    assert [asked.method for asked in tickets if asked.method == "POST"] == ["POST"]


def test_a_page_from_any_other_port_gets_nothing(
    server: ServerProcess, page: Page, elsewhere: Elsewhere
):
    speaker = Speaker(server)
    elsewhere.page = from_elsewhere(server, speaker)
    with page.expect_event("pageerror") as failed:
        page.goto(elsewhere.origin)
    assert "Failed to fetch" in str(failed.value)
    assert page.evaluate("shown") == []
