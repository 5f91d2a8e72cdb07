"""Sealed sessions talk: who reads what, in which order, over crashes and changes of members."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_sdk.sealed import envelope
from client_sdk.sealed.incoming import CHAINS_MAX
from client_sdk.sealed.outcome import Why
from client_sdk.sealed.outgoing import MESSAGES_MAX, Policy
from client_sdk.sealed.roster import DEVICES_MAX
from tests.unit.client_sdk.sealed.party import CONV, POLICY, Log, Party, dock


def generations(log):
    return [event.seq for event in log.events if event.kind == envelope.KEY_KIND]


def test_members_and_the_sender_itself_read_what_is_said():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, {"task": "pick", "shelf": 7})
    for party in (r1, r2):
        event = party.read(log)[seq]
        assert event.body == {"task": "pick", "shelf": 7}
        assert (event.seal.device, event.seal.index) == ("main", 0)
    assert b"pick" not in b"".join(bytes(event.body) for event in log.events)


def test_every_device_of_a_robot_reads_and_speaks_for_itself():
    log, (r1, r2) = dock("r1", "r2")
    camera = Party("r2", "camera")
    camera.join(log)
    said = r1.send(log, "hello")
    seen = camera.send(log, "seen")
    assert [party.body(log, said) for party in (r2, camera)] == ["hello", "hello"]
    assert r1.read(log)[seen].seal.device == "camera"


def test_edits_are_sealed_and_belong_to_what_they_edit():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, "pikc")
    edit = r1.send(log, "pick", kind="edit", ref=seq)
    assert r2.body(log, edit) == "pick"
    moved = log.repeat(edit, ref=seq + 1, cid="x")
    assert r2.why(log, moved) == Why.FORGED


def test_a_key_serves_for_as_many_messages_as_are_allowed_and_no_more():
    log, (r1, r2) = dock("r1", "r2", policy=Policy(3, POLICY.age_ms, POLICY.device_age_ms))
    said = [r1.send(log, number) for number in range(7)]
    assert len(generations(log)) == 3
    assert [r2.body(log, seq) for seq in said] == list(range(7))


@pytest.mark.parametrize("later_ms", [POLICY.age_ms, -1])
def test_a_key_that_is_too_old_or_of_the_future_is_not_used(later_ms):
    log, (r1, _) = dock("r1", "r2")
    r1.send(log, 1)
    r1.now_ms += later_ms
    r1.send(log, 2)
    assert len(generations(log)) == 2


def test_who_is_removed_cannot_read_what_follows():
    log, (r1, r2, r3) = dock("r1", "r2", "r3")
    before = r1.send(log, "before")
    log.append("members_removed", "r1", {"robots": ["r3"]})
    after = r1.send(log, "after")
    assert r2.body(log, after) == "after"
    assert r3.body(log, before) == "before"
    assert r3.why(log, after) == Why.NO_KEY, "a server that shows it the log all the same"


def test_who_joins_cannot_read_what_was_before():
    log, (r1, _) = dock("r1", "r2")
    before = r1.send(log, "before")
    log.append("members_added", "r1", {"robots": ["r3"], "role": "member"})
    r3 = Party("r3")
    r3.join(log)
    after = r1.send(log, "after")
    assert r3.body(log, after) == "after"
    assert r3.why(log, before) == Why.NO_KEY


def test_a_member_that_does_not_seal_is_not_wrapped_to_and_its_plain_words_are_not_shown():
    log, (r1, r2) = dock("r1", "r2")
    log.append("members_added", "r1", {"robots": ["r4"], "role": "member"})
    seq = log.append("message", "r4", "plain")
    assert r1.why(log, seq) == Why.PLAIN
    assert r1.session.roster(CONV).members()["r4"] == {}
    assert r2.body(log, r1.send(log, "x")) == "x"


def test_a_withdrawn_device_is_wrapped_to_no_more():
    log, (r1, r2) = dock("r1", "r2")
    camera = Party("r2", "camera")
    camera.join(log)
    r1.send(log, "both")
    content = r2.session.own.withdrawal(CONV, "camera", r2.now_ms + 1)
    log.append(envelope.DEVICE_KIND, "r2", envelope.body_of(content))
    after = r1.send(log, "one")
    assert camera.why(log, after) == Why.NO_KEY
    assert r2.body(log, after) == "one"


def test_a_robot_has_so_many_devices_and_the_newest_count():
    log, (r1, _) = dock("r1", "r2")
    for number in range(DEVICES_MAX + 3):
        Party("r2", f"d{number}").join(log)
    r1.catch_up(log)
    devices = r1.session.roster(CONV).members()["r2"]
    assert list(devices) == [f"d{number}" for number in range(3, DEVICES_MAX + 3)]


def test_a_device_whose_memory_is_lost_goes_on_with_new_keys():
    log, (r1, r2) = dock("r1", "r2")
    r1.send(log, 1)
    fresh = Party("r1", identity=r1.identity)
    fresh.dice.seed("another")
    fresh.now_ms = r1.now_ms + 1
    fresh.join(log)
    seq = fresh.send(log, 2)
    assert r2.body(log, seq) == 2
    assert r2.read(log)[seq].seal.generation > r1.last.generation


def test_after_two_renewals_of_its_key_a_device_cannot_open_what_was_wrapped_before():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, "old")
    for _ in range(2):
        r2.now_ms += POLICY.device_age_ms
        r2.join(log)
    thief = Party("r2")
    thief.durable = {"device": r2.durable["device"]}
    thief.begin()
    assert thief.why(log, seq) == Why.NO_KEY
    assert thief.body(log, r1.send(log, "new")) == "new"


def test_what_was_opened_is_opened_again_only_if_its_key_was_kept():
    log, (r1, r2) = dock("r1", "r2")
    keeper = Party("r2", "archive", keep_history=True)
    keeper.join(log)
    seq = r1.send(log, "once")
    for party in (r2, keeper):
        assert party.body(log, seq) == "once"
    assert r2.look_up(log, seq).body.why is Why.USED
    assert keeper.look_up(log, seq).body == "once"
    moved = log.repeat(seq)
    assert keeper.look_up(log, moved).body.why is Why.REPLAYED


def test_history_opens_what_stands_behind_a_key_that_it_shows_and_changes_nothing_by_it():
    log, (r1, r2) = dock("r1", "r2")
    seqs = [r1.send(log, number) for number in range(3)]
    key = seqs[0] - 1
    r2.catch_up(log)
    assert r2.look_up(log, seqs[1]).body.why is Why.NO_KEY
    for _ in range(2):
        assert r2.look_up(log, key).body["for_me"]
        assert [r2.look_up(log, seq).body for seq in seqs] == [0, 1, 2]
    assert r2.look_up(log, log.repeat(seqs[1])).body.why is Why.REPLAYED
    assert [r2.body(log, seq) for seq in seqs] == [0, 1, 2]
    assert [r2.look_up(log, seq).body for seq in seqs] == [0, 1, 2]
    ahead = r1.send(log, 3)
    r2.catch_up(log)
    assert r2.look_up(log, ahead).body == 3
    assert r2.body(log, ahead) == 3


def test_looking_ahead_uses_nothing_up():
    log, (r1, r2) = dock("r1", "r2")
    r2.read(log)
    r1.send(log, 0)
    r2.read(log)
    ahead = r1.send(log, 1)
    r2.catch_up(log)
    assert r2.look_up(log, ahead).body == 1
    assert r2.body(log, ahead) == 1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_sends_under_way_at_once_are_opened_in_any_order_and_with_any_losses(data):
    log, (r1, r2) = dock("r1", "r2")
    r1.send(log, "first")
    bodies = [r1.seal(log, number, cid=f"n{number}") for number in range(12)]
    order = data.draw(st.permutations(range(12)))
    kept = order[: data.draw(st.integers(0, 12))]
    seqs = {n: log.append("message", "r1", bodies[n], cid=f"n{n}") for n in kept}
    crash_at = data.draw(st.integers(0, len(log.events)))
    r2.read(log, until=crash_at)
    r2.crash(place=data.draw(st.integers(0, crash_at)))
    assert {number: r2.body(log, seq) for number, seq in seqs.items()} == {n: n for n in kept}
    for number, seq in seqs.items():
        again = log.repeat(seq)
        assert r2.why(log, again) == Why.REPLAYED, number


def test_the_keys_of_what_never_came_are_dropped_when_their_sender_has_settled_them():
    log, (r1, r2) = dock("r1", "r2")
    r1.send(log, 0)
    r1.settle(log)
    for number in range(1, 50):  # refused by the server, say
        r1.seal(log, number, cid=f"n{number}")
        r1.settle(log)
    r1.send(log, 50)
    r2.read(log)
    (chain,) = [chain for chain in r2.session.incoming._chains.values() if chain.sender == "r1"]
    assert not chain.skipped


def test_skipped_keys_and_chains_are_bounded():
    log, (r1, r2) = dock(
        "r1", "r2", policy=Policy(MESSAGES_MAX, POLICY.age_ms, POLICY.device_age_ms)
    )
    for _ in range(CHAINS_MAX + 2):
        for number in range(MESSAGES_MAX - 1):
            r1.seal(log, number, cid=f"n{number}")
        r1.send(log, "last")
        r1.now_ms += 1
    r2.read(log)
    chains = [chain for chain in r2.session.incoming._chains.values() if chain.sender == "r1"]
    assert len(chains) == CHAINS_MAX
    assert all(len(chain.skipped) < MESSAGES_MAX for chain in chains)
    assert sum(name.startswith("chain/g/dock/r1/") for name in kept_names(r2, log)) == CHAINS_MAX


def kept_names(party, log):
    party.crash(place=len(log.events))
    return party.durable


@given(
    st.lists(st.sampled_from(["r1", "r2", "say", "remove", "add", "crash"]), max_size=25), st.data()
)
@settings(max_examples=40, deadline=None)
def test_who_was_a_member_with_a_known_device_when_it_was_said_reads_it_and_nobody_else(
    steps, data
):
    log, parties = dock("r1", "r2", "r3")
    r1, r3 = parties[0], parties[2]
    inside, said = True, {}
    for step in steps:
        if step == "remove" and inside:
            log.append("members_removed", "r1", {"robots": ["r3"]})
            inside = False
        elif step == "add" and not inside:
            log.append("members_added", "r1", {"robots": ["r3"], "role": "member"})
            inside = True
        elif step == "crash":
            place = r3.taken.get(CONV, 0)
            r3.read(log)
            r3.crash(place=data.draw(st.integers(place, len(log.events))))
        else:
            speaker = parties[1] if step == "r2" else r1
            said[speaker.send(log, len(log.events))] = inside
    shown = r3.read(log)
    for seq, was_inside in said.items():
        assert (shown[seq].seal is not None) == was_inside, shown[seq]


def test_a_plain_conversation_stays_plain_until_somebody_seals_it():
    log = Log("r1", "r2")
    r1, r2 = Party("r1"), Party("r2")
    plain = log.append("message", "r1", "hello")
    assert r2.body(log, plain) == "hello"
    assert not r2.session.is_sealed(CONV)
    r1.join(log)
    r2.catch_up(log)
    assert r2.session.is_sealed(CONV)
    assert r2.session.has_errand()
    assert r2.session.take_errand() == CONV


def test_with_everything_sealed_nothing_plain_is_shown():
    log = Log("r1", "r2")
    r2 = Party("r2", everything=True)
    assert r2.why(log, log.append("message", "r1", "hello")) == Why.PLAIN


def test_a_log_that_was_cut_back_is_read_again_and_spoken_to_with_a_new_key():
    log, (r1, r2) = dock("r1", "r2")
    r1.send(log, 1)
    r2.read(log)
    del log.events[4:]  # the key and what it sealed
    for party in (r1, r2):
        party.session.renumbered(CONV)
        party.session.roster(CONV).progress.hear(4, 1, epoch="e2")
    r2.taken[CONV] = 4
    seq = r1.send(log, 2)
    assert r2.body(log, seq) == 2


def test_a_body_that_is_no_body_is_told_as_such():
    log, (r1, r2) = dock("r1", "r2")
    seq = r1.send(log, msgspec.msgpack.Ext(1, b"x"))
    assert r2.why(log, seq) == Why.MALFORMED
