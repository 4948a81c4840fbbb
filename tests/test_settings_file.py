"""The settings file: what is in it is read, and every mistake is told by line and path, without a secret."""

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream.commands.assembly import build_policy
from stream.config import Memory, Settings, Windows
from stream.errors import InputError, UsageError
from stream.service_settings import Checkpoints, Kafka, Service
from stream.settings_file import find_mistakes, load_service

quick = settings(derandomize=True, deadline=None, max_examples=150)

SAMPLE = (Path(__file__).parents[1] / "docker" / "service.toml").read_text()
FULL = re.sub(r"^#(?=\w)", "", SAMPLE, flags=re.MULTILINE)
"""The sample with every key set."""
SECRETS = {"ca.pem": "", "client.pem": "", "client.key": "", "key-password": "sesame\n"}
ENVIRONMENT = {"KAFKA_PASSWORD": "mellon", "SCALL_TOKEN": "0123456789abcdef"}
MINIMAL = {
    "kafka.bootstrap_servers": '["localhost:9092"]',
    "kafka.topics": '["clicks"]',
    "kafka.group": '"scall"',
    "checkpoints.folder": '"model"',
}
SASL = {f"kafka.security.{name}": value for name, value in {
    "protocol": '"SASL_SSL"', "mechanism": '"PLAIN"', "username": '"scall"', "password": '"mellon"'
}.items()}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the sample names."""
    made = tmp_path_factory.mktemp("settings")
    for name, content in SECRETS.items():
        (made / name).write_text(content)
    return made


def write(folder: Path, text: str) -> Path:
    path = folder / "service.toml"
    path.write_text(text)
    return path


def lines_of(values: Mapping[str, str | None]) -> str:
    """Return a file with what a service needs, these set beside it; None leaves a key out."""
    return "".join(f"{path} = {value}\n" for path, value in (MINIMAL | values).items() if value is not None)


def load(folder: Path, values: Mapping[str, str | None], environment: Mapping[str, str] | None = None) -> Service:
    return load_service(write(folder, lines_of(values)), environment or {})


def mistakes_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the mistakes without the name of the file, and check what holds for all of them."""
    path = write(folder, text)
    mistakes = find_mistakes(path, environment or {}, build_policy)
    assert all(mistake.startswith(f"{path}:") and mistake.isprintable() for mistake in mistakes)
    return [mistake.removeprefix(f"{path}:") for mistake in mistakes]


def told_of(folder: Path, values: Mapping[str, str | None]) -> list[str]:
    """Return the mistakes without their lines."""
    return [re.sub(r"^[0-9]*: ?", "", line) for line in mistakes_of(folder, lines_of(values))]


def flat(struct: Any, section: str = "") -> dict[str, Any]:
    """Values of a Struct by dotted path; where the model's own stand, their section has no name."""
    found: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value, path = getattr(struct, name), f"{section}{name}"
        inner = "" if isinstance(value, Settings) else f"{path}."
        found |= flat(value, inner) if isinstance(value, msgspec.Struct) else {path: value}
    return found


REQUIRED = Service(
    kafka=Kafka(bootstrap_servers=("localhost:9092",), topics=("clicks",), group="scall"),
    checkpoints=Checkpoints(folder="checkpoints"),
)
DEFAULTS = flat(REQUIRED)


# The sample


def keys_of_sample() -> dict[str, tuple[str, str, int]]:
    """Return each key's value, what is said of it behind, and its line."""
    found, section = {}, ""
    for number, line in enumerate(SAMPLE.splitlines(), 1):
        if header := re.fullmatch(r"\[([\w.]+)\]", line):
            section = f"{header[1]}."
        elif key := re.fullmatch(r"#?(\w+) = (.*?)(?: +# (.*))?", line):
            assert section + key[1] not in found
            found[section + key[1]] = (key[2], key[3] or "", number)
    return found


KEYS = keys_of_sample()


def value_of(path: str, literal: str) -> Any:
    """Return what a setting is when it is written so."""
    if path.endswith(("_s", "_bytes")):
        number = re.fullmatch(r'"([0-9.]+)([A-Za-z]+)"', literal)
        units = {"s": 1, "min": 60, "h": 3600, "d": timedelta(days=1).total_seconds(), "MiB": 2**20}
        assert number
        return float(number[1]) * units[number[2]]
    value = tomllib.loads(f"x = {literal}")["x"]
    return tuple(value) if isinstance(value, list) else value


