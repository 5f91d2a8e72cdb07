"""``imserver verify``: what it prints, and how it ends."""

import json

import pytest

from imserver import cli
from tests.unit.verify.story import GROUP, full_story


@pytest.fixture
def run(capsys):
    """Run a command; return its status, standard output and standard error."""

    def command(*arguments):
        status = cli.run(["verify", *(str(argument) for argument in arguments)])
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return command


@pytest.fixture
def written(tmp_path):
    """Write a story's histories and log, with an acked event lost if it is asked for."""

    def write(*, lost=False):
        story = full_story(1)
        story.cursors = None
        if lost:
            story.logs[GROUP].pop()
        story.judge(tmp_path)
        return tmp_path / "histories", tmp_path / "log.jsonl"

    return write


def test_a_clean_history_ends_with_status_0(run, written):
    histories, log = written()
    status, out, err = run(histories, "--log", log)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "clean: 15 of 15 guarantees judged, none violated"


@pytest.mark.parametrize("lost", [False, True])
def test_a_log_that_was_read_in_pages_and_names_no_epoch_is_as_good(run, written, lost):
    histories, log = written(lost=lost)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({**line, "epoch": ""}) + "\n" for line in lines))
    status, out, _ = run(histories, "--log", log)
    assert (status, "VIOLATED" in out) == (int(lost), lost), out


def test_a_violation_ends_with_status_1_and_the_report_on_standard_output(run, written):
    histories, log = written(lost=True)
    status, out, err = run(histories, "--log", log)
    assert (status, err) == (1, "")
    assert "VIOLATED: G1" in out


def test_the_report_can_be_had_as_json(run, written):
    histories, log = written(lost=True)
    status, out, _ = run(histories, "--log", log, "--json")
    assert status == 1
    assert json.loads(out)["clean"] is False


def test_files_can_be_named_one_by_one(run, written):
    histories, log = written()
    status, out, _ = run(*sorted(histories.iterdir()), "--log", log)
    assert (status, out.splitlines()[0].startswith("read 3 histories")) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "missing argument 'HISTORY…'"),
        (["{dir}/none"], "there is no history"),
        (["{dir}"], "holds no file that ends in .jsonl"),
        (["{dir}/histories", "--data", "{dir}"], "there is no store in"),
        (["{dir}/histories", "--log", "{dir}/none"], "none cannot be read"),
        (["{dir}/histories", "--log", "x", "--data", "y"], "not both"),
        (["{dir}/broken"], "broken:1 is no record"),
        (["{dir}/empty"], "nothing to judge"),
    ],
)
def test_unusable_input_ends_in_one_line_and_status_2(run, written, tmp_path, arguments, says):
    written()
    (tmp_path / "log.jsonl").rename(tmp_path / "log.txt")
    (tmp_path / "broken").write_text("what is this\n")
    (tmp_path / "empty").touch()
    status, out, err = run(*(argument.format(dir=tmp_path) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err


def test_what_stands_in_a_history_cannot_steer_the_terminal(run, written):
    histories, log = written(lost=True)
    path = histories / "r1.jsonl"
    path.write_text(path.read_text().replace('"note":', '"note":"\x7f\x9b31m","note":', 1))
    _, out, _ = run(histories, "--log", log)
    assert all(char.isprintable() or char == "\n" for char in out)
