"""The commands that need no server: their output, their errors and their exit statuses."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import imserver
from imserver import cli
from imserver.cli.failure import CommandFailed, Failure, first_failure
from imserver.cli.operate import Interruptions
from imserver.core import settings
from imserver.core.clock import SystemClock
from imserver.core.tokens import TokenAuthority
from imserver.data.directory import DataDirectory
from imserver.protocol.names import InvalidName


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("IMSERVER_URL", "IMSERVER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys):
    """Run a command; return its status, standard output and standard error."""

    def command(*arguments):
        status = cli.run([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return status, streams.out, streams.err

    return command


def read(data, token, kind):
    """Return the claims of a token as the server of the directory reads it."""
    authority = TokenAuthority(DataDirectory(data).signing_key())
    return authority.read(token, kind=kind, now_ms=SystemClock().now_ms())


def test_token_prints_a_bearer_token_alone(run, tmp_path):
    status, out, err = run("token", "--robot", "r1", "--data", tmp_path)
    claims = read(tmp_path, out.removesuffix("\n"), "bearer")
    assert (status, err, claims.robot, claims.admin) == (0, "", "r1", False)


def test_token_of_an_admin_says_so(run, tmp_path):
    _, out, _ = run("token", "--robot", "r1", "--admin", "--data", tmp_path)
    assert read(tmp_path, out.strip(), "bearer").admin


def test_enroll_prints_an_enrolment_token_alone(run, tmp_path):
    status, out, err = run(
        "enroll", "--robot", "r1", "--groups", "g/dock, g/yard", "--data", tmp_path
    )
    claims = read(tmp_path, out.removesuffix("\n"), "enroll")
    assert (status, err, claims.robot) == (0, "", "r1")
    assert claims.groups == ("g/dock", "g/yard")


@pytest.mark.parametrize(
    ("text", "ms"), [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3d", 259_200_000)]
)
def test_a_token_lives_as_long_as_was_asked_for(run, tmp_path, text, ms):
    _, out, _ = run("token", "--robot", "r1", "--ttl", text, "--data", tmp_path)
    claims = read(tmp_path, out.strip(), "bearer")
    assert claims.expires_ms - claims.issued_ms == ms


def test_each_token_has_an_id_of_its_own(run, tmp_path):
    tokens = [run("enroll", "--robot", "r1", "--data", tmp_path)[1].strip() for _ in range(3)]
    assert len({read(tmp_path, token, "enroll").id for token in tokens}) == 3


def test_version_is_the_package_s(run):
    assert run("version") == (0, f"imserver {imserver.__version__}\n", "")


def test_the_version_is_an_option_as_well(run):
    assert run("--version") == run("version")


@pytest.mark.parametrize("group", [[], ["keys"]])
def test_a_list_of_commands_cuts_no_sentence_short(run, group):
    _, out, _ = run(*group, "--help")
    assert "..." not in out.partition("Commands:")[2]


def test_without_a_command_the_help_is_shown(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "check-config" in out


def test_check_config_prints_what_is_in_force_as_a_configuration_file(run, tmp_path, monkeypatch):
    config = tmp_path / "imserver.toml"
    config.write_text("[server]\nbacklog = 7\nlisten = '127.0.0.1:1'\n")
    monkeypatch.setenv("IMSERVER_LOG_LEVEL", "debug")
    _, out, _ = run(
        "check-config", "--config", config, "--listen", "127.0.0.1:2", "--set", "limits.page_max=9"
    )
    in_force = settings.load(toml=out)
    assert (in_force.server.backlog, in_force.server.listen) == (7, "127.0.0.1:2")
    assert (in_force.log.level, in_force.limits.page_max) == ("debug", 9)


def test_check_config_prints_no_password(run):
    url = "mongodb://robots:s3cret@h1,h2/db?replicaSet=rs0&tlsCertificateKeyFilePassword=s3cret"
    _, out, _ = run("check-config", "--store", url)
    assert "s3cret" not in out
    assert "mongodb://robots:***@h1,h2/db?replicaSet=rs0&" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frob"], "no such command 'frob'"),
        (["enroll"], "missing option '--robot'"),
        (["enroll", "--robot", "a/b", "--data", "{data}"], "robot name 'a/b' must be"),
        (["enroll", "--robot", "r1", "--groups", "dock", "--data", "{data}"], "g/<group>"),
        (["token", "--robot", "r1", "--ttl", "1y", "--data", "{data}"], "such as 90s"),
        (["token", "--robot", "r1", "--ttl", "0s", "--data", "{data}"], "more than 0"),
        (["serve", "--config", "{data}/none.toml"], "none.toml cannot be read"),
        (["serve", "--set", "limits.page_max"], "must be KEY=VALUE"),
        (["check-config", "--set", "limits.pagemax=1"], "did you mean limits.page_max?"),
        (["check-config", "--listen", "7400"], "server.listen"),
        (["check-config", "--store", "sqlite:x"], "store.url must begin with mongodb://"),
        (["send", "dock", "hi"], "must be g/<group>"),
        (["send", "g/dock", "hi", "--data", "{data}/none"], "give --token"),
        (["send", "g/dock", "hi", "--token", "x"], "the token is malformed"),
        (["send", "g/dock", "hi", "--url", "ftp://x", "--token", "x"], "server address"),
        (["send", "g/dock", "{{", "--json"], "must be a JSON value"),
        (["demo", "--url", "http://127.0.0.1:1", "--data", "{data}/none"], "there is no key"),
        (["demo", "--robots", "1"], "--robots"),
        (["serv"], "Did you mean 'serve'? See imserver --help"),
        (["check-config", "--durability", "never"], "Expected full or os, got 'never'"),
        (["health", "--url", "127.0.0.1:7400"], "must look like http://host:7400"),
        (["health", "--url", "tcp://127.0.0.1:7401"], "name the server's HTTP port"),
        (["health", "--url", "https://127.0.0.1:1", "--ca", "none.pem"], "none.pem must be a file"),
        (["cert", "--out", "/dev/null"], "/dev/null is no directory; name one"),
    ],
)
def test_wrong_use_ends_in_one_line_and_status_2(run, tmp_path, arguments, says):
    status, out, err = run(*(argument.format(data=tmp_path) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("imserver: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["token", "--robot", "r1", "--data", "/dev/null"], "is not a directory"),
        (["check", "--data", "{data}"], "there is no store in"),
        (["serve", "--data", "/dev/null"], "is not a directory"),
        (["check", "--store", "localhost"], "must begin with mongodb://"),
        (["migrate", "--from", "{data}", "--to", "mongodb://127.0.0.1:1/"], "there is no store in"),
    ],
)
def test_failure_ends_in_one_line_and_status_1(run, tmp_path, arguments, says):
    status, out, err = run(*(argument.format(data=tmp_path) for argument in arguments))
    assert (status, out) == (1, "")
    assert err.startswith("imserver: ")
    assert err.count("\n") == 1
    assert says in err


def test_client_commands_make_no_key(run, tmp_path):
    run("robots", "--data", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_fault_of_the_program_is_no_failure_of_the_user_s():
    assert first_failure(ZeroDivisionError()) is None
    assert first_failure(ExceptionGroup("", [CommandFailed("x"), ZeroDivisionError()])) is None


def test_a_group_of_failures_is_told_by_its_first():
    group = ExceptionGroup("", [ExceptionGroup("", [InvalidName("bad name")]), CommandFailed("x")])
    assert first_failure(group) == Failure("bad name", 2)


def test_minting_a_token_loads_neither_client_nor_server(tmp_path):
    program = (
        "import sys; from imserver import cli; "
        f"cli.run(['token', '--robot', 'r1', '--data', {str(tmp_path)!r}]); "
        "heavy = {'asyncio', 'client_sdk', 'uvicorn', 'apsw', 'rich', 'litestar'}; "
        "print(*heavy & set(sys.modules), file=sys.stderr, end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--store", "mongodb://127.0.0.1:1/"],
        ["keys", "list", "--store", "mongodb://127.0.0.1:1/"],
        ["accept-loss", "--store", "mongodb://127.0.0.1:1/"],
        ["migrate", "--from", ".", "--to", "mongodb://127.0.0.1:1/"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_where_the_driver_of_mongodb_is_missing_the_command_says_so(tmp_path, arguments):
    program = (
        "import sys; sys.modules['pymongo'] = sys.modules['bson'] = None; "
        f"from imserver import cli; sys.exit(cli.run({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(imserver.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("imserver: a store in MongoDB needs its driver: pip install")
    assert done.stderr.count("\n") == 1


def options():
    """Return each command with each of its options, as a user writes them."""
    group = get_command(cli.app)
    return [
        (name, max(parameter.opts, key=len))
        for name, command in sorted(group.commands.items())
        for parameter in command.params
        if parameter.opts[0].startswith("-") and parameter.name != "help"
    ]


def values():
    """Return what commands take besides switches, each behind its command."""
    group = get_command(cli.app)
    commands = {**group.commands, **group.commands["keys"].commands}
    return [
        (name, parameter)
        for name, command in sorted(commands.items())
        for parameter in command.params
        if not getattr(parameter, "is_flag", False)
    ]


@pytest.mark.parametrize(("command", "parameter"), values())
def test_what_a_command_takes_has_a_word_in_its_help(command, parameter):
    assert parameter.metavar, "without one, help shows a type of Python's"
    assert not parameter.metavar.startswith("["), "help puts brackets around it by itself"


def reference(command):
    """Return the section of the reference that a command is linked to."""
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    anchor = re.search(rf"\[`{command}`\]\(#([a-z-]+)\)", page)[1]
    sections = re.split(r"^## ", page, flags=re.MULTILINE)
    return next(
        s for s in sections if s.split("\n")[0].replace(",", "").replace(" ", "-") == anchor
    )


@pytest.mark.parametrize("command", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_command_has_a_section_in_the_reference(command):
    assert reference(command)


@pytest.mark.parametrize(("command", "option"), options())
def test_every_option_is_in_its_command_s_section_of_the_reference(command, option):
    same_as_serve = command == "check-config"
    assert re.search(rf"{option}\b", reference("serve" if same_as_serve else command))


def test_tail_says_once_in_an_interruption_why_and_keeps_no_warning_back(capsys):
    log, handled = logging.getLogger("interrupted"), []
    log.setLevel(logging.DEBUG)
    monitor = logging.Handler(logging.WARNING)
    monitor.emit = handled.append
    log.addHandler(monitor)
    log.addFilter(Interruptions())
    for _ in range(2):
        for problem in ("it is gone", "it is gone", "nobody is there"):
            log.info("robot.disconnected", extra={"problem": problem, "state": "waiting"})
        log.debug("robot.state", extra={"was": "greeting", "is": "online"})
        log.info("robot.disconnected", extra={"problem": "nobody is there", "state": "waiting"})
    log.warning("frame.ignored")
    said = [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["it is gone", "nobody is there", "nobody is there"] * 2
    assert [record.getMessage() for record in handled] == ["frame.ignored"]