def test_the_sample_has_no_mistake(tmp_path: Path) -> None:
    assert mistakes_of(tmp_path, SAMPLE) == []
    service = load_service(write(tmp_path, SAMPLE), {})
    assert service.settings.policy == DEFAULTS["policy"]
    assert service.settings.windows.allowed_lateness_s == 3600
    assert service.checkpoints.folder == str(tmp_path / "checkpoints")


def test_the_sample_with_every_key_set_has_no_mistake(folder: Path) -> None:
    assert mistakes_of(folder, FULL, ENVIRONMENT) == []
    security = load_service(write(folder, FULL), ENVIRONMENT).kafka.security
    assert (security.password, security.key_password) == ("mellon", "sesame")


def test_the_sample_shows_every_key_in_its_section() -> None:
    assert KEYS.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("path", DEFAULTS)
def test_the_sample_tells_the_default_of_a_key(path: str) -> None:
    literal, said, line = KEYS[path]
    if said == "required":
        assert path in MINIMAL
    elif said == "default: none":
        assert DEFAULTS[path] is None
    else:
        claimed = said.removeprefix("default: ") or literal
        assert value_of(path, claimed) == DEFAULTS[path]
        is_set = not SAMPLE.splitlines()[line - 1].startswith("#")
        assert is_set <= (value_of(path, literal) != DEFAULTS[path])


def test_each_key_of_the_sample_is_explained_above_it() -> None:
    lines = ["", *SAMPLE.splitlines()]
    for _, _, number in KEYS.values():
        first = number
        while re.match(r"#?\w+ = ", lines[first]):
            first -= 1
        assert lines[first].startswith("# "), lines[number]


# What is read


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    service = load(tmp_path, {"checkpoints.folder": '"checkpoints"'})
    assert flat(service) == DEFAULTS | {"checkpoints.folder": str(tmp_path / "checkpoints")}


def test_the_models_settings_stand_at_the_top_and_in_their_sections(tmp_path: Path) -> None:
    given = {"seed": "7", "policy": '"pareto:3"', "memory.budget_bytes": str(1 << 20), "windows.close_after": '"1d"'}
    expected = Settings(
        seed=7, policy="pareto:3", memory=Memory(budget_bytes=1 << 20), windows=Windows(close_after="1d")
    )
    assert load(tmp_path, given).settings == expected


@pytest.mark.parametrize(
    ("path", "written", "value"),
    [
        ("memory.budget_bytes", '"256MiB"', 256 << 20),
        ("memory.budget_bytes", "268435456", 256 << 20),
        ("kafka.max_record_bytes", '"64 kB"', 64_000),
        ("windows.allowed_lateness_s", '"1.5h"', 5400.0),
        ("windows.allowed_lateness_s", "90", 90.0),
        ("kafka.session_timeout_s", '"30"', 30.0),
        ("checkpoints.every_s", "2.5", 2.5),
        ("schema.max_ahead_s", '"2d"', 172_800.0),
    ],
)
def test_sizes_and_durations_are_numbers_or_text_with_a_unit(
    tmp_path: Path, path: str, written: str, value: float
) -> None:
    found = flat(load(tmp_path, {path: written}))[path]
    assert (found, type(found)) == (value, type(value))


def test_relative_paths_start_from_the_files_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    security = {"kafka.security.protocol": '"SSL"', "kafka.security.ca_file": '"ca.pem"'}
    service = load(folder, security | {"checkpoints.folder": '"a/model"'})
    assert service.checkpoints.folder == str(folder / "a" / "model")
    assert service.kafka.security.ca_file == str(folder / "ca.pem")
    absolute = load(folder, {"checkpoints.folder": f"'{folder}/b'"})
    assert absolute.checkpoints.folder == str(folder / "b")


def test_a_secret_may_come_from_the_environment_or_a_file(folder: Path) -> None:
    inside = load(folder, SASL).kafka.security
    from_environment = {"kafka.security.password": '{ env = "P" }', "kafka.security.username": '{ env = "U" }'}
    assert load(folder, SASL | from_environment, {"P": "mellon", "U": "scall"}).kafka.security == inside
    (folder / "password").write_text("mellon\r\n")
    assert load(folder, SASL | {"kafka.security.password": '{ file = "password" }'}).kafka.security == inside
    absolute = f"{{ file = '{folder / 'password'}' }}"
    assert load(folder, SASL | {"kafka.security.password": absolute}).kafka.security == inside


