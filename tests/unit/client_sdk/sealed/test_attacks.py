"""A server that lies, and members who help it: what it shows is refused, and the application is told why."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from client_sdk import RobotKey
from client_sdk.sealed import envelope, ratchet
from client_sdk.sealed.outcome import Unopened, Why
from client_sdk.sealed.outgoing import Draft, Policy, SenderKey
from tests.unit.client_sdk.sealed.party import CONV, POLICY, Log, Party, dock, key_of


def content(log, seq):
    return envelope.content_of(msgspec.msgpack.decode(log.events[seq - 1].body))


def raw(content):
    return Raw(msgspec.msgpack.encode(envelope.body_of(content)))


def test_a_replayed_message_is_refused_at_once_and_after_a_restart():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, "open the door")
    assert r2.body(log, seq) == "open the door"
    assert r2.why(log, log.repeat(seq)) == Why.REPLAYED
    r2.crash(place=len(log.events))
    assert r2.why(log, log.repeat(seq)) == Why.REPLAYED
    assert r2.why(log, log.repeat(seq, cid="another")) == Why.FORGED


def test_a_message_replayed_after_its_key_was_replayed_is_refused():
    log, (r1, r2) = dock("r1", "r2", policy=Policy(1, POLICY.age_ms, POLICY.device_age_ms))
    first = r1.send(log, 1)
    for number in range(2, 8):  # the chain of the first is long forgotten
        r1.send(log, number)
    r2.read(log)
    key = next(event.seq for event in log.events if event.kind == envelope.KEY_KIND)
    assert r2.why(log, log.repeat(key)) == Why.STALE
    assert r2.why(log, log.repeat(first)) == Why.STALE
    newest = [event.seq for event in log.events if event.kind == envelope.KEY_KIND][-2]
    assert r2.why(log, log.repeat(newest)) == Why.REPLAYED


def test_a_message_moved_to_another_conversation_is_refused():
    log, (r1, r2) = dock("r1", "r2")
    yard = Log("r1", "r2", conv="g/yard")
    for party in (r1, r2):
        party.join(yard)
    r1.send(yard, "here")
    seq = r1.send(log, "there")
    key = next(event for event in log.events if event.kind == envelope.KEY_KIND)
    for event in (key, log.events[seq - 1]):
        yard.events.append(msgspec.structs.replace(event, seq=len(yard.events) + 1))
    assert r2.why(yard, len(yard.events)) == Why.FORGED
    assert r2.why(yard, len(yard.events) - 1) == Why.FORGED


@pytest.mark.parametrize(
    "change", [{"sender": "r3"}, {"cid": "x"}, {"kind": "command"}, {"ref": 1}]
)
def test_a_message_attributed_to_another_or_taken_for_something_else_is_refused(change):
    log, (r1, r2, _) = dock("r1", "r2", "r3")
    seq = r1.send(log, "hello")
    log.replace(seq, **change)
    assert r2.why(log, seq) == Why.FORGED


def test_a_message_in_front_of_what_its_sender_had_seen_is_refused():
    log, (r1, r2) = dock("r1", "r2")
    r2.send(log, "may I start?")  # r2's key is known
    r1.send(log, "no")
    question = r2.send(log, "may I stop?")
    answer = r1.send(log, "yes")
    first, second = log.events[question - 1], log.events[answer - 1]
    log.events[question - 1 : answer] = [
        msgspec.structs.replace(second, seq=question),
        msgspec.structs.replace(first, seq=answer),
    ]
    assert r2.why(log, question) == Why.MISPLACED


def test_a_message_that_comes_behind_what_was_sent_after_it_was_stored_is_refused():
    log, (r1, r2) = dock("r1", "r2")
    r1.send(log, "start")
    r1.settle(log)
    held = r1.send(log, "stop")
    r1.settle(log)
    seq = r1.send(log, "start again")
    log.replace(held, kind="sealed.device")  # the server shows something else in its place
    r2.read(log)
    late = log.repeat(seq, cid=log.events[held - 1].cid)
    assert r2.why(log, late) == Why.FORGED
    log.replace(late, cid=log.events[held - 1].cid, body=log.events[held - 1].body, kind="message")
    del r2.shown[late]
    r2.taken[CONV] = late - 1
    assert r2.why(log, late) == Why.MISPLACED


def test_an_epoch_that_was_never_this_logs_is_refused():
    log, (r1, r2) = dock("r1", "r2")
    r1.session.roster(CONV).progress.hear(1, 1, epoch="made-up")
    r1.session.received = lambda *_: None
    seq = r1.send(log, "x")
    assert r2.why(log, seq) == Why.MISPLACED


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_changed_byte_and_no_cut_goes_unnoticed(data):
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, "hello")
    target = data.draw(st.sampled_from([seq, seq - 1]))
    whole = content(log, target)
    at = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(0, 255))
    changed = whole[:at] if flip == 0 else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
    log.replace(target, body=raw(changed))
    shown = r2.read(log)
    assert isinstance(shown[target].body, Unopened)
    assert isinstance(shown[seq].body, Unopened)


@pytest.mark.parametrize(
    "body",
    [None, 1, [], {}, {"sealed": 1}, {"sealed": "?"}, {"sealed": b""}, {"sealed": b"\x01\x01"}],
)
def test_bodies_of_any_kind_are_told_and_break_nothing(body):
    log, (r1, r2) = dock("r1", "r2")
    seqs = [log.append(kind, "r1", body) for kind in ("message", "sealed.key", "sealed.device")]
    shown = r2.read(log)
    assert all(isinstance(shown[seq].body, Unopened) for seq in seqs)
    for kind in ("group_created", "members_added", "members_removed", "role_changed"):
        log.append(kind, "r1", body)
    r2.read(log)
    assert r2.body(log, r1.send(log, "still")) == "still"


def test_another_identity_than_the_one_first_seen_is_neither_wrapped_to_nor_opened():
    log, (r1, _) = dock("r1", "r2")
    r1.catch_up(log)
    server = Party("r2", "evil", identity=RobotKey.generate())
    server.join(log)
    assert r1.why(log, len(log.events)) == Why.OTHER_IDENTITY
    assert list(r1.session.roster(CONV).members()["r2"]) == ["main"]
    seq = r1.send(log, "for r2 alone")
    assert server.why(log, seq) == Why.NO_KEY
    forged = server.send(log, "I am r2")
    assert r1.why(log, forged) == Why.FORGED
    assert r1.why(log, forged - 1) == Why.OTHER_IDENTITY


def test_an_identity_that_the_program_comes_to_trust_takes_the_place_of_the_old_one():
    log, (r1, _) = dock("r1", "r2")
    r1.catch_up(log)
    fresh = Party("r2", "new", identity=RobotKey.generate())
    fresh.join(log)
    r1.session.believe("r2", fresh.identity.public_key)
    seq = r1.send(log, "to the new one")
    assert fresh.body(log, seq) == "to the new one"
    assert list(r1.session.roster(CONV).members()["r2"]) == ["new"]


def test_with_known_identities_only_a_server_slips_nobody_in():
    known = {robot: key_of(robot).public_key for robot in ("r1", "r2")}
    log, (r1, r2) = dock("r1", "r2", known=known, first_use=False)
    log.append("members_added", "r1", {"robots": ["ghost"], "role": "member"})
    ghost = Party("ghost")
    ghost.join(log)
    seq = r1.send(log, "between us")
    assert r2.body(log, seq) == "between us"
    assert ghost.why(log, seq) == Why.NO_KEY
    assert r1.why(log, ghost.send(log, "boo")) == Why.NO_KEY


def test_a_device_key_that_was_replaced_does_not_come_back():
    log, (r1, r2) = dock("r1", "r2")
    old = next(e.seq for e in log.events if e.kind == envelope.DEVICE_KIND and e.sender == "r2")
    r2.now_ms += POLICY.device_age_ms
    r2.join(log)
    log.repeat(old)
    r1.catch_up(log)
    device = r1.session.roster(CONV).device("r2", "main")
    assert device.public_key == r2.session.own.public_key


def test_a_device_announced_in_another_conversation_is_not_taken_for_one_here():
    yard = Log("r1", "r2", conv="g/yard")
    Party("r2", "camera").join(yard)
    log, (r1, _) = dock("r1", "r2")
    log.events.append(msgspec.structs.replace(yard.events[-1], seq=len(log.events) + 1))
    assert r1.why(log, len(log.events)) == Why.FORGED
    assert list(r1.session.roster(CONV).members()["r2"]) == ["main"]


def test_a_wrap_taken_over_into_another_robots_key_event_opens_nothing():
    log, (r1, r2, r3) = dock("r1", "r2", "r3")
    seq = r1.send(log, "secret")
    stolen = envelope.read_key(content(log, seq - 1))
    mine = r3.session.own
    signed = envelope.pack_key("main", mine.identity, 1, stolen.wraps)
    signature = r3.identity.sign(envelope.key_context(CONV, "r3") + signed)
    copied = log.append("sealed.key", "r3", envelope.body_of(signed + signature))
    assert r2.read(log)[copied].body["for_me"] is False


def test_who_was_removed_and_kept_its_keys_says_nothing_more():
    log, (_, r2, r3) = dock("r1", "r2", "r3")
    r3.send(log, "hello")
    log.append("members_removed", "r1", {"robots": ["r3"]})
    body = r3.seal(log, "still here", cid="late")
    seq = log.append("message", "r3", body, cid="late")
    assert r2.why(log, seq) == Why.NOT_A_MEMBER


def test_a_member_with_the_chain_key_cannot_speak_for_its_owner():
    log, (r1, r2, r3) = dock("r1", "r2", "r3")
    r1.send(log, "hello")
    r3.read(log)
    (chain,) = [chain for chain in r3.session.incoming._chains.values() if chain.sender == "r1"]
    stolen = r3.session.outgoing
    stolen._own.robot = "r1"  # seals as r1 with r1's chain, and its own signature
    stolen._keys[CONV] = SenderKey(chain.generation, chain.chain, b"", 0, index=1)
    sealed = stolen.seal(Draft(CONV, "f", "message", None, b"\x01"), epoch="e1", seen=0)
    seq = log.append("message", "r1", envelope.body_of(sealed.content), cid="f")
    assert r2.why(log, seq) == Why.FORGED


def test_a_key_of_low_order_in_an_announcement_stops_nobody():
    log, (r1, r2) = dock("r1", "r2")
    evil = Party("r2", "odd")
    signed = envelope.pack_device("odd", bytes([1]) + bytes(31), evil.identity.public_key, 5)
    signature = evil.identity.sign(envelope.device_context(CONV, "r2") + signed)
    log.append("sealed.device", "r2", envelope.body_of(signed + signature))
    assert r2.body(log, r1.send(log, "on we go")) == "on we go"


def test_a_message_key_is_never_used_twice_whatever_is_killed_when(monkeypatch):
    """Every (key, nonce) that ever encrypts is noted, over kills at every step of a send."""
    used = []
    encrypt = ratchet.encrypt

    def noted(secret, plaintext, associated):
        used.append(secret)
        return encrypt(secret, plaintext, associated)

    monkeypatch.setattr(ratchet, "encrypt", noted)
    log, (r1, r2) = dock("r1", "r2")
    for step in range(12):
        if step % 4 == 0:
            r1.send(log, step)  # stored, and then killed
        elif step % 4 == 1:
            r1.seal(log, step, cid=f"lost{step}")  # sealed, killed before it was kept
        elif step % 4 == 2:
            r1.seal(log, step, cid=f"kept{step}")  # kept and sent by the next process, as it is
            log.append("message", "r1", envelope.body_of(r1.last.content), cid=f"kept{step}")
        else:
            roster = r1.session.roster(CONV)
            _, record = r1.session.outgoing.make_key(
                roster, r1.now_ms
            )  # killed before it was given out
            r1.keep([record])
        r1.crash(place=0)
        r1.catch_up(log)
    assert len(used) == len(set(used)) == 9
    said = [seq for seq, event in r2.read(log).items() if event.kind == "message"]
    assert all(r2.shown[seq].seal is not None for seq in said)
