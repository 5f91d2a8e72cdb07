"""The report: nothing unjudged looks judged, and every violation can be looked up."""

from pathlib import Path

import msgspec
import pytest

from imserver.verify.findings import KEPT_MAX
from imserver.verify.guarantees import MEANING, Guarantee
from imserver.verify.report import Report
from tests.unit.verify.story import GROUP, Story, full_story


@pytest.fixture
def broken(tmp_path):
    """The report on a history in which an acked event was lost."""
    story = full_story(1)
    story.logs[GROUP].pop()
    return story.judge(tmp_path)


@pytest.fixture
def losses():
    """A story in which more acked events were lost than are told one by one."""
    story = Story()
    story.create_group()
    client = story["r1"]
    client.records.clear()
    client.open()
    for _ in range(KEPT_MAX + 5):
        client.send(GROUP)
    del story.logs[GROUP][1:]
    return story


def test_every_guarantee_has_a_line_that_says_what_it_means(tmp_path):
    text = full_story(1).judge(tmp_path).to_text()
    for guarantee in Guarantee:
        assert f"\n{guarantee:<4}  {MEANING[guarantee].says}: " in text


def test_a_guarantee_that_could_not_be_judged_says_what_is_missing(tmp_path):
    text = full_story(1).judge(tmp_path, raw=False).to_text()
    assert "NOT JUDGED: needs a raw log and acked sends" in text
    assert "no raw log" in text.splitlines()[0]
    assert "clean: 11 of 15 guarantees judged" in text


def test_the_counts_are_those_of_the_history(tmp_path):
    story = Story()
    story["r1"].open()
    for _ in range(3):
        story["r1"].send(GROUP)
    story["r1"].receive(GROUP, 2)
    report = story.judge(tmp_path)
    assert (report.histories, report.sessions, report.records) == (3, 1, 9)
    assert (report.conversations, report.events) == (1, 3)
    assert report.of(Guarantee.G1).count == 3
    assert report.of(Guarantee.G9).count == 2
    assert report.of(Guarantee.G12).count == 0


def test_the_verdict_names_what_was_violated(broken):
    assert broken.to_text().splitlines()[-1].startswith("VIOLATED: G1, ")


def test_a_witness_is_a_line_that_can_be_looked_up(broken):
    violation = next(v for v in broken.violations if v.guarantee == "G1")
    for witness in violation.witnesses:
        if witness.place.startswith("log "):
            continue
        path, _, line = witness.place.rpartition(":")
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        assert lines[int(line) - 1] == witness.text


def test_the_text_tells_every_violation_with_its_witnesses(broken):
    text = broken.to_text()
    for violation in broken.violations:
        assert violation.sentence in text
        for witness in violation.witnesses:
            assert f"{witness.place}: {witness.text}" in text


def test_the_json_is_the_whole_report(broken):
    assert msgspec.json.decode(broken.to_json(), type=Report) == broken


def test_all_violations_are_counted_and_the_first_ones_kept(losses, tmp_path):
    report = losses.judge(tmp_path)
    assert report.of(Guarantee.G1).violations == KEPT_MAX + 5
    assert len([v for v in report.violations if v.guarantee == "G1"]) == KEPT_MAX
    assert f"… and {KEPT_MAX + 5 - 20} more" in report.to_text()