def test_a_file_with_a_byte_order_mark_and_carriage_returns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (lines_of({}) + "seed = -1\n").replace("\n", "\r\n").encode())
    assert [mistake.split(":")[1] for mistake in find_mistakes(path, {})] == ["5"]


# What a model is


def test_the_identity_of_a_model_is_its_settings_topics_and_schema(tmp_path: Path) -> None:
    identity = load(tmp_path, {}).identity()
    assert json.loads(json.dumps(identity)) == identity
    changes = {"seed": "2", "model.history": "3", "kafka.topics": '["a", "b"]', "schema.user": '"who"'}
    for path, value in changes.items():
        assert load(tmp_path, {path: value}).identity() != identity, path


def test_who_reads_where_how_often_and_how_safely_is_no_part_of_the_identity(tmp_path: Path) -> None:
    changes = SASL | {
        "kafka.bootstrap_servers": '["other:9092"]',
        "kafka.group": '"other"',
        "kafka.client": '"librdkafka"',
        "kafka.on_gap": '"earliest"',
        "kafka.session_timeout_s": "60",
        "checkpoints.folder": '"other"',
        "checkpoints.every_s": "60",
        "dead_letters.topic": '"other"',
    }
    assert load(tmp_path, changes).identity() == load(tmp_path, {}).identity()


# Mistakes


def test_every_mistake_is_told_in_the_order_of_lines(tmp_path: Path) -> None:
    text = """
seed = -1

[memory]
budget = "1MiB"
[kafka]  # there is no group
topics = [
    "clicks",
    3,
]
bootstrap_servers = []
security = { protocol = "TLS" }

[[checkpoints]]
"""
    assert mistakes_of(tmp_path, text) == [
        "2: seed = -1 is out of range: give a value from 0 to 9.22337203685478e+18",
        "5: memory.budget is unknown: did you mean memory.budget_bytes?",
        "6: kafka.group is missing: give text in quotes",
        "7: kafka.topics has a whole number in it: give a list of texts in quotes",
        "11: kafka.bootstrap_servers is empty: give at least one",
        "12: kafka.security.protocol is unknown: give one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
        "14: checkpoints is a list: give a table, [checkpoints]",
        "14: checkpoints.folder is missing: give text in quotes",
    ]


def test_the_first_mistake_is_raised_with_the_number_of_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, lines_of({"seed": "-1", "colour": "3", "kafka.group": '""'}))
    first, *others = find_mistakes(path, {})
    with pytest.raises(UsageError) as error:
        load_service(path, {})
    assert str(error.value) == f"{first} (and {len(others)} more: scall validate {path})"
    only = write(tmp_path, lines_of({"seed": "-1"}))
    with pytest.raises(UsageError) as error:
        load_service(only, {})
    assert [str(error.value)] == find_mistakes(only, {})


def test_in_an_empty_file_all_that_is_required_is_missing(tmp_path: Path) -> None:
    told = mistakes_of(tmp_path, "")
    assert [line.split()[0] for line in told] == list(MINIMAL)


