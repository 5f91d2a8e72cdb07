"""``tokens``, ``revoke`` and ``audit`` without a server."""

import asyncio
import json

import pytest

from imserver import cli
from imserver.core import tokens
from imserver.data.directory import DataDirectory
from imserver.data.sqlite.store import SqliteStore


@pytest.fixture
def run(capsys):
    """Run a command; return its status, standard output and standard error."""

    def command(*arguments):
        status = cli.run([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return command


@pytest.fixture
def data(tmp_path):
    """A data directory whose server has run."""
    directory = DataDirectory(tmp_path / "data")

    async def run_once() -> None:
        await (await SqliteStore.open(directory.database_path)).aclose()

    asyncio.run(run_once())
    return directory.path


def minted(run, data, *more):
    token = run("token", "--robot", "r1", "--data", data, *more)[1].strip()
    return token, tokens.unverified(token, kind="bearer").id


def rows(run, command, data, *more):
    status, out, err = run(command, "--json", "--data", data, *more)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_what_was_minted_is_listed_with_what_it_is_good_for(run, data):
    _, token_id = minted(run, data, "--scope", "read:g/dock,send:g/dock")
    enrolled = run("enroll", "--robot", "r2", "--groups", "g/dock", "--data", data)[1].strip()
    found = {row["id"]: row for row in rows(run, "tokens", data)}
    assert found[token_id]["scopes"] == ["read:g/dock", "send:g/dock"]
    assert found[token_id]["minted_by"].startswith("cli")
    enrolment = found[tokens.unverified(enrolled, kind="enroll").id]
    assert (enrolment["kind"], enrolment["groups"]) == ("enroll", ["g/dock"])
    assert [row["robot"] for row in rows(run, "tokens", data, "--robot", "r2")] == ["r2"]
    status, out, _ = run("tokens", "--data", data)
    assert status == 0 and "read:g/dock,send:g/dock" in out and "good" in out


def test_a_token_is_revoked_by_its_id_or_by_itself(run, data):
    (_, first), (token, second) = minted(run, data), minted(run, data)
    assert run("revoke", first, "--data", data)[:2] == (0, f"token {first} of r1 is revoked\n")
    assert run("revoke", "--token", token, "--data", data)[0] == 0
    assert {row["id"]: row["revoked_ms"] is not None for row in rows(run, "tokens", data)} == {
        first: True,
        second: True,
    }
    acts = rows(run, "audit", data)
    assert [act["kind"] for act in acts] == ["token_minted"] * 2 + ["token_revoked"] * 2
    assert [act["token_id"] for act in acts[2:]] == [first, second]
    assert token not in str(acts)


def test_the_audit_log_shows_the_newest_last(run, data):
    for _ in range(3):
        minted(run, data)
    assert [act["number"] for act in rows(run, "audit", data, "--lines", "2")] == [2, 3]
    out = run("audit", "--data", data)[1]
    assert out.startswith("TIME (UTC)") and out.count("token_minted") == 3


@pytest.mark.parametrize(
    ("arguments", "status", "hint"),
    [
        ([], 2, "one thing"),
        (["id", "--robot", "r1"], 2, "one thing"),
        (["no-such-id"], 1, "imserver tokens"),
        (["--robot", "ghost"], 1, "not registered"),
        (["--robot", "a b"], 2, "must be"),
        (["--token", "let me in"], 2, "malformed"),
    ],
)
def test_what_cannot_be_revoked_is_refused_with_what_would_be_right(
    run, data, arguments, status, hint
):
    minted(run, data)
    found, out, err = run("revoke", *arguments, "--data", data)
    assert (found, out) == (status, "")
    assert hint in err


def test_a_directory_without_a_store_is_told_so_and_keeps_what_waits_there(run, tmp_path):
    data = tmp_path / "elsewhere"
    minted(run, data)
    for command in ("tokens", "audit"):
        status, _, err = run(command, "--data", data)
        assert status == 1 and "HTTP" in err
    assert not (data / "imserver.db").exists()
    assert (data / "acts.jsonl").stat().st_size > 0
