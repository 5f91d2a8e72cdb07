"""The README's tour is run as it stands there, against a real server; its commands and links exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source_tree import ROOT
from tests.house.tour import Tour, blocks, readme

PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    """The tour, taken from beginning to end."""
    tour = Tour(tmp_path_factory.mktemp("tour"))
    section = readme().partition("\n## A tour of five minutes\n")[2].partition("\n## ")[0]
    try:
        for block in blocks(section):
            tour.take(block)
        yield tour
    finally:
        tour.end()


def test_the_robot_that_asks_gets_its_answer(tour: Tour) -> None:
    assert "was answered by r2: {'picked': 7}" in tour.output("python dispatcher.py")


def test_the_robot_that_works_sees_what_everybody_says(tour: Tour) -> None:
    tour.wait_for("python picker.py", "all well?")
    said = tour.output("python picker.py")
    assert said.index("'shelf': 7") < said.index("'picked': 7") < said.index("lunch break")


def test_the_log_is_shown_from_its_beginning(tour: Tour) -> None:
    shown = tour.output("imserver tail")
    assert shown.index("group_created") < shown.index("picked") < shown.index("lunch break")


def test_the_lists_name_robots_and_groups(tour: Tour) -> None:
    assert {"r1", "r2"} <= set(re.findall(r"\w+", tour.output("imserver robots")))
    assert "g/dock" in tour.output("imserver groups")


def test_the_same_cid_sent_twice_over_a_plain_websocket_is_told_the_same_place(tour: Tour) -> None:
    first = _sent(tour.output("python laptop.py"))
    tour.run("python laptop.py")
    assert '"dup":false' in first
    assert _sent(tour.output("python laptop.py")) == first.replace('"dup":false', '"dup":true')


def test_the_commands_it_names_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = set(re.findall(r"`?\bmake ([a-z-]+)\b[` ]", readme()))
    assert {"run", "test"} <= named & set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", text)
    dead = [file + anchor for file, anchor in links if not _leads(ROOT / page, file, anchor)]
    assert not dead


@pytest.mark.parametrize("page", PAGES[:3])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:imserver|client_sdk|tests|tools|bench|docs|\.ci)/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def _leads(page: Path, file: str, anchor: str) -> bool:
    target = page.parent / file if file else page
    if not anchor:
        return target.exists()
    if not target.is_file():
        return False
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
    return anchor.removeprefix("#") in {_anchor(heading) for heading in headings}


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def _sent(output: str) -> str:
    return next(line for line in output.splitlines() if '"t":"sent"' in line)
