"""Who is missing for a moment is still counted; who is gone for longer is not."""

from imserver.route.roster import Roster


def test_who_is_seen_is_there_at_once() -> None:
    roster = Roster(grace_s=3)
    roster.look(["a"], 0)
    roster.look(["a", "b"], 1)
    assert roster.others == {"a", "b"}


def test_a_redis_that_forgot_everybody_for_a_moment_moves_nothing() -> None:
    roster = Roster(grace_s=3)
    roster.look(["a", "b"], 0)
    others = roster.others
    roster.look([], 1)
    roster.look(["b"], 2)
    roster.look(["b", "a"], 3)
    assert roster.others is others


def test_who_is_missing_for_long_is_gone_and_may_come_again() -> None:
    roster = Roster(grace_s=3)
    roster.look(["a", "b"], 0)
    roster.look(["b"], 10)
    assert roster.others == {"a", "b"}, "missed since this look only"
    roster.look(["b"], 12.9)
    assert roster.others == {"a", "b"}
    roster.look(["b"], 13)
    assert roster.others == {"b"}
    roster.look(["b", "a"], 14)
    roster.look(["b"], 15)
    assert roster.others == {"a", "b"}, "its grace begins anew"


def test_looks_that_do_not_come_about_change_nothing() -> None:
    roster = Roster(grace_s=3)
    roster.look(["a"], 0)
    roster.look([], 1)
    roster.look(["a"], 100)
    roster.look([], 101)
    assert roster.others == {"a"}
