"""What a narrow token never shows, door by door: its robot is in two groups, and the token is about one."""

from typing import Any, NamedTuple

import httpx
import pytest

from imserver.protocol import names
from tests.e2e.wire import Fleet, Peer


class Site(NamedTuple):
    """A robot in a group that its tokens may be about, in one they are not, and on a direct line."""

    fleet: Fleet
    boss: Peer
    robot: str
    shown: str
    hidden: str
    line: str

    async def narrow(self, *verbs: str, **hello: Any) -> Peer:
        """Return a session with a token about the group that is shown."""
        peer = await self.fleet.stranger()
        peer.robot = self.robot
        token = self.fleet.server.token(self.robot, scopes=[f"{v}:{self.shown}" for v in verbs])
        peer.welcome = await peer.hello(self.robot, key=None, token=token, device="n", **hello)
        return peer

    def http(self, *scopes: str) -> httpx.AsyncClient:
        """Return a client over HTTP with a token of these scopes."""
        headers = {"Authorization": f"Bearer {self.fleet.server.token(self.robot, scopes=scopes)}"}
        return httpx.AsyncClient(
            base_url=f"{self.fleet.server.url}/v1", headers=headers, timeout=30, verify=False
        )


@pytest.fixture
async def site(fleet: Fleet) -> Site:
    boss = await fleet.online("boss")
    await fleet.register("narrow")
    robot = fleet.name("narrow")
    convs = []
    for name in ("shown", "hidden"):
        conv = await fleet.group(boss, name=name)
        await boss.request("add_members", conv=conv, robots=[robot])
        convs.append(conv)
    line = names.direct(boss.robot, robot)
    await boss.send(line, "for your eyes only")
    return Site(fleet, boss, robot, convs[0], convs[1], line)


async def test_welcome_and_delivery_leave_out_what_no_scope_is_about(site: Site) -> None:
    peer = await site.narrow("read")
    assert [found["conv"] for found in peer.welcome["conversations"]] == [site.shown]
    for conv in (site.hidden, site.line):
        await site.boss.send(conv, "secret")
    sent = await site.boss.send(site.shown, "for all")
    await peer.until_seq(site.shown, sent["seq"])
    await peer.settle()
    assert set(peer.logs) == {site.shown}


async def test_a_conversation_that_comes_later_is_not_shown_either(site: Site) -> None:
    peer = await site.narrow("read")
    later = await site.fleet.group(site.boss, name="later")
    await site.boss.request("add_members", conv=later, robots=[site.robot])
    await site.boss.request("remove_members", conv=site.shown, robots=[site.robot])
    await site.boss.request("add_members", conv=site.shown, robots=[site.robot])
    sent = await site.boss.send(site.shown, "you are back")
    await peer.until(lambda: any(e["seq"] == sent["seq"] for e in peer.logs[site.shown]))
    assert set(peer.logs) == {site.shown}


async def test_a_robot_that_comes_by_a_narrow_token_is_online_for_all_its_groups(
    site: Site,
) -> None:
    peer = await site.narrow("read")

    def told(online: bool) -> set[str]:
        return {
            signal["conv"]
            for signal in site.boss.signals
            if signal["sender"] == site.robot and signal["body"]["online"] is online
        }

    everywhere = {site.shown, site.hidden, site.line}
    await site.boss.until(lambda: told(online=True) >= everywhere)
    await peer.vanish()
    await site.boss.until(lambda: told(online=False) >= everywhere)


async def test_a_token_without_read_is_delivered_nothing_and_may_send(site: Site) -> None:
    peer = await site.narrow("send")
    assert peer.welcome["conversations"] == []
    sent = await peer.send(site.shown, "I measure 7")
    await site.boss.until_seq(site.shown, sent["seq"])
    assert await peer.refused_with("follow", conv=site.shown, after=0) == "forbidden"
    await peer.settle()
    assert not peer.logs


@pytest.mark.parametrize("conv", ["hidden", "line", "none"])
async def test_nothing_tells_a_hidden_conversation_from_none(site: Site, conv: str) -> None:
    peer = await site.narrow("read", "send", "manage")
    name = {"hidden": site.hidden, "line": site.line, "none": "g/never-made"}[conv]
    for asked in (
        {"t": "follow", "conv": name, "after": 0},
        {"t": "history", "conv": name},
        {"t": "send", "conv": name, "cid": "c", "body": 1},
        {"t": "list_members", "conv": name},
    ):
        error = await peer.refusal(**asked)
        assert error["code"] == "not_found"
        assert error["message"] == (
            f"there is no conversation {name!r} that you are a member of; create it, or have one of its "
            "admins add you"
        )


async def test_a_stored_send_is_not_recalled_for_a_token_that_may_not_know(site: Site) -> None:
    whole = await site.fleet.online("narrow")
    await whole.request("send", conv=site.hidden, cid="again", body="x")
    peer = await site.narrow("send")
    asked = {"conv": site.hidden, "cid": "again", "body": "x"}
    assert await peer.refused_with("send", **asked) == "not_found"


async def test_lists_leave_out_what_no_scope_is_about(site: Site) -> None:
    peer = await site.narrow("read")
    listed = await peer.request("list_groups")
    assert [row["conv"] for row in listed["result"]] == [site.shown]
    assert await peer.refused_with("list_robots") == "forbidden"
    async with site.http(f"read:{site.shown}") as http:
        groups = (await http.get("/groups")).json()["groups"]
        conversations = (await http.get("/conversations")).json()["conversations"]
        assert [row["conv"] for row in groups] == [site.shown]
        assert [row["conv"] for row in conversations] == [site.shown]
        assert (await http.get(f"/robots/{site.boss.robot}")).status_code == 403
    async with site.http("read:*") as http:
        assert (await http.get(f"/robots/{site.boss.robot}")).status_code == 200


def path_of(conv: str) -> str:
    kind, _, rest = conv.partition("/")
    return f"/groups/{rest}" if kind == "g" else f"/direct/{rest}"


async def test_polls_streams_tickets_acks_and_signals_ask_for_scopes(site: Site) -> None:
    async with site.http(f"read:{site.shown}") as http:
        for conv, status in ((site.shown, 200), (site.hidden, 404), (site.line, 404)):
            path = path_of(conv)
            poll = http.get(f"{path}/events", params={"after": 0, "wait": 1})
            async with http.stream("GET", f"{path}/events/stream") as stream:
                assert stream.status_code == status
            assert (await poll).status_code == status
            ticket = await http.post(f"{path}/tickets")
            assert ticket.is_success == (status == 200)
            ack = await http.post(f"{path}/acks", json={"seq": 1})
            assert ack.is_success == (status == 200)
            signal = await http.post(f"{path}/signals", json={"key": "k", "body": 1})
            assert signal.status_code == (403 if status == 200 else 404)


async def test_a_ticket_hands_on_the_scopes_of_its_token(site: Site) -> None:
    async with site.http(f"read:{site.shown}") as http:
        ticket = (await http.post(f"{path_of(site.shown)}/tickets")).json()["ticket"]
    async with httpx.AsyncClient(base_url=site.fleet.server.url, verify=False) as browser:
        hidden = f"/v1{path_of(site.hidden)}/events/stream?ticket={ticket}"
        async with browser.stream("GET", hidden) as stream:
            assert not stream.is_success


async def test_whoami_tells_the_scopes(site: Site) -> None:
    async with site.http("read:g/dock", "send:*") as http:
        found = (await http.get("/whoami")).json()
    assert found["scopes"] == ["read:g/dock", "send:*"] and found["admin"] is False
