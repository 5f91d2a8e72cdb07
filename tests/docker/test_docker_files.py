"""What the files of docker/ say is so: commands, settings, ports, paths, and what they refer to."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry

from imserver import cli, process
from imserver.access.http.operations import Operations
from imserver.core import settings
from imserver.core.clock import SystemClock
from imserver.core.settings import Settings
from imserver.data.mongo.database import WRITE_TIMEOUT_S
from imserver.route.redis_attendance import LEAVE_S
from tests.docker import dockerfile
from tests.docker.dockerfile import ROOT, Step
from tests.mongo_server import PROMPT, PROMPT_PARAMETERS
from tools import compose
from tools.cluster import Cluster

DOCKER = ROOT / "docker"
FILES = ("compose.yaml", "stack.yaml")
GIVEN = {"STORE": "mongodb://a,b,c/imserver?replicaSet=rs0", "ROUTE": "redis://r:6379/0"}


def read(name: str) -> dict[str, Any]:
    """Return a file of docker/, with its variables filled in as who deploys it would."""
    text = (DOCKER / name).read_text(encoding="utf-8")
    text = re.sub(r"\$\{(\w+):?[?-]([^}]*)\}", lambda found: GIVEN.get(found[1], found[2]), text)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def nodes(name: str) -> dict[str, Any]:
    """Return the services of a file that run a node."""
    found = read(name)["services"].items()
    return {key: one for key, one in found if one.get("command", [""])[0] == "imserver"}


def haproxy() -> list[list[str]]:
    """Return the lines of haproxy's configuration, in words."""
    lines = (DOCKER / "haproxy.cfg").read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line.strip() and not line.strip().startswith("#")]


def seconds(text: str) -> float:
    """Return a duration as Docker and haproxy write it."""
    found = re.fullmatch(r"(\d+)(s|m)", text)
    assert found is not None, text
    return int(found[1]) * {"s": 1, "m": 60}[found[2]]


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without variables of ours, to which a test adds."""
    for name in [name for name in os.environ if name.startswith("IMSERVER_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def in_force(bare: pytest.MonkeyPatch, capsys: Any, command: list[str], variables: Any) -> Settings:
    """Return the settings that a node's command and environment give, or fail as the command would."""
    for name, value in variables.items():
        bare.setenv(name, value)
    assert command[:2] == ["imserver", "serve"]
    assert cli.run(["check-config", *command[2:]]) == 0, capsys.readouterr().err
    return settings.load(toml=capsys.readouterr().out.replace("***", "x"))


def image_variables() -> dict[str, str]:
    found = dockerfile.environment(dockerfile.last_stage())
    return {name: value for name, value in found.items() if name.startswith("IMSERVER_")}


def test_each_node_s_command_and_variables_are_ours(file, bare, capsys):
    found = nodes(file)
    assert found
    for node in found.values():
        variables = {**image_variables(), **node["environment"]}
        got = in_force(bare, capsys, node["command"], variables)
        assert got.store.url and got.route.url, "it is one of several"
        assert got.access.connections_per_address_max >= got.access.connections_max
        assert got.log.format == "json"


def test_a_node_gets_longer_to_end_than_it_takes_at_the_most(file, bare, capsys):
    for node in nodes(file).values():
        got = in_force(bare, capsys, node["command"], node["environment"])
        clients_s = got.server.drain_timeout_s
        # What was accepted is stored; clients leave; what is left of HTTP ends; the others are told.
        longest_s = WRITE_TIMEOUT_S + 2 * clients_s + process.GOODBYE_S + LEAVE_S
        assert seconds(node["stop_grace_period"]) > longest_s


def test_the_image_s_own_command_and_variables_are_ours(bare, capsys):
    stage = dockerfile.last_stage()
    (command,) = (step.words for step in stage if step.name == "CMD")
    assert command == ["imserver", "serve"]
    got = in_force(bare, capsys, [*command, "--insecure"], image_variables())
    assert got.server.address.port in exposed()
    (volume,) = (step.text for step in stage if step.name == "VOLUME")
    assert got.server.data == volume


