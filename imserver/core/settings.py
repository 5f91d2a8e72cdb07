"""The settings of a server: one Struct a section, with ranges, and how the four sources combine.

Defaults < TOML < environment < flags. A key is ``section.name`` in messages and flags, ``[section] name``
in TOML, ``IMSERVER_SECTION_NAME`` in the environment. Reads no file and no environment itself: callers hand
in text and mappings. The ``Attributes`` of the docstrings below are the table of docs/configuration.md.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, structs

from imserver.core.audit_settings import AuditSettings
from imserver.core.cache_settings import CacheSettings
from imserver.core.errors import InvalidSettings
from imserver.core.file_settings import FileSettings
from imserver.core.http_settings import HttpSettings
from imserver.core.rate_settings import RateSettings
from imserver.core.route_settings import RouteSettings
from imserver.core.sealing_settings import SealingSettings
from imserver.core.server_settings import ServerSettings
from imserver.protocol.limits import Limits
from imserver.protocol.names import clip, is_group, is_name

ENVIRONMENT_PREFIX: Final = "IMSERVER_"
OTHER_VARIABLES: Final = frozenset(
    {"IMSERVER_URL", "IMSERVER_TOKEN", "IMSERVER_CA", "IMSERVER_PIN", "IMSERVER_TEST_SEED"}
)
"""Variables of the client commands (``send``, ``tail``, …) and of the tests: no settings of a server."""

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1_024, le=2**40)]


class StoreSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where everything is kept.

    Attributes:
        url: a MongoDB replica set that keeps it for any number of nodes, as
            mongodb://HOST,HOST/DATABASE?replicaSet=NAME; empty for the embedded store in the data directory.
        durability: of the embedded store: ``full`` acks after fsync and survives a power cut; ``os`` acks
            after the write and survives the death of the process only.
    """

    url: str = ""
    durability: Literal["full", "os"] = "full"

    def __post_init__(self) -> None:
        if self.url and not self.url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError(
                f"store.url must begin with mongodb:// or mongodb+srv://, not {clip(self.url, 12)!r}; "
                "the embedded store is what `server.data` names"
            )


