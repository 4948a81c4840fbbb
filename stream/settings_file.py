"""The service's settings file, TOML: every mistake in it is told at once, each by its line and the setting's path.

Keys stand as in the Structs: the model's own at the top and in its sections, the service's in theirs. Sizes
(``*_bytes``) and durations (``*_s``) are numbers, or text with a unit. Any text of ``kafka.security``, and
``http.token``, may be ``{ env = "NAME" }`` or ``{ file = "PATH" }`` instead. Relative paths start from the file's own
folder.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

import msgspec

from stream.config import Mistake, Settings, mistakes_in, parse_bytes, parse_seconds
from stream.core.windows import parse_window
from stream.errors import InputError, ScallError, UsageError
from stream.service_settings import Service, mistakes_in_service

_SECURITY: Final = "kafka.security."
_TOKEN: Final = "http.token"
_FILES: Final = tuple(f"{_SECURITY}{name}_file" for name in ("ca", "certificate", "key"))
_PATHS: Final = (*_FILES, "checkpoints.folder")
_EXPECTED: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}
_GIVEN: Final = _EXPECTED | {float: "a number with a point", str: "text", list: "a list", dict: "a table"}
_RELATIVE: Final = "a relative path starts from the settings file's folder"
_BESIDE_BUDGET: Final = ("memory.words_per_entity", "memory.max_entities", "memory.seen_share", "exclude_seen")
"""What the smallest budget that works depends on."""


TryPolicy = Callable[[Settings], object]
"""Opens the policy that settings name, or raises why it cannot be."""


def _no_policy(settings: Settings) -> None:
    """Refuse no policy: for commands that open none."""


def load_service(path: Path, environment: Mapping[str, str], try_policy: TryPolicy = _no_policy) -> Service:
    """Return the settings in a file; secrets may come from ``environment``.

    Raises:
        InputError: the file cannot be read.
        UsageError: it has a mistake; tells the first, and how many more there are.

    """
    service, mistakes = _read(path, environment, try_policy)
    if service is None:
        more = f" (and {len(mistakes) - 1} more: scall validate {path})" if len(mistakes) > 1 else ""
        raise UsageError(f"{mistakes[0]}{more}")
    return service


def find_mistakes(path: Path, environment: Mapping[str, str], try_policy: TryPolicy = _no_policy) -> list[str]:
    """Return every mistake in a settings file, in the order of its lines, each as one line; none where all is well.

    Values of ``kafka.security`` and ``http.token`` are never in it.

    Raises:
        InputError: the file cannot be read.

    """
    return _read(path, environment, try_policy)[1]


def _read(path: Path, environment: Mapping[str, str], try_policy: TryPolicy) -> tuple[Service | None, list[str]]:
    """Return the settings, where they are without mistakes, and the mistakes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
    try:
        text = content.decode("utf-8-sig")
        tables = tomllib.loads(text)
    except UnicodeDecodeError:
        return None, [f"{path} is not UTF-8 text: save it as that"]
    except ValueError as error:
        return None, [f"{path} is no TOML: {error}"]
    reading = _Reading(path.parent, environment, try_policy)
    service = reading.read(tables)
    if not reading.mistakes:
        return service, []
    lines = _lines_of(text)
    placed = sorted(((_line_of(mistake.path, lines), mistake.text) for mistake in reading.mistakes), key=lambda p: p[0])
    return None, [f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in placed]


class _Field(NamedTuple):
    """What a key of the file may hold."""

    kind: Any
    """int, float, bool, str, tuple[str, ...], or a Literal."""
    required: bool


def _fields_of(struct: type[msgspec.Struct], section: str = "") -> Iterator[tuple[str, _Field]]:
    for field in msgspec.structs.fields(struct):
        options = [option for option in get_args(field.type) if option is not NoneType]
        kind = options[0] if NoneType in get_args(field.type) else field.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            # The model's settings have no section of their own.
            yield from _fields_of(kind, section if kind is Settings else f"{section}{field.name}.")
        else:
            yield f"{section}{field.name}", _Field(kind, field.required)


_FIELDS: Final = dict(_fields_of(Service))
"""Every key, by its dotted path."""
_SECTIONS: Final = {path[: dot.start()] for path in _FIELDS for dot in re.finditer(r"\.", path)}


