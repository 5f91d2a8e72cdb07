"""Broken promises: each function breaks one in a clean story and returns what a witness must show of it."""

from collections.abc import Callable
from typing import Final, TypeAlias

from tests.unit.verify.story import GROUP, Client, Fields, Story

Breach: TypeAlias = Callable[[Story], str]


def in_group(record: Fields) -> bool:
    return record.get("conv") == GROUP


def is_ack_of_send(record: Fields) -> bool:
    return record["op"] == "send" and record["type"] == "ok" and in_group(record)


def is_received_message(record: Fields) -> bool:
    return record["op"] == "receive" and in_group(record) and record["kind"] == "message"


def event_of(story: Story, record: Fields) -> Fields:
    event: Fields = story.logs[record["conv"]][record["seq"] - 1]
    return event


def invocation_of(story: Story, ack: Fields) -> Fields:
    return next(
        record
        for record in story.list_of(ack)
        if record["op"] == "send" and record["type"] == "invoke" and record["cid"] == ack["cid"]
    )


def line_of(record: Fields) -> str:
    """Return what only this record's line has."""
    return f'"t":{record["t"]!r},"client":"{record["client"]}"'


def trade_places(story: Story, one: int, other: int) -> None:
    """Exchange two messages of the group, in the log and for everybody who was told of them."""
    log = story.logs[GROUP]
    first, second = log[one - 1], log[other - 1]
    log[one - 1], log[other - 1] = {**second, "seq": one}, {**first, "seq": other}
    places = {first["cid"]: other, second["cid"]: one}
    shown = {one: second, other: first}
    for record in story.all_records():
        if record.get("conv") != GROUP:
            continue
        if record["op"] == "send" and "seq" in record:
            record["seq"] = places.get(record["cid"], record["seq"])
        elif record["op"] in ("receive", "read") and record["seq"] in shown:
            event = shown[record["seq"]]
            told = next(r for r in story.all_records() if r.get("cid") == event["cid"])
            record.update(sender=event["sender"], cid=event["cid"], body_sha=told["body_sha"])


def lose_the_last_acked_event(story: Story) -> str:
    story["r1"].records.pop()
    sent = story["r1"].send(GROUP)
    story["r1"].close(drained=False)
    story.logs[GROUP].pop()
    return line_of(sent)