class GroupRetention(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of one group's log is kept; what is left out is as for all groups.

    Attributes:
        age_s: seconds after which an event goes, and with it all before it; 0 keeps events of any age.
        events: how many of the newest events stay; 0 keeps any number.
        body_bytes: how many bytes the bodies of the newest events that stay may take; 0 keeps any size.
    """

    age_s: Annotated[float, Meta(ge=0)] | None = None
    events: Annotated[int, Meta(ge=0)] | None = None
    body_bytes: Annotated[int, Meta(ge=0)] | None = None


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the logs of groups is kept. The last event stays always; direct lines stay whole.

    Attributes:
        age_s: seconds after which an event goes, and with it all before it; 0 keeps events of any age.
        events: how many of the newest events stay; 0 keeps any number.
        body_bytes: how many bytes the bodies of the newest events that stay may take, give or take a
            twentieth; 0 keeps any size.
        interval_s: seconds between two sweeps.
        groups: other rules for single groups, by conversation: ``[retention.groups."g/dock"]``.
    """

    age_s: Annotated[float, Meta(ge=0)] = 0.0
    events: Annotated[int, Meta(ge=0)] = 0
    body_bytes: Annotated[int, Meta(ge=0)] = 0
    interval_s: Seconds = 60.0
    groups: dict[str, GroupRetention] = {}

    def __post_init__(self) -> None:
        for name in self.groups:
            if not (is_group(name) and is_name(name.removeprefix("g/"))):
                raise ValueError(
                    f"retention.groups: {clip(name)!r} is no group; write its conversation, such as g/dock"
                )

    @property
    def lets_go(self) -> bool:
        """Whether any event may ever go."""
        return any((self.age_s, self.events, self.body_bytes, self.groups))

    def rule(self, conv: str) -> GroupRetention:
        """Return the rule of a group, with what it leaves out filled in."""
        rule = self.groups.get(conv, _AS_FOR_ALL)
        return GroupRetention(
            age_s=self.age_s if rule.age_s is None else rule.age_s,
            events=self.events if rule.events is None else rule.events,
            body_bytes=self.body_bytes if rule.body_bytes is None else rule.body_bytes,
        )


_AS_FOR_ALL: Final = GroupRetention()


class DeliverySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How events reach their readers.

    Attributes:
        write_buffer_bytes_max: bytes waiting to be written to one connection above which it is not pushed to,
            and catches up from the log in pages instead.
        page_bytes_max: most bytes of bodies in one frame of events.
        tail_bytes_max: bytes of memory for the last events of all conversations, for readers slightly behind.
        pages_bytes_max: bytes of memory for what was read from the store lately, for readers that come to the
            same place one after the other.
        pending_bytes_max: bytes that may wait for the store. A robot may have as many waiting as are left
            free; beyond, its sends answer ``unavailable``, and those of others go on.
        cursor_flush_s: seconds after which acks are written to the store at the latest.
        head_interval_s: seconds without traffic after which readers are told a conversation's head.
        presence_flush_s: seconds during which changes of presence are gathered into one signal.
        push_wait_s_max: longest time in seconds for which events for a connection that just got some are held
            back, to go out together. It is used up only where many connections read the same, 40 µs for each
            or more where writing takes long, and events come at least twice in that time; 0 writes them one
            by one, at several times the cost.
    """

    write_buffer_bytes_max: Bytes = 256 * 1024
    page_bytes_max: Bytes = 192 * 1024
    tail_bytes_max: Bytes = 16 * 1024 * 1024
    pages_bytes_max: Bytes = 8 * 1024 * 1024
    pending_bytes_max: Bytes = 64 * 1024 * 1024
    cursor_flush_s: Seconds = 1.0
    head_interval_s: Seconds = 30.0
    presence_flush_s: Seconds = 0.1
    push_wait_s_max: Annotated[float, Meta(ge=0, le=1)] = 0.008


class AccessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may connect.

    Attributes:
        connections_max: most connections at a time; one more is turned away with 503. Never more than the
            process may have files open (``ulimit -n``), less 320.
        connections_per_address_max: most connections at a time from one address (of IPv6: from one network of
            64 bits); one more is turned away with 429. Behind a proxy all come from the proxy's address.
        admission_wait_s: seconds that newcomers may wait for their turn, about; when more come than can be
            served in that time, the next ones are turned away with 503 and told when to come.
        offences_max: malformed frames of one connection after which it is closed.
        deflate: compress for clients that ask for it: frames over WebSockets and raw TCP, answers over HTTP.
        deflate_bytes_min: smallest frame or answer that is compressed then.
        clones: what becomes of a device that two machines claim with one identity: who is there keeps it
            (``keep``), the newcomer takes it (``replace``), or both are out until the robot is enrolled anew
            (``revoke``).
        origins: web pages that may connect, as https://host[:port]; other browsers' pages are refused.
            Programs send no Origin and are not concerned.
    """

    connections_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    connections_per_address_max: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    admission_wait_s: Seconds = 1.0
    offences_max: Annotated[int, Meta(ge=1, le=1_000)] = 3
    deflate: bool = True
    deflate_bytes_min: Annotated[int, Meta(ge=0, le=2**30)] = 1_024
    clones: Literal["keep", "replace", "revoke"] = "keep"
    origins: tuple[str, ...] = ()


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written to standard error.

    Attributes:
        level: least severe level that is written.
        format: ``json``, one object a line, or ``text`` for reading by eye.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "text"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set; each tier is given its own section only."""

    server: ServerSettings = ServerSettings()
    limits: Limits = Limits()
    store: StoreSettings = StoreSettings()
    route: RouteSettings = RouteSettings()
    cache: CacheSettings = CacheSettings()
    retention: RetentionSettings = RetentionSettings()
    delivery: DeliverySettings = DeliverySettings()
    access: AccessSettings = AccessSettings()
    rates: RateSettings = RateSettings()
    http: HttpSettings = HttpSettings()
    audit: AuditSettings = AuditSettings()
    files: FileSettings = FileSettings()
    sealing: SealingSettings = SealingSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        if self.limits.frame_bytes_max <= self.limits.body_bytes_max:
            raise ValueError(
                "limits.frame_bytes_max must be larger than limits.body_bytes_max "
                f"({self.limits.body_bytes_max}), since a frame holds a body and more"
            )


class Setting(NamedTuple):
    """One setting as the reference lists it."""

    section: str
    name: str
    type: Any
    default: Any

    @property
    def key(self) -> str:
        """The name in messages and flags."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.name}".upper()


def all_settings() -> Iterator[Setting]:
    """Yield every setting, section by section, with its default."""
    defaults = Settings()
    for section in structs.fields(Settings):
        values = getattr(defaults, section.name)
        for field in structs.fields(section.type):
            yield Setting(section.name, field.name, field.type, getattr(values, field.name))


def load(
    *,
    toml: str = "",
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Combine the sources into the settings in force.

    Args:
        toml: the text of a configuration file.
        environ: the process's environment; only ``IMSERVER_…`` is looked at.
        flags: values, or their text, by key (``server.listen``); None means that it was not given.

    Raises:
        InvalidSettings: a key is unknown (the nearest known one is named) or a value is wrong.
    """
    known = {setting.key: setting for setting in all_settings()}
    values: dict[str, Any] = {}
    values.update(_from_toml(toml, known))
    values.update(_from_environment(environ or {}, known))
    for key, value in (flags or {}).items():
        if value is not None:
            setting = _known(key, known, "setting")
            values[key] = _converted(setting, _parsed(setting, value), source="command line")
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    try:
        return msgspec.convert(sections, Settings)
    except msgspec.ValidationError as exc:
        raise InvalidSettings(_without_path(str(exc))) from None


def masked(settings: Settings) -> Settings:
    """Return the settings without the passwords that stand in URLs."""
    store = structs.replace(settings.store, url=_without_passwords(settings.store.url))
    route = structs.replace(settings.route, url=_without_passwords(settings.route.url))
    cache = structs.replace(settings.cache, url=_without_passwords(settings.cache.url))
    return structs.replace(settings, store=store, route=route, cache=cache)


def _without_passwords(url: str) -> str:
    url = re.sub(r"(://[^/?#@]*?):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*password=)[^&]*", r"\1***", url)


def to_toml(settings: Settings) -> str:
    """Return the settings as the text of a configuration file that gives the same ones."""
    lines = []
    for section in structs.fields(Settings):
        lines.append(f"[{section.name}]")
        for name, value in structs.asdict(getattr(settings, section.name)).items():
            lines.append(f"{name} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, Struct):
        value = {name: part for name, part in structs.asdict(value).items() if part is not None}
    if isinstance(value, dict):
        pairs = (f"{_toml_value(name)} = {_toml_value(part)}" for name, part in value.items())
        return f"{{{', '.join(pairs)}}}"
    # TOML's basic strings are JSON's, but for DEL, which must be escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007F")


def _from_toml(text: str, known: Mapping[str, Setting]) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InvalidSettings(f"the configuration file is not TOML: {exc}") from None
    sections = [field.name for field in structs.fields(Settings)]
    values = {}
    for section, table in document.items():
        if section not in sections:
            raise InvalidSettings(_unknown("section", f"[{section}]", [f"[{s}]" for s in sections]))
        if not isinstance(table, dict):
            raise InvalidSettings(f"{section} must be a section, [{section}], not a value")
        for name, value in table.items():
            setting = _known(f"{section}.{name}", known, "setting")
            values[setting.key] = _converted(setting, value, source="configuration file")
    return values


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    variables = {setting.variable: setting for setting in known.values()}
    values = {}
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in variables:
            neighbours = [*variables, *OTHER_VARIABLES]
            raise InvalidSettings(_unknown("environment variable", variable, neighbours))
        setting = variables[variable]
        values[setting.key] = _converted(setting, _parsed(setting, text), source=variable)
    return values


def _without_path(message: str) -> str:
    return message.partition(" - at `$")[0]  # checks that span settings name them themselves


def _parsed(setting: Setting, value: Any) -> Any:
    """Return the text of a variable or flag as TOML would have given it: lists are parted by commas, maps
    are JSON."""
    if not isinstance(value, str) or isinstance(setting.default, str):
        return value
    if isinstance(setting.default, dict):
        return _parsed_map(setting, value)
    if isinstance(setting.default, bool):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
    if isinstance(setting.default, tuple):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return float(value) if isinstance(setting.default, float) else int(value)
    except ValueError:
        return value  # which the conversion refuses with a message


def _parsed_map(setting: Setting, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise InvalidSettings(f"{setting.key} must be a map in JSON: {exc}") from None


def _known(key: str, known: Mapping[str, Setting], what: str) -> Setting:
    if key not in known:
        raise InvalidSettings(_unknown(what, key, known))
    return known[key]


def _unknown(what: str, name: str, neighbours: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(neighbours), n=1, cutoff=0.0)
    return f"unknown {what} {clip(name)}; did you mean {nearest[0]}?"


def _converted(setting: Setting, value: Any, *, source: str) -> Any:
    try:
        return msgspec.convert(value, setting.type)
    except msgspec.ValidationError as exc:
        reason = _without_path(str(exc)).replace("`", "").partition(", got ")[0]
        if get_origin(setting.type) is Literal:
            reason = f"Expected {' or '.join(get_args(setting.type))}"
        raise InvalidSettings(f"{setting.key} ({source}): {reason}, got {value!r}") from None
