"""A clean history is clean, and each broken promise is noticed, by its name and with its witness."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imserver.verify.guarantees import Guarantee
from tests.unit.verify.breaches import BREACHES, WITHOUT_RAW_LOG
from tests.unit.verify.story import full_story

seeds = st.integers(0, 2**32)
few = settings(max_examples=12)


def judged(story, *, raw=True):
    with tempfile.TemporaryDirectory() as folder:
        return story.judge(Path(folder), raw=raw)


def assert_noticed(report, guarantee, trace):
    found = [v for v in report.violations if v.guarantee == guarantee]
    assert found, report.to_text()
    shown = [f"{w.place} {w.text}" for violation in found for w in violation.witnesses]
    assert any(trace in text for text in shown), f"{trace} is not in\n{report.to_text()}"


@settings(max_examples=60)
@given(seed=seeds)
def test_a_clean_history_is_clean_and_every_guarantee_was_judged(seed):
    report = judged(full_story(seed))
    assert report.clean, report.to_text()
    assert [row.guarantee for row in report.guarantees if not row.count] == []


@settings(max_examples=60)
@given(seed=seeds)
def test_a_clean_history_is_clean_without_the_raw_log(seed):
    report = judged(full_story(seed), raw=False)
    assert report.clean, report.to_text()


@pytest.mark.parametrize(
    ("guarantee", "breach"),
    [(name, breach) for name, breaches in BREACHES.items() for breach in breaches],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@few
@given(seed=seeds)
def test_a_broken_promise_is_noticed_with_its_witness(guarantee, breach, seed):
    story = full_story(seed)
    trace = breach(story)
    assert_noticed(judged(story), guarantee, trace)


@pytest.mark.parametrize(
    ("guarantee", "breach"),
    WITHOUT_RAW_LOG,
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@few
@given(seed=seeds)
def test_a_broken_promise_is_noticed_from_the_clients_words_alone(guarantee, breach, seed):
    story = full_story(seed)
    trace = breach(story)
    assert_noticed(judged(story, raw=False), guarantee, trace)


def test_every_guarantee_is_broken_by_some_breach():
    assert set(BREACHES) == {guarantee.value for guarantee in Guarantee}