def lose_an_acked_event(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    story.logs[GROUP].remove(event_of(story, ack))
    return line_of(ack)


def store_another_body_than_was_sent(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    event_of(story, ack)["body"] = "something else"
    return line_of(ack)


def store_an_acked_event_twice(story: Story) -> str:
    event = event_of(story, story.pick(is_ack_of_send))
    story.append(GROUP, event["sender"], cid=event["cid"], kind="message", body=event["body"])
    return f'"cid":"{event["cid"]}"'


def lose_an_acked_change(story: Story) -> str:
    change = story.pick(lambda r: r["op"] == "join" and r["type"] == "ok")
    event_of(story, change).update(kind="message", cid="r3-x", body=0)
    return line_of(change)


def leave_a_hole(story: Story) -> str:
    event = story.rng.choice(story.logs[GROUP][1:-1])
    story.logs[GROUP].remove(event)
    return f"log {GROUP} {event['seq']}"


def begin_with_two(story: Story) -> str:
    del story.logs["d/r1/r2"][0]
    story.append("d/r1/r2", "r9", cid="r9-1", kind="message", body=1)
    story.logs["d/r1/r2"][0]["seq"] = 2
    return "log d/r1/r2 1"


def number_two_alike(story: Story) -> str:
    event = story.rng.choice(story.logs[GROUP][1:])
    story.logs[GROUP].append({**event, "sender": "r9", "cid": "r9-1"})
    return f"log {GROUP} {event['seq']}"


def show_another_body(story: Story) -> str:
    record = story.pick(is_received_message)
    record["body_sha"] = "0" * 64
    return line_of(record)


def show_another_sender(story: Story) -> str:
    record = story.pick(is_received_message)
    record["sender"] = "r9"
    return line_of(record)


def show_another_kind(story: Story) -> str:
    record = story.pick(is_received_message)
    record["kind"] = "command"
    return line_of(record)


def read_another_value_later(story: Story) -> str:
    record = story.pick(is_received_message)
    closing = story[record["client"]].records[-1]
    later = {**record, "op": "read", "cid": "r9-1", "t": closing["t"]}
    story.list_of(record).insert(-1, {**later, "session": closing["session"]})
    return '"cid":"r9-1"'


def ack_a_retry_elsewhere(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    client = story[ack["client"]]
    closing = client.records.pop()
    again = {**invocation_of(story, ack), "session": closing["session"]}
    client.records.append({**again, "t": closing["t"]})
    wrong = {**ack, "session": closing["session"], "t": closing["t"], "seq": ack["seq"] + 1}
    client.records += [wrong, closing]
    return line_of(wrong)


def ack_a_cid_for_another_body(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    client = story[ack["client"]]
    closing = client.records.pop()
    here = {"session": closing["session"], "t": closing["t"]}
    invoked = {**invocation_of(story, ack), **here, "body_sha": "1" * 64}
    client.records += [invoked, {**ack, **here, "dup": True}, closing]
    return '"body_sha":"' + "1" * 64


def ack_an_unknown_cid_for_another_body(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    invoked = client.invoke(GROUP)
    seq = story.append_sent("r1", invoked)
    client.note("send", type="unknown", conv=GROUP, cid=invoked["cid"])
    other = client.note("send", type="invoke", conv=GROUP, cid=invoked["cid"], body_sha="1" * 64)
    client.stored(other, seq, dup=True)
    client.records.append({**closing, "t": story.tick(), "drained": False})
    return line_of(other)


def put_later_before_earlier(story: Story) -> str:
    return _trade_two(story, same_connection=False)


def overtake_on_a_connection(story: Story) -> str:
    return _trade_two(story, same_connection=True)


def store_a_refused_send(story: Story) -> str:
    refused = story.pick(lambda r: r["op"] == "send" and r["type"] == "fail")
    body = invocation_of(story, refused)["note"]
    story.append(GROUP, refused["client"], cid=refused["cid"], kind="message", body=body)
    return line_of(refused)


def store_what_nobody_sent(story: Story) -> str:
    seq = story.append(GROUP, "r1", cid="r1-never", kind="message", body=1)
    return f"log {GROUP} {seq}"


def store_another_kind_of_an_unknown_send(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    invoked = client.invoke(GROUP)
    seq = story.append(GROUP, "r1", cid=invoked["cid"], kind="command", body=invoked["note"])
    client.note("send", type="unknown", conv=GROUP, cid=invoked["cid"])
    client.records.append({**closing, "t": story.tick(), "drained": False})
    return f"log {GROUP} {seq}"


def show_what_is_not_stored(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    seq = story.append(GROUP, "r2", cid="r2-x", kind="message", body=1)
    client.shown(GROUP, seq)
    story.logs[GROUP].pop()
    client.records.append({**closing, "t": story.tick()})
    return f'"seq":{seq},'


def skip_an_event(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    story.list_of(received[at]).remove(received[at])
    return line_of(received[at + 1])


def show_an_event_twice(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    records = story.list_of(received[at])
    records.insert(records.index(received[at]), dict(received[at]))
    return line_of(received[at])


def show_an_old_event_again(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    records = story.list_of(received[at])
    place = records.index(received[at + 1])
    records.insert(place + 1, {**received[0], "t": received[at + 1]["t"]})
    return line_of(received[0])


def show_two_in_wrong_order(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    one, other = received[at], received[at + 1]
    records = story.list_of(one)
    first, second = records.index(one), records.index(other)
    records[first], records[second] = (
        {**other, "t": one["t"]},
        {**one, "t": other["t"]},
    )
    return f'"seq":{other["seq"]},'


def change_the_epoch_in_silence(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    received[at]["epoch"] = "epoch-2"
    return line_of(received[at])


def tell_of_a_gap_behind_a_hole(story: Story) -> str:
    received, at = _middle_of_a_run(story)
    records = story.list_of(received[at])
    missed, gone = received[at - 1], received[at]
    names = ("t", "client", "session", "conv", "epoch")
    gap = {"op": "gap", **{name: gone[name] for name in names}}
    records[records.index(gone)] = {**gap, "from": gone["seq"], "to": gone["seq"], "why": "x"}
    records.remove(missed)
    return f'"from":{gone["seq"]},'


def withhold_the_last_event(story: Story) -> str:
    client = story[story.rng.choice(["r1", "r2", "r3"])]
    head = len(story.logs[GROUP])
    for record in list(client.records):
        is_ack = record["op"] == "ack" and record["seq"] == head
        if is_ack or (record["op"] == "receive" and in_group(record) and record["seq"] == head):
            client.records.remove(record)
    story.cursors = None
    return line_of(client.records[-1])


def withhold_everything(story: Story) -> str:
    client = story["r2"]
    client.records = [r for r in client.records if r["op"] not in ("receive", "ack")]
    story.cursors = None
    return line_of(client.records[-1])


def resume_behind_a_hole(story: Story) -> str:
    client = story["r1"]
    top = client.place[GROUP]
    story["r2"].records[-1]["drained"] = story["r3"].records[-1]["drained"] = False
    for _ in range(3):
        story.append(GROUP, "r9", cid=f"r9-{story.tick()}", kind="message", body=1)
    client.open()
    client.shown(GROUP, top + 2)
    shown = client.shown(GROUP, top + 3)
    client.close(drained=False)
    return line_of(client.records[client.records.index(shown) - 1])


def forget_where_the_client_says_it_is(story: Story) -> str:
    client = story["r1"]
    head = len(story.logs[GROUP])
    client.lives += 1
    resume = {GROUP: {"epoch": "epoch-1", "seq": head - 2}}
    opened = client.note("session_open", clock="host", resume=resume)
    client.shown(GROUP, head)
    client.close(drained=False)
    return line_of(opened)


def follow_from_elsewhere(story: Story) -> str:
    client = story["r1"]
    client.open()
    client.note("follow", conv=GROUP, after=2)
    shown = client.shown(GROUP, 2)
    client.close(drained=False)
    return line_of(shown)


def begin_behind_the_join(story: Story) -> str:
    client = story["r2"]
    client.records = [r for r in client.records if r["op"] in ("session_open", "session_close")]
    opened = client.records[-1]
    client.records = client.records[-1:]
    client.records[0]["op"] = "session_open"
    client.records[0].pop("drained")
    client.shown(GROUP, 3)
    for other in story.clients.values():
        other.records[-1].pop("drained", None)
    return line_of(opened)


def move_a_cursor_back(story: Story) -> str:
    reports = [r for r in story["r2"].records if r["op"] == "ack" and r.get("type") == "ok"]
    last = reports[-1]
    records = story["r2"].records
    records.insert(records.index(last) + 1, {**last, "seq": last["seq"] - 1})
    return line_of(last)


def ack_beyond_what_was_shown(story: Story) -> str:
    ack = story.pick(lambda r: r["op"] == "ack" and "type" not in r)
    ack["seq"] = 10_000
    return line_of(ack)


def ack_backwards(story: Story) -> str:
    ack = story.pick(lambda r: r["op"] == "ack" and "type" not in r and r["seq"] > 1)
    records = story.list_of(ack)
    records.insert(records.index(ack) + 1, {**ack, "seq": ack["seq"] - 1})
    return line_of(ack)


def store_a_cursor_beyond_the_head(story: Story) -> str:
    assert story.cursors is not None
    story.cursors["r2", "main", GROUP] = len(story.logs[GROUP]) + 1
    return f"log {GROUP} {len(story.logs[GROUP])}"


def store_a_cursor_beyond_what_was_shown(story: Story) -> str:
    withhold_the_last_event(story)
    head = len(story.logs[GROUP])
    story.cursors = {(name, "main", GROUP): head for name in story.clients}
    return f"log {GROUP} {head}"


def forget_a_cursor(story: Story) -> str:
    assert story.cursors is not None
    story.cursors["r2", "main", GROUP] -= 1
    reports = [r for r in story["r2"].records if r["op"] == "ack" and r.get("type") == "ok"]
    return line_of(reports[-1])


def show_the_log_to_a_removed_member(story: Story) -> str:
    client = story["r3"]
    client.records.pop()
    removed = story.leave(client)
    client.receive(GROUP)
    story["r1"].records.pop()
    story["r1"].send(GROUP)
    shown = client.shown(GROUP, removed + 1)
    return line_of(shown)


def let_a_stranger_read(story: Story) -> str:
    stranger = story.clients["r9"] = Client(story, "r9")
    stranger.open()
    read = stranger.shown(GROUP, 1, op="read")
    return line_of(read)


def let_a_stranger_write(story: Story) -> str:
    stranger = story.clients["r9"] = Client(story, "r9")
    stranger.open()
    sent = stranger.send(GROUP)
    return f"log {GROUP} {sent['seq']}"


def close_without_an_answer(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    invoked = client.invoke(GROUP)
    client.records.append({**closing, "t": story.tick()})
    return line_of(invoked)


def answer_twice(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    records = story.list_of(ack)
    records.insert(records.index(ack) + 1, {**ack, "type": "unknown"})
    return line_of(ack)


def answer_a_change_twice(story: Story) -> str:
    change = story.pick(lambda r: r["op"] == "leave" and r["type"] == "ok")
    records = story.list_of(change)
    records.insert(records.index(change) + 1, {**change, "type": "fail"})
    return line_of(change)


def store_an_unknown_send_twice(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    invoked = client.invoke(GROUP)
    client.note("send", type="unknown", conv=GROUP, cid=invoked["cid"])
    client.records.append({**closing, "t": story.tick(), "drained": False})
    for _ in range(2):
        story.append_sent("r1", invoked)
    return line_of(invoked)


def name_another_sender_of_an_acked_event(story: Story) -> str:
    ack = story.pick(is_ack_of_send)
    others = [name for name in ("r1", "r2") if name != ack["client"]]
    event_of(story, ack)["sender"] = others[0]
    for record in story.all_records():
        if record["op"] in ("receive", "read") and record["cid"] == ack["cid"]:
            record["sender"] = others[0]
    return line_of(ack)


def name_another_sender_of_an_unknown_send(story: Story) -> str:
    client = story["r1"]
    closing = client.records.pop()
    invoked = client.invoke(GROUP)
    client.note("send", type="unknown", conv=GROUP, cid=invoked["cid"])
    client.records.append({**closing, "t": story.tick(), "drained": False})
    seq = story.append(GROUP, "r2", cid=invoked["cid"], kind="message", body=invoked["note"])
    return f"log {GROUP} {seq}"


BREACHES: Final[dict[str, list[Breach]]] = {
    "G1": [
        lose_the_last_acked_event,
        lose_an_acked_event,
        store_another_body_than_was_sent,
        store_an_acked_event_twice,
        lose_an_acked_change,
    ],
    "G2": [leave_a_hole, begin_with_two, number_two_alike],
    "G3": [
        show_another_body,
        show_another_sender,
        show_another_kind,
        read_another_value_later,
    ],
    "G4": [
        ack_a_retry_elsewhere,
        ack_a_cid_for_another_body,
        ack_an_unknown_cid_for_another_body,
    ],
    "G5": [put_later_before_earlier],
    "G6": [overtake_on_a_connection],
    "G7": [store_a_refused_send, store_what_nobody_sent, store_another_kind_of_an_unknown_send],
    "G8": [show_what_is_not_stored],
    "G9": [
        skip_an_event,
        show_an_event_twice,
        show_an_old_event_again,
        show_two_in_wrong_order,
        change_the_epoch_in_silence,
        tell_of_a_gap_behind_a_hole,
    ],
    "G10": [withhold_the_last_event, withhold_everything],
    "G11": [
        resume_behind_a_hole,
        forget_where_the_client_says_it_is,
        follow_from_elsewhere,
        begin_behind_the_join,
    ],
    "G12": [
        move_a_cursor_back,
        ack_beyond_what_was_shown,
        ack_backwards,
        store_a_cursor_beyond_the_head,
        store_a_cursor_beyond_what_was_shown,
        forget_a_cursor,
    ],
    "G13": [show_the_log_to_a_removed_member, let_a_stranger_read, let_a_stranger_write],
    "G14": [
        close_without_an_answer,
        answer_twice,
        answer_a_change_twice,
        store_an_unknown_send_twice,
    ],
    "G22": [name_another_sender_of_an_acked_event, name_another_sender_of_an_unknown_send],
}
"""For each guarantee, what breaks it."""

WITHOUT_RAW_LOG: Final[list[tuple[str, Breach]]] = [
    ("G3", show_another_body),
    ("G3", show_another_sender),
    ("G4", ack_a_retry_elsewhere),
    ("G4", ack_a_cid_for_another_body),
    ("G5", put_later_before_earlier),
    ("G6", overtake_on_a_connection),
    *(("G9", breach) for breach in BREACHES["G9"]),
    ("G11", resume_behind_a_hole),
    ("G11", forget_where_the_client_says_it_is),
    ("G11", follow_from_elsewhere),
    ("G12", ack_beyond_what_was_shown),
    ("G12", move_a_cursor_back),
    ("G14", answer_twice),
    ("G14", close_without_an_answer),
]
"""What is noticed from the words of the clients alone."""


def _trade_two(story: Story, *, same_connection: bool) -> str:
    """Let two acked messages of the group trade places: two of one pipeline, or two apart in time."""
    acks = [r for r in story.all_records() if is_ack_of_send(r) and not r.get("dup")]

    def may_trade(one: Fields, other: Fields) -> bool:
        if same_connection:
            on_one = one.get("connection") == other.get("connection") is not None
            return on_one and one["session"] == other["session"]
        return bool(one["t"] < invocation_of(story, other)["t"])

    pairs = [(one, other) for one in acks for other in acks if may_trade(one, other)]
    one, other = story.rng.choice([pair for pair in pairs if pair[0]["seq"] < pair[1]["seq"]])
    trade_places(story, one["seq"], other["seq"])
    return line_of(other)


def _middle_of_a_run(story: Story) -> tuple[list[Fields], int]:
    """Return the group's events that a session was shown in a row, and an index inside."""
    runs: dict[str, list[Fields]] = {}
    for record in story.all_records():
        if record["op"] == "receive" and in_group(record):
            runs.setdefault(record["session"], []).append(record)
    inside = [
        (run, at)
        for run in runs.values()
        for at in range(2, len(run) - 1)
        if run[at - 2]["seq"] + 1 == run[at - 1]["seq"]
        if run[at - 1]["seq"] + 2 == run[at]["seq"] + 1 == run[at + 1]["seq"]
        and run[at]["kind"] == run[at + 1]["kind"] == "message"
    ]
    return story.rng.choice(inside)
