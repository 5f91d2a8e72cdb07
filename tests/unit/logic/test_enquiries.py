"""What a node asks others before it lets a robot in, and what they tell each other of clones and acts."""

import pytest

from imserver.core.acts import ActKind, RobotEnded
from imserver.core.model import Boot
from imserver.logic.clones import Holder
from imserver.logic.notices import HeldPlace
from imserver.protocol.client_frames import Hello
from imserver.protocol.errors import CloseCode
from imserver.protocol.names import ConversationName, DeviceName, RobotName
from tests.unit.logic.logic_tier import peer_of

CONV = ConversationName("g/a")
R1, MAIN = RobotName("r1"), DeviceName("main")


async def test_what_was_acked_on_one_node_is_stored_when_another_has_asked(nodes):
    await nodes.one.group("a", "r1", "r2")
    session = await nodes.one.session("r1")
    await nodes.settle()
    nodes.one.sessions.ack(session, CONV, 1)
    assert (await nodes.store.acked(CONV)).get(R1, 0) == 0
    held = await nodes.enquiries[1].held(R1, DeviceName("arm"))
    assert held is None, "nobody has the place of that device"
    assert (await nodes.store.acked(CONV))[R1] == 1


async def test_what_was_acked_is_stored_before_a_robot_that_left_counts_as_gone(nodes):
    await nodes.one.group("a", "r1", "r2")
    session = await nodes.one.session("r1")
    await nodes.settle()
    nodes.one.sessions.ack(session, CONV, 1)
    nodes.one.sessions.close(session, "clean")
    await nodes.settle()
    assert (await nodes.store.acked(CONV))[R1] == 1


async def test_who_has_a_place_on_another_node_is_told(nodes):
    await nodes.one.session("r1", instance="i1")
    assert await nodes.enquiries[1].held(R1, MAIN) == HeldPlace("i1", None)
    assert await nodes.enquiries[0].held(R1, MAIN) is None, "a node does not ask itself"


@pytest.mark.parametrize("how", ["cut", "mute"])
async def test_a_node_that_does_not_answer_is_not_waited_for_again(nodes, monkeypatch, how):
    monkeypatch.setattr("imserver.logic.enquiries.PATIENCE_S", 0.01)
    await nodes.one.session("r1", instance="i1")
    asked = []
    monkeypatch.setattr(nodes.two.router, "tell", asked.append)
    if how == "cut":
        nodes.enquiries[1].sees = lambda: False
    for _ in range(3):
        assert await nodes.enquiries[1].held(R1, MAIN) is None
    assert len(asked) == (0 if how == "cut" else 1)
    nodes.two.clock.s += 6.0
    assert await nodes.enquiries[1].held(R1, MAIN) is None
    assert len(asked) == (0 if how == "cut" else 2)


async def test_nodes_that_are_gone_for_good_are_forgotten(nodes, monkeypatch):
    monkeypatch.setattr("imserver.logic.enquiries.PATIENCE_S", 0.001)
    monkeypatch.setattr("imserver.logic.enquiries.SILENCE_S", 5.0)
    enquiries = nodes.enquiries[1]
    for number in range(5):

        async def holders(_robot: RobotName, ghost: str = f"ghost-{number}") -> list[str]:
            return [ghost]

        monkeypatch.setattr(nodes.desks[1], "holders", holders)
        assert await enquiries.held(R1, MAIN) is None
        nodes.two.clock.s += 6.0
    assert list(enquiries._silent_until_s) == ["ghost-4"]


async def test_an_instance_that_lost_its_place_to_another_node_is_a_clone_on_both(nodes):
    await nodes.clones[0].judge(R1, MAIN, Hello(robot="r1", instance="i1"), None)
    first = await nodes.one.session("r1", instance="i1")
    await nodes.clones[1].judge(R1, MAIN, Hello(robot="r1", instance="i2"), None)
    await nodes.two.session("r1", instance="i2")
    assert peer_of(first).closed is not None
    hello = Hello(robot="r1", instance="i1")
    for clones in nodes.clones:
        refused = await clones.judge(R1, MAIN, hello, Holder("i2", lambda: True))
        assert refused is not None and refused.code == CloseCode.CLONED
    acts = await nodes.store.administration.acts(before=None, limit=9)
    assert [act.kind for act in acts if act.robot == R1] == [ActKind.CLONE_SEEN], "reported once"


async def test_a_device_that_is_contested_on_one_node_is_contested_on_the_other(nodes):
    for clones in nodes.clones:
        clones.on_started_elsewhere(R1, MAIN, Boot(0, "i1"))
    await nodes.store.boots.note_boot(R1, MAIN, Boot(7, "i1"))
    holder = Holder("i1", lambda: True)
    await nodes.clones[0].judge(R1, MAIN, Hello(robot="r1", instance="i2", boot=7), holder)
    later = Hello(robot="r1", instance="i3", boot=8)
    refused = await nodes.clones[1].judge(R1, MAIN, later, holder)
    assert refused is not None and refused.code == CloseCode.CONTESTED


async def test_who_is_revoked_on_one_node_is_out_on_the_other_at_once(nodes):
    session = await nodes.two.session("r1")
    act = nodes.one.ledger.act(ActKind.ROBOT_REVOKED, "boss", robot=R1, change=RobotEnded())
    await nodes.one.ledger.perform([act])
    code, _ = peer_of(session).closed
    assert code == CloseCode.REVOKED
