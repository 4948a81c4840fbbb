"""``scall deadletters``: what was set aside, seen and written again."""

import argparse
import json
import os
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.adapters.kafka.administration import missing_topics
from stream.adapters.kafka.client import BrokerError
from stream.adapters.kafka.letters import Letter, TopicRecord, read_letter, read_note
from stream.adapters.kafka.refeed import Addressed, Refed, TransactionalWriter, refeed
from stream.adapters.kafka.topic_reader import TopicLog, TopicReader
from stream.adapters.units import NOTHING, bytes_text
from stream.errors import InputError, UsageError
from stream.service_settings import Kafka
from stream.settings_file import load_service

_ROWS: Final = 50
_SHOWN_CHARS: Final = 80
_PIPE_WIDTH: Final = 200
"""Of a table that no terminal shows."""
_DUMP_BYTES: Final = 16
_PLACE: Final = re.compile("([0-9]+):([0-9]+)")
_ORIGIN: Final = re.compile("[^@]+-[0-9]+@[0-9]+")


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "deadletters",
        help="list, show and re-feed records that could not be used",
        description="Records that could not be used stand in the group's dead-letter topic, as they were.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_show(actions)
    _add_refeed(actions)


def _add_list(actions: Any) -> None:
    parser = _action(actions, "list", list_letters, "the newest dead letters, and how many there are by reason")
    parser.add_argument("--reason", metavar="R", help="only those with this reason")
    parser.add_argument("--limit", type=int, metavar="N", help=f"the newest N only ({_ROWS}; with --json all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, oldest first, without sums")


def _add_show(actions: Any) -> None:
    parser = _action(actions, "show", show_letter, "one dead letter with its headers, key and value")
    parser.add_argument("letter", metavar="PLACE", help="its place, as in 0:17, or its origin, as in clicks-0@12")


def _add_refeed(actions: Any) -> None:
    parser = _action(
        actions,
        "refeed",
        refeed_letters,
        "write the original records again",
        "Writes key, value and timestamp of dead letters again to the topic and partition they came from, where every "
        "reader of that topic meets them. A record is written again once: each leaves a note in the dead-letter topic, "
        "in one transaction with the record, and what has a note is left out from then on, whatever --reason, --topic "
        "or --all-groups it was chosen by. --again does it once more. Interrupted, it goes on when called again.",
    )
    parser.add_argument("--reason", metavar="R", help="only those with this reason")
    parser.add_argument("--topic", metavar="T", help="write to this topic instead, partitioned by key")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be written")
    parser.add_argument("--again", action="store_true", help="also what was written again before")


def _action(
    actions: Any, name: str, command: Callable[[argparse.Namespace], int], text: str, more: str = ""
) -> argparse.ArgumentParser:
    description = more or f"Shows {text}."
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=description, allow_abbrev=False)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the service's settings, TOML")
    parser.add_argument("--all-groups", action="store_true", help="letters of every group, not only of kafka.group")
    parser.set_defaults(command=command)
    return parser


class _Letters(NamedTuple):
    """A dead-letter topic, open to be read."""

    kafka: Kafka
    topic: str
    log: TopicLog
    all_groups: bool

    def is_ours(self, letter: Letter) -> bool:
        return self.all_groups or letter.group == self.kafka.group


@contextmanager
def _open(options: argparse.Namespace) -> Iterator[_Letters]:
    service = load_service(options.config, os.environ)
    kafka, topic = service.kafka, service.dead_letter_topic
    if missing_topics(kafka, [topic]):
        raise InputError(f"no dead letters yet: there is no topic {topic}, which a service creates when it starts")
    with closing(TopicReader(kafka, topic, committed_only=True)) as log:
        yield _Letters(kafka, topic, log, options.all_groups)