@pytest.mark.parametrize("text", ["seed = 1\nseed 2\n", "a = 1\na = 2\n", "[kafka\n", f"seed = {'9' * 5000}"])
def test_what_is_no_toml_is_told_with_the_place(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    (told,) = find_mistakes(path, {})
    assert told.startswith(f"{path} is no TOML: ")
    assert re.search(r"\(at line \d, column \d+\)$", told) or "digits" in told
    with pytest.raises(UsageError, match="is no TOML"):
        load_service(path, {})


def test_a_file_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as error:
            find_mistakes(path, {})
        assert str(error.value) == f"{path} cannot be read: {reason}; check the path"
    (tmp_path / "latin.toml").write_bytes(b'policy = "\xe9"')
    assert find_mistakes(tmp_path / "latin.toml", {}) == [f"{tmp_path}/latin.toml is not UTF-8 text: save it as that"]


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("polciy", "did you mean policy?"),
        ("kafka.topic", "did you mean kafka.topics?"),
        ("kafka.bootstrap", "did you mean kafka.bootstrap_servers?"),
        ("kafka.drain", "did you mean kafka.drain_timeout_s?"),
        ("kafka.securty.protocol", "did you mean kafka.security?"),
        ("kafka.security.pasword", "did you mean kafka.security.password?"),
        ("budget", "did you mean memory.budget_bytes?"),
        ("kafka.keep", "did you mean checkpoints.keep?"),
        ("settings.seed", "the top of the file takes checkpoints, dead_letters, "),
        ("memory.x", "[memory] takes budget_bytes, max_entities, seen_share, words_per_entity"),
        ('"kafka.group "', "did you mean kafka.group?"),
        ('"a\\nb"', "the top of the file takes checkpoints, dead_letters, "),
    ],
)
def test_an_unknown_key_is_told_with_the_likeliest_known_one(tmp_path: Path, path: str, remedy: str) -> None:
    (told,) = told_of(tmp_path, {path: "1"})
    assert f" is unknown: {remedy}" in told


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("seed", '"7"', "is text: give a whole number"),
        ("seed", "7.0", "is a number with a point: give a whole number"),
        ("seed", "9" * 30, "has too many digits: give a whole number"),
        ("model.rate_item", "9" * 400, "has too many digits: give a number"),
        ("model.prior", "1", "is a whole number: give true or false"),
        ("model.rate_item", "true", "is true or false: give a number"),
        ("policy", "[]", "is a list: give text in quotes"),
        ("seed.x", "1", "is a table: give a whole number"),
        ("schema.oldest", "1990-01-01", "is a date or a time: give text in quotes"),
        ("kafka.client", "3", "is a whole number: give one of kafka-python, librdkafka"),
        ("kafka.topics", '"clicks"', "is text: give a list of texts in quotes"),
        ("kafka.session_timeout_s", "[]", 'is a list: give a duration such as "30min"'),
        ("kafka.session_timeout_s", '"1 week"', "'1 week' is not a duration: write a number with s, min, h or d"),
        ("memory.budget_bytes", "8.5", 'is a number with a point: give a size such as "8MiB"'),
        (
            "memory.budget_bytes",
            '"8 bananas"',
            "'8 bananas' is not a size: write bytes as a number with KiB, MiB or GiB",
        ),
        ("kafka.security", "1", "is a whole number: give a table, [kafka.security]"),
        ("kafka.security.check_hostname", '{ env = "X" }', "is a table: give true or false"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_the_right_one(tmp_path: Path, path: str, value: str, told: str) -> None:
    (line,) = told_of(tmp_path, {path: value})
    assert line.startswith(f"{path.removesuffix('.x')} {told}")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"policy": '"best"'}, "policy 'best': no such policy; write one of scall, "),
        ({"policy": '"powerlaw:31"'}, "policy 'powerlaw:31': '31' is no shape of powerlaw; write a number from 0.1 to"),
        ({"windows.close_after": '"soon"'}, "windows.close_after: window 'soon' is not understood: write one of"),
        ({"model.loss": '"hinge"'}, "model.loss = 'hinge' is unknown: give one of softmax, logistic, bpr"),
        ({"kafka.client": '"java"'}, "kafka.client = 'java' is unknown: give one of kafka-python, librdkafka"),
        ({"schema.format": '"avro"'}, "schema.format = 'avro' is unknown: give one of json"),
        ({"kafka.topics": "[]"}, "kafka.topics is empty: give at least one"),
        ({"kafka.topics": '["a", "b", "a"]'}, "kafka.topics has 'a' 2 times: give each once"),
        ({"kafka.topics": '["a b"]'}, "kafka.topics has 'a b', which names no topic: give 1 to 249 letters, digits"),
        ({"kafka.topics": '[".."]'}, "kafka.topics has '..', which names no topic"),
        ({"kafka.bootstrap_servers": '["localhost"]'}, "has 'localhost', which is no address: write each as HOST:PORT"),
        ({"kafka.bootstrap_servers": '["a:1,b:2"]'}, "has 'a:1,b:2', which is no address"),
        ({"kafka.bootstrap_servers": '["a:65536"]'}, "has 'a:65536', which is no address"),
        ({"kafka.bootstrap_servers": '["SSL://a:1"]'}, "has 'SSL://a:1', which is no address"),
        ({"kafka.group": '" "'}, "kafka.group ' ' is no name"),
        (
            {"kafka.group": '"my group"'},
            "kafka.group 'my group' cannot name the dead-letter topic, 'my group.dead-letters'",
        ),
        ({"kafka.group": f'"{"g" * 237}"'}, "in all, or dead_letters.topic"),
        ({"dead_letters.topic": '""'}, "dead_letters.topic '' names no topic"),
        ({"dead_letters.topic": '"clicks"'}, "dead_letters.topic 'clicks' is one of kafka.topics"),
        ({"kafka.topics": '["scall.dead-letters"]'}, "dead_letters.topic 'scall.dead-letters' is one of kafka.topics"),
        (
            {"kafka.drain_timeout_s": '"45s"'},
            "kafka.drain_timeout_s = 45 is too long: give less than kafka.session_time",
        ),
        ({"schema.user": '""'}, "schema.user '' is no path: write keys with dots between"),
        ({"schema.item": '"a..b"'}, "schema.item 'a..b' is no path"),
        ({"schema.user": '"@timestamp"'}, "schema.user '@timestamp' is unknown: give @key or a path into the value"),
        ({"schema.timestamp": '"@key"'}, "schema.timestamp '@key' is unknown: give @timestamp or a path"),
        ({"schema.weight": '"@key"'}, "schema.weight '@key' is unknown: give a path into the value"),
        ({"schema.user": '"item"'}, "schema.user 'item' overlaps schema.item: give each a value of its own"),
        ({"schema.user": '"item.user"'}, "schema.user 'item.user' overlaps schema.item"),
        ({"schema.oldest": '"1990-02-30"'}, "schema.oldest '1990-02-30' is no day: write it as 1990-01-01"),
        ({"schema.oldest": '"19900101"'}, "schema.oldest '19900101' is no day"),
        ({"checkpoints.folder": '""'}, "checkpoints.folder '' is no path: name a folder"),
        ({"checkpoints.folder": r'"a\u0000b"'}, "is no path: name a folder"),
        ({"checkpoints.folder": '"service.toml"'}, "service.toml' cannot be used: Not a directory; name a folder"),
    ],
)
def test_what_a_setting_may_not_be_is_told_with_the_remedy(tmp_path: Path, values: dict[str, str], told: str) -> None:
    (line,) = told_of(tmp_path, values)
    assert told in line


