"""Where settings come from, which source wins, and what is refused."""

import pytest

from imserver.core import settings
from imserver.core.errors import InvalidSettings
from imserver.core.server_settings import parse_address
from imserver.core.settings import Settings


def refusal(**sources):
    """Return the message with which the sources are refused."""
    with pytest.raises(InvalidSettings) as refused:
        settings.load(**sources)
    return str(refused.value)


def test_without_sources_the_defaults_are_in_force():
    assert settings.load() == Settings()


def test_a_file_wins_over_the_defaults():
    assert settings.load(toml="[server]\nlisten = '127.0.0.1:1'").server.listen == "127.0.0.1:1"


def test_the_environment_wins_over_a_file():
    in_force = settings.load(
        toml="[server]\nlisten = '127.0.0.1:1'",
        environ={"IMSERVER_SERVER_LISTEN": "127.0.0.1:2"},
    )
    assert in_force.server.listen == "127.0.0.1:2"


def test_a_flag_wins_over_the_environment():
    in_force = settings.load(
        environ={"IMSERVER_SERVER_LISTEN": "127.0.0.1:2"},
        flags={"server.listen": "127.0.0.1:3"},
    )
    assert in_force.server.listen == "127.0.0.1:3"


def test_a_flag_that_was_not_given_changes_nothing():
    assert settings.load(flags={"server.listen": None}) == Settings()


def test_one_setting_of_a_section_leaves_the_others_as_they_were():
    in_force = settings.load(
        toml="[server]\nbacklog = 7", environ={"IMSERVER_SERVER_DATA": "elsewhere"}
    )
    assert (in_force.server.backlog, in_force.server.data) == (7, "elsewhere")


@pytest.mark.parametrize("setting", [*settings.all_settings()], ids=lambda setting: setting.key)
def test_every_setting_can_come_from_the_environment(setting):
    value = setting.default
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    assert settings.load(environ={setting.variable: text}) == Settings()


def test_a_list_in_the_environment_is_parted_by_commas():
    in_force = settings.load(environ={"IMSERVER_ACCESS_ORIGINS": "https://a, https://b"})
    assert in_force.access.origins == ("https://a", "https://b")


def test_other_programs_variables_are_left_alone():
    assert settings.load(environ={"PATH": "/bin", "IMSERVER_URL": "http://x"}) == Settings()


@pytest.mark.parametrize(
    ("sources", "wrong", "right"),
    [
        ({"toml": "[server]\nlistn = 'x:1'"}, "server.listn", "server.listen"),
        ({"toml": "[sever]\nlisten = 'x:1'"}, "[sever]", "[server]"),
        (
            {"environ": {"IMSERVER_STORE_DURABILTY": "os"}},
            "IMSERVER_STORE_DURABILTY",
            "IMSERVER_STORE_DURABILITY",
        ),
        ({"flags": {"limits.page": "1"}}, "limits.page", "limits.page_max"),
    ],
    ids=["file", "section", "environment", "flag"],
)
def test_an_unknown_key_is_refused_with_its_nearest_neighbour(sources, wrong, right):
    message = refusal(**sources)
    assert f"unknown {message.split()[1]}" in message
    assert wrong in message
    assert f"did you mean {right}?" in message