class _Reading:
    """Reads one file's tables; collects the mistakes."""

    def __init__(self, folder: Path, environment: Mapping[str, str], try_policy: TryPolicy) -> None:
        self.mistakes: list[Mistake] = []
        self._folder = folder
        self._environment = environment
        self._try_policy = try_policy

    def read(self, tables: dict[str, Any]) -> Service:
        """Return the settings; where there are mistakes, something else may stand for what is wrong."""
        given, values = dict(self._flatten(tables)), {}
        for path, field in _FIELDS.items():
            if field.required:
                values[path] = field.kind()
            if path in given:
                with self._noting(path):
                    values[path] = self._value(path, field.kind, given[path])
            elif field.required:
                self._note(path, f"{path} is missing: give {_expected(path, field.kind)}")
        service = _service_of(values)
        unread = self._wrong()
        for mistake in chain(mistakes_in(service.settings), mistakes_in_service(service)):
            if mistake.path not in unread and not self._wrong() & set(mistake.beside):
                self.mistakes.append(mistake)
        self._try_model(service.settings)
        self._try_files(service)
        return service

    def _note(self, path: str, text: str) -> None:
        self.mistakes.append(Mistake(path, text))

    @contextmanager
    def _noting(self, path: str) -> Iterator[None]:
        try:
            yield
        except ScallError as error:
            # There are no options here.
            text = str(error).replace("--budget ", "").removesuffix(", for example --window 1d")
            self._note(path, text if text.startswith(path) else f"{path}: {text}")

    def _wrong(self) -> set[str]:
        return {mistake.path for mistake in self.mistakes}

    def _flatten(self, tables: dict[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in tables.items():
            path = section + _shown(key)
            if path in _FIELDS:
                yield path, value
            elif path not in _SECTIONS:
                self._note(path, f"{path} is unknown: {_suggestion(path)}")
            elif isinstance(value, dict):
                yield from self._flatten(value, f"{path}.")
            else:
                self._note(path, f"{path} is {_given(value)}: give a table, [{path}]")

    def _value(self, path: str, kind: Any, given: Any) -> Any:
        """Return what a key is set to; raise what is wrong with it."""
        is_secret, choices = _is_secret(path), get_args(kind) if get_origin(kind) is Literal else ()
        value = self._fetch(path, given) if is_secret and isinstance(given, dict) and kind is not bool else given
        if isinstance(value, str) and path.endswith("_bytes"):
            return parse_bytes(value, path)
        if isinstance(value, str) and path.endswith("_s"):
            return parse_seconds(path, value)
        if isinstance(value, int) and abs(value) >= 2**63:
            raise UsageError(f"{path} has too many digits: give {_expected(path, kind)}")
        try:
            value = msgspec.convert(value, str if choices else kind)
        except msgspec.ValidationError:
            raise UsageError(f"{path} {_what_is_wrong(value)}: give {_expected(path, kind)}") from None
        if choices and value not in choices:
            shown = "" if is_secret else f" = {value!r}"
            raise UsageError(f"{path}{shown} is unknown: give {_expected(path, kind)}")
        return str(self._folder / value) if path in _PATHS and value.strip() else value

    def _fetch(self, path: str, source: dict[str, Any]) -> str:
        """Return a value that stands elsewhere; where it cannot be had, what is written here is not shown."""
        try:
            match source:
                case {"env": str(name), **others} if not others:
                    return self._environment[name]
                case {"file": str(name), **others} if not others:
                    return (self._folder / name).read_text("utf-8").rstrip("\r\n")
        except KeyError:
            raise UsageError(f"{path}: the environment variable that it names is not set; set it") from None
        except OSError as error:
            text = f"{path}: the file that it names cannot be read: {error.strerror}; {_RELATIVE}"
            raise UsageError(text) from None
        except ValueError:
            raise UsageError(f"{path}: the file that it names is not UTF-8 text; name another") from None
        raise UsageError(f"{path} is a table: give {_expected(path, str)}")

    def _try_model(self, settings: Settings) -> None:
        """Note what the model would refuse when it is made."""
        attempts: list[tuple[str, tuple[str, ...], Callable[[], object]]] = [
            ("policy", ("users_share", "seed"), lambda: self._try_policy(settings)),
            ("windows.close_after", (), lambda: parse_window(settings.windows.close_after)),
            ("memory.budget_bytes", _BESIDE_BUDGET, settings.layout),
        ]
        for path, beside, attempt in attempts:
            if not self._wrong() & {path, *beside}:
                with self._noting(path):
                    attempt()

    def _try_files(self, service: Service) -> None:
        """Note files and folders that cannot be used as they are to be."""
        for path in _FILES:
            name = getattr(service.kafka.security, path.removeprefix(_SECURITY))
            if name is not None and path not in self._wrong():
                try:
                    with Path(name).open("rb"):
                        pass
                except OSError as error:
                    self._note(path, f"{path} cannot be read: {error.strerror}; {_RELATIVE}")
        path, folder = "checkpoints.folder", Path(service.checkpoints.folder)
        if path not in self._wrong():
            try:
                next(folder.iterdir(), None)
            except FileNotFoundError:
                pass  # It is made when it is needed.
            except OSError as error:
                self._note(path, f"{path} = {str(folder)!r} cannot be used: {error.strerror}; name a folder")


def _given(value: object) -> str:
    return _GIVEN.get(type(value), "a date or a time")


def _what_is_wrong(value: object) -> str:
    if isinstance(value, list):
        strangers = [_given(inner) for inner in value if not isinstance(inner, str)]
        return f"has {strangers[0]} in it" if strangers else "is a list"
    return f"is {_given(value)}"


def _expected(path: str, kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list of texts in quotes"
    if path.endswith("_bytes"):
        return 'a size such as "8MiB"'
    if path.endswith("_s"):
        return 'a duration such as "30min"'
    if _is_secret(path) and kind is str:
        return 'text in quotes, { env = "NAME" } or { file = "PATH" }'
    return _EXPECTED[kind]


def _is_secret(path: str) -> bool:
    return path.startswith(_SECURITY) or path == _TOKEN


def _shown(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else repr(key)


def _suggestion(path: str) -> str:
    """Say which known path an unknown one may be meant for: by its last name in its section, or else in another."""
    section, _, name = path.rpartition(".")
    known = sorted(_FIELDS.keys() | _SECTIONS)
    here = {_last(other): other for other in known if other.rpartition(".")[0] == section}
    anywhere = {_last(other): other for other in known} | here
    for candidates in (here, anywhere):
        close = get_close_matches(name, candidates, 1) or [n for n in candidates if len(name) > 3 and name in n]
        if close:
            return f"did you mean {candidates[close[0]]}?"
    return f"{f'[{section}]' if section else 'the top of the file'} takes {', '.join(here)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _service_of(values: Mapping[str, Any]) -> Service:
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        table = nested
        for section in ["settings", *sections] if path.split(".")[0] in Settings.__struct_fields__ else sections:
            table = table.setdefault(section, {})
        table[name] = value
    return msgspec.convert(nested, Service)


def _lines_of(text: str) -> dict[str, int]:
    """Return where each path is first set: a statement of a file is a file by itself, so that its end can be found."""
    found: dict[str, int] = {}
    lines, begin, section = text.replace("\r\n", "\n").split("\n"), 0, ""
    for end in range(1, len(lines) + 1):
        statement = "\n".join(lines[begin:end])
        try:
            paths = list(_paths_in(tomllib.loads(statement)))
        except tomllib.TOMLDecodeError:
            continue  # It goes on in the next line.
        is_header = statement.lstrip().startswith("[")
        for path in paths:
            found.setdefault(path if is_header else section + path, begin + 1)
        section = f"{paths[-1]}." if is_header else section
        begin = end
    return found


def _paths_in(tables: dict[str, Any]) -> Iterator[str]:
    for key, value in tables.items():
        yield _shown(key)
        if isinstance(value, dict):
            yield from (f"{_shown(key)}.{path}" for path in _paths_in(value))


def _line_of(path: str, lines: Mapping[str, int]) -> int:
    """Return the line where a path is set, or else its section; 0 where neither is."""
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path, 0)