def test_a_budget_too_small_is_told_with_the_smallest_that_works(tmp_path: Path) -> None:
    for more in ({}, {"exclude_seen": "true"}, {"memory.max_entities": "5000"}):
        (told,) = told_of(tmp_path, more | {"memory.budget_bytes": "1000"})
        named = re.fullmatch(r"memory.budget_bytes: budget of 1,000 bytes is too small.*: give at least (\d+KiB)", told)
        assert named
        assert told_of(tmp_path, more | {"memory.budget_bytes": f'"{named[1]}"'}) == []


def test_nothing_is_said_of_a_setting_beside_one_that_is_wrong_itself(tmp_path: Path) -> None:
    for values in (
        {"sizes.user_max": '"9"', "sizes.user_min": "99"},
        {"sizes.item_max": "-1"},
        {"model.negatives_recent": "[]", "model.negatives_uniform": "0"},
        {"memory.words_per_entity": "1", "memory.budget_bytes": "1000"},
        {"kafka.session_timeout_s": '"5"'},
        {"kafka.group": "3", "kafka.topics": '[".dead-letters"]'},
        SASL | {"kafka.security.protocol": "3"},
    ):
        told = told_of(tmp_path, values)
        wrong = next(path for path in values if path not in SASL or path.endswith("protocol"))
        assert [line.split()[0] for line in told] == [wrong]


NUMBERS = {path: value for path, value in DEFAULTS.items() if type(value) in (int, float)} | {"memory.max_entities": 64}


@pytest.mark.parametrize("path", NUMBERS)
def test_every_number_has_bounds(tmp_path: Path, path: str) -> None:
    is_whole = isinstance(NUMBERS[path], int) and not path.endswith("_s")
    for value in ("-1", str(-(2**62))) if is_whole else ("-1.0", "nan", "-inf"):
        told = told_of(tmp_path, {path: value})
        assert any(line.startswith((f"{path} = ", f"{path}: budget of")) for line in told)
    if path != "memory.budget_bytes":
        outside = str(2**63 - 1) if is_whole else "inf"
        assert (told_of(tmp_path, {path: outside}) == []) == (path == "seed")