def list_letters(options: argparse.Namespace) -> int:
    """Print dead letters as a table or as JSON lines."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: give at least 1 letter, or leave it out")
    rows: deque[dict[str, Any]] = deque(maxlen=options.limit or (None if options.json else _ROWS))
    sums: Counter[str] = Counter()
    refed: set[str] = set()
    with _open(options) as letters:
        for record in letters.log.read({}):
            if (note := read_note(record)) is not None:
                refed.add(note)
            letter = read_letter(record)
            if letter is not None and letters.is_ours(letter):
                sums[letter.reason] += 1
                if options.reason in (None, letter.reason):
                    rows.append(_row(letter))
    for row in rows:
        row["refed"] = row["origin"] in refed
    if options.json:
        for row in rows:
            print(json.dumps(row))
    else:
        _print_table(rows, sums, with_groups=options.all_groups)
    return 0


def _row(letter: Letter) -> dict[str, Any]:
    value = letter.record.value
    return {
        "place": letter.record.place,
        "reason": letter.reason,
        "detail": letter.detail,
        "origin": letter.origin,
        "time": _time(letter.timestamp_ms),
        "bytes": letter.num_bytes,
        "value": None if value is None else _start(value),
        "group": letter.group,
    }


def _print_table(rows: Sequence[dict[str, Any]], sums: Counter[str], *, with_groups: bool) -> None:
    columns = ["place", "reason", "origin", "time", "bytes", "value", "refed", *(["group"] if with_groups else [])]
    titles = {"bytes": "size", "refed": "re-fed"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(titles.get(name, name), no_wrap=True, overflow="ellipsis")
    for row in rows:
        shown = row | {"bytes": bytes_text(row["bytes"]), "refed": "yes" if row["refed"] else ""}
        table.add_row(*(Text(_printable(NOTHING if shown[name] is None else shown[name])) for name in columns))
    if rows:
        Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
    for reason, count in sums.most_common():
        print(f"{count:>8}  {_printable(reason)}")
    print(_plural(sums.total(), "dead letter") if sums else "no dead letters")


def show_letter(options: argparse.Namespace) -> int:
    """Print everything of one dead letter."""
    with _open(options) as letters:
        record = _find(letters, options.letter)
    print(f"place    {record.place}")
    print(f"written  {_time(record.timestamp_ms) or NOTHING}")
    width = max(len(name) for name, _ in record.headers)
    for name, content in record.headers:
        print(f"{_printable(name):{width}}  {_printable(content.decode('utf-8', 'backslashreplace'))}")
    for name, part in (("key", record.key), ("value", record.value)):
        print(f"{name}, {_plural(len(part), 'byte')}:" if part is not None else f"{name}: none")
        print(*_lines(part or b""), sep="\n", end="\n" if part else "")
    return 0


def _find(letters: _Letters, name: str) -> TopicRecord:
    place = _PLACE.fullmatch(name)
    if place:
        partition, offset = int(place[1]), int(place[2])
        # Nothing of the other partitions.
        records = letters.log.read(letters.log.ends() | {partition: offset})
        record = next((record for record in records if record.partition == partition), None)
        if record is not None and record.offset == offset and read_letter(record):
            return record
        raise InputError(f"{letters.topic} has no dead letter at {name}: see scall deadletters list for those it has")
    if not _ORIGIN.fullmatch(name):
        raise UsageError(f"{name!r} names no dead letter: give its place, as in 0:17, or its origin, as in clicks-0@12")
    for record in letters.log.read({}):
        letter = read_letter(record)
        if letter and letter.origin == name and letters.is_ours(letter):
            return record
    whose = "any group" if letters.all_groups else f"group {letters.kafka.group}"
    raise InputError(f"{letters.topic} has no dead letter of {whose} from {name}: see scall deadletters list")


def refeed_letters(options: argparse.Namespace) -> int:
    """Write records of dead letters again."""
    with _open(options) as letters:

        def is_chosen(letter: Letter) -> bool:
            return letters.is_ours(letter) and options.reason in (None, letter.reason)

        writer = _NoWriter() if options.dry_run else TransactionalWriter(letters.kafka, f"{letters.topic}.refeed")
        with closing(writer):
            try:
                refed = refeed(
                    letters.log, writer, letters.topic, is_chosen=is_chosen, topic=options.topic, again=options.again
                )
            except KeyboardInterrupt:
                raise BrokerError("interrupted: what was written again is noted, the same command goes on") from None
    _tell(refed, dry_run=options.dry_run)
    return 0


class _NoWriter:
    """Writes nothing."""

    def write(self, records: Sequence[Addressed]) -> None: ...
    def close(self) -> None: ...


def _tell(refed: Refed, *, dry_run: bool) -> None:
    for topic, count in sorted(refed.written.items()):
        print(f"{_plural(count, 'record')} {'would be ' if dry_run else ''}written again to {_printable(topic)}")
    if not refed.written:
        print("nothing to write again")
    if refed.num_before:
        print(f"{_plural(refed.num_before, 'letter')} left out: written again before")
    if refed.cut:
        print(f"{_plural(len(refed.cut), 'letter')} left out, as too large to be kept whole: {', '.join(refed.cut)}")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _time(time_ms: int) -> str | None:
    return f"{np.datetime64(time_ms, 'ms')}Z" if time_ms >= 0 else None


def _start(content: bytes) -> str:
    # Four bytes a character at most.
    text = content[: 4 * _SHOWN_CHARS].decode("utf-8", "backslashreplace")
    return text[:_SHOWN_CHARS]


def _printable(text: str) -> str:
    r"""Return a text that does nothing to a terminal but show itself.

    >>> print(_printable("a \x1b[31m b"))
    a \x1b[31m b
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _lines(content: bytes) -> Iterator[str]:
    """Yield the lines of a text, or of a dump of what is none."""
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        lines = ["\0"]
    if all(line.replace("\t", "").isprintable() for line in lines):
        yield from lines
        return
    for begin in range(0, len(content), _DUMP_BYTES):
        part = content[begin : begin + _DUMP_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{begin:08x}  {part.hex(' '):{3 * _DUMP_BYTES}} {text}"