def exposed() -> list[int]:
    (ports,) = (step.words for step in dockerfile.last_stage() if step.name == "EXPOSE")
    return [int(port) for port in ports]


def test_the_image_does_not_run_as_root_and_ends_by_the_signal_that_drains():
    stage = dockerfile.last_stage()
    assert [step.text for step in stage if step.name == "USER"] == ["imserver"]
    assert [step.text for step in stage if step.name == "STOPSIGNAL"] == ["SIGTERM"]
    assert [step.name for step in stage if step.name == "COPY"] == ["COPY"]
    assert sum(step.name == "FROM" for step in dockerfile.steps()) == 2


def test_base_images_are_called_by_their_plain_names():
    images = [step.words[0] for step in dockerfile.steps() if step.name == "FROM"]
    images += [one["image"] for file in FILES for one in read(file)["services"].values()]
    for image in images:
        assert re.fullmatch(r"([a-z]+/)?[a-z]+(:[\w.-]+)?", image), image


def health_commands() -> Iterator[list[str]]:
    (step,) = (step for step in dockerfile.last_stage() if step.name == "HEALTHCHECK")
    yield Step("CMD", step.text.partition("CMD ")[2]).words
    for one in nodes("stack.yaml").values():
        kind, *command = one["healthcheck"]["test"]
        assert kind == "CMD"
        yield command


def test_health_is_asked_for_by_a_command_that_there_is_at_a_port_that_there_is(bare):
    commands = typer.main.get_command(cli.app)
    for program, name, *options in health_commands():
        assert program == "imserver"
        with commands.commands[name].make_context(name, options) as context:
            assert int(context.params["url"].rpartition(":")[2]) in exposed()


def test_the_balancer_and_prometheus_know_each_node_and_ask_for_paths_that_there_are():
    names = set(nodes("compose.yaml"))
    paths = {path for handler in operations().handlers() for path in handler.paths}
    targets = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    (scraped,) = targets
    assert scraped["metrics_path"] in paths
    assert set(scraped["static_configs"][0]["targets"]) == {f"{name}:7400" for name in names}
    lines = haproxy()
    checked = [line[3] for line in lines if line[:2] == ["option", "httpchk"]]
    assert checked == ["/readyz"] * 2 and set(checked) <= paths
    servers = [line for line in lines if line[0] == "server"]
    assert {line[2] for line in servers} == {f"{n}:{port}" for n in names for port in exposed()}
    assert all(line[line.index("port") + 1] == "7400" for line in servers if "port" in line)


def operations() -> Operations:
    async def probe() -> None:
        """Nothing is asked here."""

    return Operations(
        probe=probe, is_draining=bool, registry=CollectorRegistry(), clock=SystemClock()
    )


def test_the_balancer_s_ports_are_published_and_its_patience_is_longer_than_ours():
    lines, own = haproxy(), Settings()
    bound = [line[1].removeprefix(":") for line in lines if line[0] == "bind"]
    assert read("compose.yaml")["services"]["balancer"]["ports"] == [f"{p}:{p}" for p in bound]
    general = lines[: lines.index(["frontend", "robots"])]
    patience = {line[1]: seconds(line[2]) for line in general if line[0] == "timeout"}
    assert patience["client"] > max(own.http.wait_max_s, own.http.heartbeat_s)
    assert patience["server"] > max(own.http.wait_max_s, own.http.heartbeat_s)
    assert patience["tunnel"] > 2 * own.server.ping_interval_s
    only_reading = ["http-request", "disable-l7-retry", "unless", "METH_GET"]
    assert only_reading in lines, "a POST that was perhaps stored is not for the balancer to repeat"


def test_the_replica_set_is_made_of_the_members_that_the_nodes_are_told():
    services = read("compose.yaml")["services"]
    made = re.findall(r'"(mongo\d:\d+)"', (DOCKER / "mongo-set.js").read_text())
    (told,) = {one["command"][6] for one in nodes("compose.yaml").values()}
    hosts, _, rest = told.removeprefix("--store=mongodb://").partition("/")
    assert hosts.split(",") == made
    for member in made:
        name, _, port = member.partition(":")
        command = services[name]["command"]
        assert command[command.index("--port") + 1] == port
        assert rest.partition("replicaSet=")[2] == command[command.index("--replSet") + 1]