# Security


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mechanism": None}, "mechanism is missing: a protocol with SASL needs mechanism, username and password"),
        ({"username": None}, "username is missing: a protocol with SASL"),
        ({"password": None}, "password is missing: a protocol with SASL"),
        ({"password": '""'}, "password is empty: give it, or leave it out"),
        ({"mechanism": '"GSSAPI"'}, "mechanism is unknown: give one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ({"protocol": '"ssl"'}, "protocol is unknown: give one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ({"ca_file": '"none.pem"'}, "ca_file cannot be read: No such file or directory; a relative path starts from"),
        ({"ca_file": '"."'}, "ca_file cannot be read: Is a directory"),
        ({"ca_file": '" "'}, "ca_file is no path: name a file, or leave it out"),
        ({"certificate_file": '"client.pem"'}, "key_file is missing: certificate_file needs it"),
        ({"key_file": '"client.key"'}, "certificate_file is missing: key_file needs it"),
        ({"key_password": '"mellon"'}, "key_file is missing: key_password needs it"),
        ({"password": '{ env = "NONE" }'}, "password: the environment variable that it names is not set; set it"),
        ({"password": '{ file = "none" }'}, "password: the file that it names cannot be read: No such file"),
        ({"password": '{ file = "bytes" }'}, "password: the file that it names is not UTF-8 text"),
        ({"password": '{ file = "a\\u0000" }'}, "password: the file that it names is not UTF-8 text"),
        ({"password": '{ vault = "x" }'}, 'password is a table: give text in quotes, { env = "NAME" } or { file'),
        ({"password": '{ env = "A", file = "b" }'}, "password is a table: give text in quotes"),
        ({"password": "{ env = 3 }"}, "password is a table: give text in quotes"),
    ],
)
def test_what_is_wrong_with_security_is_told_with_the_remedy(
    folder: Path, changes: dict[str, str | None], told: str
) -> None:
    (folder / "bytes").write_bytes(b"\xff")
    (line,) = told_of(folder, SASL | {f"kafka.security.{name}": value for name, value in changes.items()})
    assert line.startswith(f"kafka.security.{told}")


@pytest.mark.parametrize(("protocol", "layer"), [("PLAINTEXT", "SASL"), ("SSL", "SASL"), ("SASL_PLAINTEXT", "SSL")])
def test_what_a_protocol_does_not_use_is_told(folder: Path, protocol: str, layer: str) -> None:
    files = {"kafka.security.ca_file": '"ca.pem"'} if layer == "SSL" else {}
    told = told_of(folder, SASL | files | {"kafka.security.protocol": f'"{protocol}"'})
    unused = ["ca_file"] if layer == "SSL" else ["mechanism", "username", "password"]
    remedy = f"is not used: give a kafka.security.protocol with {layer}, or leave it out"
    assert told == [f"kafka.security.{name} {remedy}" for name in unused]


SECURITY = [path for path in DEFAULTS if path.startswith("kafka.security.") or path == "http.token"]
hidden = st.sampled_from(
    [
        '"hunter2"',
        '["hunter2"]',
        '{ env = "hunter2" }',
        '{ file = "hunter2" }',
        '{ hunter = "hunter2" }',
        '"hunter2\\u0000"',
    ]
)


@quick
@given(values=st.dictionaries(st.sampled_from(SECURITY), hidden, min_size=1), colour=st.booleans())
def test_no_secret_is_ever_shown(folder: Path, values: dict[str, str], colour: bool) -> None:
    path = write(folder, lines_of(values | ({"colour": "1"} if colour else {})))
    told = find_mistakes(path, {"OTHER": "hunter2"})
    assert told
    with pytest.raises(UsageError) as error:
        load_service(path, {})
    assert "hunter2" not in "\n".join([*told, str(error.value)])


def test_a_service_that_is_printed_shows_no_secret(folder: Path) -> None:
    service = load_service(write(folder, FULL), ENVIRONMENT)
    for secret in ("mellon", "sesame", "client.key", "SCRAM", ENVIRONMENT["SCALL_TOKEN"]):
        assert secret not in f"{service!r} {service.kafka.security!r} {service.http!r} {service.identity()}"