@pytest.mark.parametrize(
    ("sources", "parts"),
    [
        ({"toml": "[server]\nhello_timeout_s = 0"}, ["server.hello_timeout_s", "> 0", "file"]),
        ({"toml": "[server]\nhello_timeout_s = '1'"}, ["server.hello_timeout_s", "float"]),
        ({"toml": "server = 1"}, ["server", "[server]"]),
        ({"toml": "[server]\nlisten 5"}, ["not TOML", "line 2"]),
        ({"environ": {"IMSERVER_LIMITS_PAGE_MAX": "x"}}, ["limits.page_max", "int", "'x'"]),
        ({"environ": {"IMSERVER_SERVER_PING_INTERVAL_S": "nan"}}, ["server.ping_interval_s"]),
        ({"flags": {"store.durability": "none"}}, ["store.durability", "full or os", "'none'"]),
        ({"flags": {"server.listen": "7400"}}, ["server.listen", "HOST:PORT"]),
        ({"flags": {"server.listen": "host:65536"}}, ["server.listen", "65535"]),
        ({"flags": {"server.listen": "::1:7400"}}, ["server.listen", "HOST:PORT"]),
        ({"flags": {"limits.body_bytes_max": "9999999"}}, ["limits.frame_bytes_max", "9999999"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_would_be_right(sources, parts):
    message = refusal(**sources)
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7400", ("127.0.0.1", 7400)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:7400", ("::1", 7400)),
    ],
)
def test_an_address_is_taken_apart(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "LocalHost:1"])
def test_loopback_needs_no_tls(address):
    in_force = settings.load(flags={"server.listen": address, "server.tcp": address})
    assert in_force.server.tcp_address == parse_address(address)


@pytest.mark.parametrize("key", ["server.listen", "server.tcp"])
@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "robots.example.org:1"])
def test_plain_text_that_others_can_reach_must_be_asked_for(key, address):
    message = refusal(flags={key: address})
    assert key in message and "server.tls_cert" in message and "--insecure" in message
    settings.load(flags={key: address, "server.insecure": "true"})
    settings.load(flags={key: address, "server.tls_cert": "c", "server.tls_key": "k"})


@pytest.mark.parametrize(
    ("flags", "right"),
    [
        ({"server.tls_cert": "c"}, "server.tls_key"),
        ({"server.tls_key": "k"}, "server.tls_cert"),
        ({"server.tls_client_ca": "a"}, "server.tls_cert"),
        ({"server.tls_client_certs": "required"}, "server.tls_client_ca"),
        ({"server.insecure": "perhaps"}, "bool"),
    ],
)
def test_half_of_tls_is_refused_with_what_is_missing(flags, right):
    assert right in refusal(flags=flags)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("False", False)])
def test_a_switch_is_true_or_false(text, value):
    in_force = settings.load(environ={"IMSERVER_SERVER_INSECURE": text})
    assert in_force.server.insecure is value


def test_settings_written_as_toml_read_the_same():
    in_force = settings.load(
        flags={"server.data": 'a "b"\\\n\x7f', "access.origins": "https://a,https://b"}
    )
    assert settings.load(toml=settings.to_toml(in_force)) == in_force


def test_retention_comes_with_rules_for_single_groups():
    in_force = settings.load(
        toml="""
        [retention]
        events = 1000
        [retention.groups."g/dock"]
        age_s = 60
        events = 0
        """
    )
    assert in_force.retention.rule("g/dock") == settings.GroupRetention(60.0, 0, 0)
    assert in_force.retention.rule("g/yard") == settings.GroupRetention(0.0, 1000, 0)


def test_rules_for_single_groups_can_come_from_the_environment_as_json():
    text = '{"g/dock": {"events": 7}}'
    in_force = settings.load(environ={"IMSERVER_RETENTION_GROUPS": text})
    assert in_force.retention.rule("g/dock").events == 7


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('[retention.groups."d/a/b"]', "'d/a/b' is no group"),
        ('[retention.groups."dock"]', "write its conversation, such as g/dock"),
        ('[retention.groups."g/dock"]\nevnts = 5', "evnts"),
        ('[retention.groups."g/dock"]\nevents = -5', "retention.groups (configuration file)"),
        ("[retention]\nage_s = -1", "retention.age_s (configuration file)"),
    ],
)
def test_a_wrong_retention_is_refused(toml, message):
    assert message in refusal(toml=toml)


def test_a_map_that_is_no_json_is_refused():
    assert "must be a map in JSON" in refusal(environ={"IMSERVER_RETENTION_GROUPS": "g/dock"})


def test_rules_for_single_groups_are_printed_so_that_they_can_be_read_again():
    before = settings.load(
        toml='[retention.groups."g/dock"]\nage_s = 60\n[retention.groups."g/yard"]\nevents = 3'
    )
    assert settings.load(toml=settings.to_toml(before)) == before
