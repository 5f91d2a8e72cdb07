"""When a send began that several sessions of a robot made."""

from tests.unit.verify.story import EPOCH, GROUP, Story

_MEMBERS = {"members": {"r1": "owner", "r2": "member"}, "open": False}


def test_a_send_began_when_the_earliest_of_its_sessions_invoked_it(tmp_path):
    story = Story()
    robot, other = story["r1"], story["r2"]
    story.append_change("group_created", "r1", _MEMBERS)
    robot.open()
    other.open()
    first = robot.invoke(GROUP)
    seq = story.append_sent("r1", first)
    other.send(GROUP)
    # It stands first in the file: a process of the same robot that asked again, later.
    asked = {key: first[key] for key in ("op", "type", "client", "conv", "cid", "body_sha")}
    told = {"type": "ok", "epoch": EPOCH, "seq": seq, "dup": True}
    again = [
        {"op": "session_open", "t": 1.0, "client": "r1", "session": "again", "clock": "host"},
        {**asked, "session": "again", "t": story.tick()},
        {**asked, "session": "again", "t": story.tick(), **told},
    ]
    del again[-1]["body_sha"]
    robot.records[:0] = again
    assert story.judge(tmp_path).violated() == set()