def test_the_replica_set_replaces_a_silent_primary_as_soon_as_the_tested_one_does():
    script = (DOCKER / "mongo-set.js").read_text()
    told = dict(re.findall(r"^  (\w+): (\w+),$", script, re.MULTILINE))
    assert {name: yaml.safe_load(value) for name, value in told.items()} == PROMPT
    for name, value in PROMPT_PARAMETERS.items():
        for one in read("compose.yaml")["services"].values():
            if "mongod" in one.get("command", []):
                assert f"{name}={value}" in one["command"]


def test_what_a_file_refers_to_is_defined(file):
    document = read(file)
    for name, one in document["services"].items():
        for other in one.get("depends_on", []):
            assert other in document["services"], (name, other)
        for volume in one.get("volumes", []):
            source = volume.partition(":")[0]
            is_there = (
                (DOCKER / source).is_file() if "/" in source else source in document["volumes"]
            )
            assert is_there, (name, volume)
        for network in one.get("networks", []):
            assert network in document["networks"], (name, network)
        for secret in one.get("secrets", []):
            assert secret["source"] in document["secrets"], (name, secret)
        for other in re.findall(r"//([a-z]\w*):\d+", " ".join(one.get("command", []))):
            assert other in document["services"] or other in GIVEN["ROUTE"], (name, other)
    if "build" in document["services"].get("node1", {}):
        build = document["services"]["node1"]["build"]
        assert (DOCKER / build["context"] / build["dockerfile"]).samefile(dockerfile.DOCKERFILE)


def test_a_secret_is_where_a_node_looks_for_it(bare, capsys):
    (node,) = nodes("stack.yaml").values()
    (secret,) = node["secrets"]
    assert in_force(bare, capsys, node["command"], node["environment"]).server.key == (
        f"/run/secrets/{secret['target']}"
    )
    (user,) = (step for step in dockerfile.steps() if "useradd" in step.text)
    assert secret["uid"] in user.words, "it is readable by the image's user"


def test_an_update_of_the_swarm_takes_a_node_away_only_when_the_next_one_is_well():
    (node,) = nodes("stack.yaml").values()
    update = node["deploy"]["update_config"]
    assert (update["order"], update["parallelism"]) == ("start-first", 1)
    assert update["failure_action"] == "rollback"
    assert node["deploy"]["replicas"] >= 3


def test_the_image_is_made_of_the_program_and_nothing_else():
    given = dockerfile.context()
    assert {Path(name).parts[0] for name in given} == {
        "README.md",
        "client_sdk",
        "imserver",
        "pyproject.toml",
    }
    assert "imserver/data/sqlite/reader.py" in given


def test_make_cluster_runs_the_commands_of_the_compose_file(tmp_path):
    """But for the addresses and the folder."""
    made = Cluster(tmp_path, store="mongodb://m/x", route="redis://r/0", listen="127.0.0.1:1")
    there = compose.nodes()
    assert [node.name for node in made.nodes] == list(there)
    for node in made.nodes:
        _, module, program, *options = node.service.command
        assert (module, program) == ("-m", "imserver")
        back = " ".join(["imserver", *options])
        for here, place in (
            ("mongodb://m/x", compose.STORE),
            ("redis://r/0", compose.ROUTE),
            (str(tmp_path / "data"), compose.DATA),
        ):
            assert here in back
            back = back.replace(here, place)
        back = re.sub(r"(--listen=)127\.0\.0\.1:\d+", rf"\g<1>{compose.LISTEN}", back)
        back = re.sub(r"(--tcp=)127\.0\.0\.1:\d+", rf"\g<1>{compose.TCP}", back)
        assert back.split() == there[node.name].command
        assert node.service.environment == there[node.name].environment
