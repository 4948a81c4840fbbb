"""Settings of the service: where events come from, what they look like, how often to save; beside the model's own."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from ipaddress import IPv6Address
from typing import Any, Final, Literal, get_args

import msgspec

from stream.config import Mistake, Range, Settings, out_of_range

Client = Literal["kafka-python", "librdkafka"]
CLIENTS: Final[tuple[str, ...]] = get_args(Client)

KEY: Final = "@key"
"""In a schema: the record's key."""
TIMESTAMP: Final = "@timestamp"
"""In a schema: the record's own timestamp."""

_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_TOPIC_RULE: Final = "1 to 249 letters, digits, dots, underscores and hyphens"
_SERVER: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/@,\[\]]+):([0-9]{1,5})")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
_TOKEN_RULE: Final = "16 to 512 letters, digits and any of -._~+/ (openssl rand -hex 32 makes a good one)"
_LAYERS: Final = {"SASL": ("mechanism", "username", "password"), "SSL": ("ca_file", "certificate_file", "key_file")}
_PAIRS: Final = (("certificate_file", "key_file"), ("key_file", "certificate_file"), ("key_password", "key_file"))


class Security(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to reach a broker that asks who is there. Never shown, logged or stored in a checkpoint."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    """Certificates to trust, PEM; None: those that the system trusts."""
    certificate_file: str | None = None
    """This client's certificate, PEM."""
    key_file: str | None = None
    """The certificate's private key, PEM."""
    key_password: str | None = None
    check_hostname: bool = True

    def __repr__(self) -> str:
        """Say nothing: a representation ends up in logs."""
        return f"Security(protocol={self.protocol!r}, ...)"


class Kafka(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The topics to read, and the group to read them as."""

    bootstrap_servers: tuple[str, ...]
    topics: tuple[str, ...]
    group: str
    client: Client = "kafka-python"
    start: Literal["earliest", "latest"] = "earliest"
    """Where a model begins that has not read a partition yet."""
    on_gap: Literal["stop", "earliest"] = "stop"
    """When retention deleted records before they were learnt: stop, or go on from the earliest."""
    session_timeout_s: float = 45.0
    """After how long a member that died is taken for dead."""
    drain_timeout_s: float = 20.0
    """How long a partition to be given up may wait until what was read of it is in a checkpoint."""
    new_partitions_s: float = 30.0
    """How often to look for new partitions."""
    max_record_bytes: int = 2**20
    """A larger record is a dead letter."""
    security: Security = Security()


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where in a record the fields of an event stand.

    A path into the JSON value, with dots for objects in objects (``"payload.user.id"``); ``"@key"`` is the record's
    key (of a user or an item), ``"@timestamp"`` its own timestamp.
    """

    format: Literal["json"] = "json"
    user: str = "user"
    item: str = "item"
    timestamp: str = "timestamp"
    weight: str | None = None
    """None: every event weighs 1."""
    oldest: str = "1990-01-01"
    """An event time before this day (UTC) is absurd."""
    max_ahead_s: float = 86_400.0
    """An event time this far ahead of its record's own timestamp is absurd."""


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and when the model is saved."""

    folder: str
    """One folder is one model."""
    every_s: float = 10.0
    """Besides at the end of every window."""
    keep: int = 2
    background: bool = True
    """Copy the model in memory (as much again as the budget) and write it while learning goes on."""
    on_disk_error: Literal["stop", "continue"] = "stop"
    """When the disk refuses: stop, or continue and try again at the next checkpoint."""


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where records go that cannot be used."""

    topic: str | None = None
    """None: the group's name and ".dead-letters"."""
    create: bool = True
    """Create the topic if it is missing."""


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Recommendations, metrics, health and the live page. The token is never shown, logged or stored."""

    port: int | None = None
    """None: nothing of it; 0: any that is free."""
    host: str = "127.0.0.1"
    """The address to bind to."""
    token: str | None = None
    """Who changes the budget has to know it; None: nobody may."""
    max_lag: int = 10_000
    """With more records waiting the service is not ready."""
    live_within_s: float = 30.0
    """After so long without a sign of the learner it is taken for dead."""
    checkpoint_within_s: float = 600.0
    """With an older checkpoint, while events come, the service is not ready."""
    max_requests_per_second: int = 500
    """From one client address; more are refused."""
    max_connections: int = 500
    """At a time; more are refused."""

    def __repr__(self) -> str:
        """Say where, and not the token: a representation ends up in logs."""
        return f"Http(host={self.host!r}, port={self.port!r}, ...)"


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that ``scall run`` needs to know."""

    kafka: Kafka
    checkpoints: Checkpoints
    schema: Schema = Schema()
    dead_letters: DeadLetters = DeadLetters()
    http: Http = Http()
    settings: Settings = Settings()
    """The model: at the top of the file, and in its sections memory, model, sizes, windows and evaluation."""

    @property
    def dead_letter_topic(self) -> str:
        """The topic that dead letters go to."""
        return self.dead_letters.topic or f"{self.kafka.group}.dead-letters"

    def identity(self) -> dict[str, Any]:
        """Return what the model depends on, fit for JSON; under another identity its checkpoint is refused.

        Who reads the topics from where, how often and how safely is no part of it; the topics' order is, for partitions
        are numbered by it.
        """
        settings: dict[str, Any] = msgspec.to_builtins(self.settings)
        return settings | {"topics": list(self.kafka.topics), "schema": msgspec.to_builtins(self.schema)}


def mistakes_in_service(service: Service) -> Iterator[Mistake]:
    """Yield what is wrong with the service's own settings, as far as it can be told without looking at the world.

    What they say of ``kafka.security`` and ``http.token`` names settings, never values.
    """
    yield from out_of_range(_ranges(service))
    yield from _mistakes_in_kafka(service.kafka)
    yield from _mistakes_in_security(service.kafka.security)
    yield from _mistakes_in_group(service)
    yield from _mistakes_in_schema(service.schema)
    yield from _mistakes_in_http(service.http)
    if not _is_path(service.checkpoints.folder):
        yield Mistake(
            "checkpoints.folder", f"checkpoints.folder {service.checkpoints.folder!r} is no path: name a folder"
        )


def _ranges(service: Service) -> list[Range]:
    kafka, checkpoints, http = service.kafka, service.checkpoints, service.http
    return [
        # What a broker takes unless it is told otherwise.
        Range("kafka.session_timeout_s", kafka.session_timeout_s, 6, 1800),
        Range("kafka.drain_timeout_s", kafka.drain_timeout_s, 0.1, 1800),
        Range("kafka.new_partitions_s", kafka.new_partitions_s, 0.1, 86_400),
        Range("kafka.max_record_bytes", kafka.max_record_bytes, 1, 2**30),
        Range("schema.max_ahead_s", service.schema.max_ahead_s, 0, 10**10),
        Range("checkpoints.every_s", checkpoints.every_s, 0.01, 86_400),
        Range("checkpoints.keep", checkpoints.keep, 1, 1000),
        Range("http.port", http.port or 0, 0, 65_535),
        Range("http.max_lag", http.max_lag, 0, 2**62),
        Range("http.live_within_s", http.live_within_s, 1, 86_400),
        Range("http.checkpoint_within_s", http.checkpoint_within_s, 1, 10**7),
        Range("http.max_requests_per_second", http.max_requests_per_second, 1, 10**6),
        # The system's own limit of open files lies above.
        Range("http.max_connections", http.max_connections, 1, 10_000),
    ]


def _mistakes_in_kafka(kafka: Kafka) -> Iterator[Mistake]:
    for path, names in (("kafka.bootstrap_servers", kafka.bootstrap_servers), ("kafka.topics", kafka.topics)):
        if not names:
            yield Mistake(path, f"{path} is empty: give at least one")
        for name, times in Counter(names).items():
            if times > 1:
                yield Mistake(path, f"{path} has {name!r} {times} times: give each once")
    for server in kafka.bootstrap_servers:
        match = _SERVER.fullmatch(server)
        if not (match and 1 <= int(match[1]) <= 65_535):
            text = f"kafka.bootstrap_servers has {server!r}, which is no address: write each as HOST:PORT"
            yield Mistake("kafka.bootstrap_servers", text)
    for topic in kafka.topics:
        if not _TOPIC.fullmatch(topic):
            yield Mistake("kafka.topics", f"kafka.topics has {topic!r}, which names no topic: give {_TOPIC_RULE}")
    if kafka.drain_timeout_s >= kafka.session_timeout_s:
        text = f"kafka.drain_timeout_s = {kafka.drain_timeout_s:.15g} is too long: give less than "
        limit = f"kafka.session_timeout_s = {kafka.session_timeout_s:.15g}"
        yield Mistake("kafka.drain_timeout_s", text + limit, ("kafka.session_timeout_s",))


def _mistakes_in_group(service: Service) -> Iterator[Mistake]:
    group, topic = service.kafka.group, service.dead_letters.topic
    if not group.strip() or not group.isprintable():
        yield Mistake("kafka.group", f"kafka.group {group!r} is no name: give one of letters, digits and hyphens")
    elif topic is None and not _TOPIC.fullmatch(service.dead_letter_topic):
        text = f"kafka.group {group!r} cannot name the dead-letter topic, {service.dead_letter_topic!r}"
        remedy = f"give {_TOPIC_RULE} in all, or dead_letters.topic"
        yield Mistake("kafka.group", f"{text}: {remedy}", ("dead_letters.topic",))
    if topic is not None and not _TOPIC.fullmatch(topic):
        yield Mistake("dead_letters.topic", f"dead_letters.topic {topic!r} names no topic: give {_TOPIC_RULE}")
    if service.dead_letter_topic in service.kafka.topics:
        text = f"dead_letters.topic {service.dead_letter_topic!r} is one of kafka.topics: give a topic of its own"
        yield Mistake("dead_letters.topic", text, ("kafka.topics", "kafka.group"))


def _mistakes_in_schema(schema: Schema) -> Iterator[Mistake]:
    paths = {name: getattr(schema, name) for name in ("user", "item", "timestamp", "weight")}
    given = {f"schema.{name}": path for name, path in paths.items() if path is not None}
    for name, path in given.items():
        meta = {"schema.user": KEY, "schema.item": KEY, "schema.timestamp": TIMESTAMP}.get(name)
        if path.startswith("@") and path != meta:
            remedy = f"give {meta} or a path into the value" if meta else "give a path into the value"
            yield Mistake(name, f"{name} {path!r} is unknown: {remedy}")
        elif not all(path.split(".")):
            yield Mistake(name, f"{name} {path!r} is no path: write keys with dots between, such as payload.user.id")
        for other, others_path in given.items():
            # One value cannot be two fields, nor the object that the other lies in.
            if other != name and f"{path}.".startswith(f"{others_path}.") and (path != others_path or other < name):
                text = f"{name} {path!r} overlaps {other}: give each a value of its own"
                yield Mistake(name, text, (other,))
    try:
        is_day = date.fromisoformat(schema.oldest).isoformat() == schema.oldest
    except ValueError:
        is_day = False
    if not is_day:
        yield Mistake("schema.oldest", f"schema.oldest {schema.oldest!r} is no day: write it as 1990-01-01")


def _mistakes_in_http(http: Http) -> Iterator[Mistake]:
    if not (_HOST.fullmatch(http.host) or _is_ipv6(http.host)):
        text = (
            f"http.host {http.host!r} is no address: give one such as 127.0.0.1, ::1, 0.0.0.0 or a name, without a port"
        )
        yield Mistake("http.host", text)
    if http.token is not None and not _TOKEN.fullmatch(http.token):
        yield Mistake("http.token", f"http.token cannot be used: give {_TOKEN_RULE}")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _mistakes_in_security(security: Security) -> Iterator[Mistake]:
    given = {name: value for name, value in msgspec.structs.asdict(security).items() if value is not None}
    for name, value in given.items():
        path = f"kafka.security.{name}"
        if value == "":
            yield Mistake(path, f"{path} is empty: give it, or leave it out")
        elif name.endswith("_file") and not _is_path(value):
            yield Mistake(path, f"{path} is no path: name a file, or leave it out")
    for layer, names in _LAYERS.items():
        for name in names:
            path = f"kafka.security.{name}"
            if layer == "SASL" and layer in security.protocol and name not in given:
                text = f"{path} is missing: a protocol with SASL needs mechanism, username and password"
                yield Mistake(path, text, ("kafka.security.protocol",))
            elif layer not in security.protocol and name in given:
                text = f"{path} is not used: give a kafka.security.protocol with {layer}, or leave it out"
                yield Mistake(path, text, ("kafka.security.protocol",))
    for name, needed in _PAIRS:
        if name in given and needed not in given:
            path = f"kafka.security.{needed}"
            yield Mistake(path, f"{path} is missing: {name} needs it", (f"kafka.security.{name}",))


def _is_path(text: str) -> bool:
    return bool(text.strip()) and "\0" not in text