# HTTP


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("port", "65536", "port = 65536 is out of range: give a value from 0 to 65535"),
        ("port", "true", "port is true or false: give a whole number"),
        ("host", '"127.0.0.1:80"', "host '127.0.0.1:80' is no address: give one such as 127.0.0.1, ::1, 0.0.0.0 or a"),
        ("host", '""', "host '' is no address"),
        ("token", '"hunter2"', "token cannot be used: give 16 to 512 letters, digits and any of -._~+/"),
        ("token", '{ env = "NONE" }', "token: the environment variable that it names is not set; set it"),
        ("token", "1", 'token is a whole number: give text in quotes, { env = "NAME" } or { file = "PATH" }'),
        ("max_lag", "-1", "max_lag = -1 is out of range"),
        ("live_within_s", '"0s"', "live_within_s = 0 is out of range: give a value from 1 to 86400"),
        ("max_requests_per_second", "0", "max_requests_per_second = 0 is out of range"),
        ("max_connections", "0", "max_connections = 0 is out of range"),
    ],
)
def test_what_is_wrong_with_http_is_told_with_the_remedy(folder: Path, name: str, value: str, told: str) -> None:
    (line,) = told_of(folder, {f"http.{name}": value})
    assert line.startswith(f"http.{told}")


def test_a_token_may_come_from_the_environment_or_a_file(folder: Path) -> None:
    (folder / "token").write_text("0123456789abcdef\n")
    given = load(folder, {"http.token": '{ env = "T" }'}, {"T": "fedcba9876543210"}).http.token
    assert (given, load(folder, {"http.token": '{ file = "token" }'}).http.token) == (
        "fedcba9876543210", "0123456789abcdef",
    )  # fmt: skip


def test_http_is_no_part_of_what_a_model_depends_on(folder: Path) -> None:
    with_http = load(folder, {"http.port": "8080", "http.host": '"::1"', "http.max_lag": "5"})
    assert with_http.http.port == 8080
    assert with_http.identity() == load(folder, {}).identity()


# Whatever becomes of the sample


LINES = FULL.splitlines()
VALUES = ["3", "-1", "1e300", "nan", "true", '"text"', '""', "[]", '["text"]', "[1]", "{}", "1990-01-01", '"@key"']
keys = st.sampled_from(list(KEYS))


def without_line(number: int, *others: str) -> str:
    return "\n".join([*LINES[: number - 1], *others, *LINES[number:]])


@quick
@given(path=keys)
def test_a_key_deleted_from_the_sample_is_told_or_has_its_default(folder: Path, path: str) -> None:
    told = mistakes_of(folder, without_line(KEYS[path][2]), ENVIRONMENT)
    if told:
        assert any(path in line for line in told)
    else:
        values = flat(load_service(folder / "service.toml", ENVIRONMENT))
        assert values[path] == DEFAULTS[path]


@quick
@given(path=keys, value=st.sampled_from(VALUES))
def test_any_other_value_in_the_sample_is_told_at_its_line_or_taken(folder: Path, path: str, value: str) -> None:
    number = KEYS[path][2]
    told = mistakes_of(folder, without_line(number, f"{path.rpartition('.')[2]} = {value}"), ENVIRONMENT)
    if told:
        assert any(line.startswith(f"{number}: {path}") for line in told)
    else:
        assert isinstance(load_service(folder / "service.toml", ENVIRONMENT), Service)
        assert value != "nan"


@quick
@given(path=keys, at=st.integers(0, 40), letter=st.sampled_from("aexyz_-9"), deletes=st.booleans())
def test_a_misspelt_key_in_the_sample_is_told_at_its_line(
    folder: Path, path: str, at: int, letter: str, deletes: bool
) -> None:
    section, _, name = path.rpartition(".")
    at %= len(name)
    misspelt = name[:at] + ("" if deletes else letter) + name[at + deletes :]
    assume(misspelt and misspelt != name)
    number = KEYS[path][2]
    told = mistakes_of(folder, without_line(number, f"{misspelt} = {KEYS[path][0]}"), ENVIRONMENT)
    (unknown,) = [line for line in told if " is unknown: " in line]
    place = f"{section}.{misspelt}".removeprefix(".")
    assert unknown.startswith(f"{number}: {place} is unknown: did you mean {section}")
