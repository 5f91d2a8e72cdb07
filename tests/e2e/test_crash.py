"""What survives when the server is killed in the middle of load."""

import asyncio

from websockets.exceptions import ConnectionClosed

from tests.e2e.server_process import ServerProcess
from tests.e2e.wire import Fleet, Frame, Peer, together
from tests.until import PATIENCE_S

ACKS_BEFORE_KILL = 300
IN_FLIGHT = 50


class Sender:
    """A robot that keeps sending over a server's deaths, and knows what was acked."""

    def __init__(self, robot: str) -> None:
        self.acked: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.loaded = asyncio.Event()
        self._robot = robot
        self._count = 0

    async def send_until_cut(self, peer: Peer, conv: str) -> None:
        """Send pipelined until the connection is cut; remember what became of each message."""
        self.loaded.clear()
        cids: dict[int, str] = {}
        goal = len(self.acked) + ACKS_BEFORE_KILL
        try:
            while True:
                self._count += 1
                cid = f"{self._robot}-{self._count}"
                self.unknown[cid] = self._count
                cids[await peer.post("send", conv=conv, cid=cid, body=self._count)] = cid
                if len(cids) >= IN_FLIGHT:
                    self._note(cids, await peer.answer(next(iter(cids))))
                if len(self.acked) >= goal:
                    self.loaded.set()
        except ConnectionClosed:
            for sent in peer.answers.values():
                self._note(cids, sent)

    def _note(self, cids: dict[int, str], sent: Frame) -> None:
        cid = cids.pop(sent["id"])
        self.acked[cid] = sent["seq"]
        del self.unknown[cid]

    async def settle(self, peer: Peer, conv: str) -> None:
        """Ask again for every message whose outcome is unknown."""
        for cid, count in self.unknown.items():
            self.acked[cid] = (await peer.send(conv, count, cid=cid))["seq"]
        self.unknown.clear()


async def whole_log(peer: Peer, conv: str) -> list[Frame]:
    """Read a conversation from its beginning in pages."""
    log: list[Frame] = []
    while True:
        after = log[-1]["seq"] if log else 0
        page = (await peer.request("history", conv=conv, after=after, limit=500))["events"]
        if not page:
            return log
        log += page


async def test_after_kill_9_under_load_every_acked_event_is_there_once_and_without_gap(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    robots = ("r1", "r2")
    peers = [await own_fleet.online(robot) for robot in robots]
    conv = await own_fleet.group(*peers)
    senders = [Sender(robot) for robot in robots]

    async def kill_under_load() -> None:
        for sender in senders:
            await sender.loaded.wait()
        server.kill()

    for _ in range(3):
        sending = [s.send_until_cut(p, conv) for s, p in zip(senders, peers, strict=True)]
        await together(kill_under_load(), *sending)
        server.restart()
        peers = [await own_fleet.online(robot) for robot in robots]
        for sender, peer in zip(senders, peers, strict=True):
            await sender.settle(peer, conv)
    head = (await peers[0].send(conv, "end"))["seq"]
    log = await whole_log(peers[0], conv)
    assert [event["seq"] for event in log] == list(range(1, head + 1))
    stored = {event["cid"]: event["seq"] for event in log}
    assert len(stored) == len(log), "a cid is in the log twice"
    for sender in senders:
        assert sender.acked.items() <= stored.items()
    assert await whole_log(peers[1], conv) == log


async def test_a_robot_resumes_after_kill_9_where_it_was_without_gap_or_repetition(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    one, other = await own_fleet.online("r1"), await own_fleet.online("r2")
    conv = await own_fleet.group(one, other)
    await one.pipeline(conv, range(500))
    log = await other.until_seq(conv, 250)
    place = other.place(conv, log[-1]["seq"])
    server.restart()
    one = await own_fleet.online("r1")
    again = await own_fleet.online("r2", resume={conv: place})
    again.logs[conv] = log  # the witness asserts that what it is given now follows
    sent = await one.send(conv, "after")
    assert sent["seq"] == 502
    log = await again.until_seq(conv, 502)
    assert [event["body"] for event in log[1:]] == [*range(500), "after"]


async def test_both_robots_hold_equal_logs_when_the_server_is_killed_while_they_read(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    one, other = await own_fleet.online("r1"), await own_fleet.online("r2")
    conv = await own_fleet.group(one, other)
    ends = []
    for _ in range(3):
        ends.append((await one.pipeline(conv, range(100)))[-1]["seq"])
        logs = [peer.logs[conv] for peer in (one, other)]
        await one.until_seq(conv, ends[-1] - 50)
        await other.until_seq(conv, ends[-1] - 90)
        places = [peer.place(conv, peer.logs[conv][-1]["seq"]) for peer in (one, other)]
        server.restart()
        one = await own_fleet.online("r1", resume={conv: places[0]})
        other = await own_fleet.online("r2", resume={conv: places[1]})
        one.logs[conv], other.logs[conv] = logs
    logs = await together(one.until_seq(conv, ends[-1]), other.until_seq(conv, ends[-1]))
    assert logs[0] == logs[1]
    assert len(logs[0]) == 301


async def test_members_and_roles_survive_kill_9(server: ServerProcess, own_fleet: Fleet) -> None:
    one, other = await own_fleet.online("r1"), await own_fleet.online("r2")
    conv = await own_fleet.group(one, other)
    await one.request("set_role", conv=conv, robot=other.robot, role="observer")
    server.restart()
    other = await own_fleet.online("r2")
    assert await other.refused_with("send", conv=conv, cid="x", body=0) == "forbidden"
    rows = (await other.request("list_members", conv=conv))["result"]
    assert {row["robot"]: row["role"] for row in rows} == {
        one.robot: "owner",
        other.robot: "observer",
    }


async def test_what_a_device_acked_is_known_after_kill_9_once_a_second_has_passed(
    server: ServerProcess, own_fleet: Fleet
) -> None:
    one = await own_fleet.online("r1")
    conv = await own_fleet.group(one)
    await one.pipeline(conv, range(10))
    await one.until_seq(conv, 11)

    async def stored() -> int:
        rows = (await one.request("list_members", conv=conv))["result"]
        acked: int = rows[0]["acked"]
        return acked

    async with asyncio.timeout(PATIENCE_S):
        while await stored() < 11:
            await one.settle()
    server.restart()
    again = await own_fleet.online("r1")
    assert [state["acked"] for state in again.welcome["conversations"]] == [11]
