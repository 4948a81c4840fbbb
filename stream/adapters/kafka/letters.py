"""What a dead letter looks like in a topic: the record as it was, and in its headers why and where it was set aside."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from stream.adapters.columns import MAX_DETAIL_CHARS
from stream.adapters.kafka.client import ProducedRecord, TopicPartition
from stream.core.event import Rejection

REASON: Final = "scall-reason"
DETAIL: Final = "scall-detail"
TOPIC: Final = "scall-topic"
PARTITION: Final = "scall-partition"
OFFSET: Final = "scall-offset"
TIMESTAMP: Final = "scall-timestamp"
"""The original record's own timestamp in milliseconds, -1 where it had none; the letter's is the time of writing."""
GROUP: Final = "scall-group"
VALUE_OMITTED: Final = "scall-value-omitted"
"""Length of a value that the dead-letter topic does not take; the letter has none then."""
KEY_OMITTED: Final = "scall-key-omitted"
REFED: Final = "scall-refed"
"""On a record that is no letter but a note, behind a letter in its partition: the origin that was written again."""
REFED_FROM: Final = "scall-refed-from"
"""On a record that was written again: its letter's place."""


class TopicRecord(NamedTuple):
    """A record as it stands in a topic."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    @property
    def place(self) -> str:
        """Where it stands: ``"0:17"``."""
        return f"{self.partition}:{self.offset}"


class Letter(NamedTuple):
    """A dead letter that stands in a topic."""

    record: TopicRecord
    """The letter itself; its key and value are the original ones."""
    reason: str
    detail: str
    partition: TopicPartition
    """The partition that the original record was read from."""
    offset: int
    timestamp_ms: int
    """The original record's own timestamp; -1 where it had none."""
    group: str
    value_omitted: int | None
    """Length of a value that was too large to be kept."""
    key_omitted: int | None

    @property
    def origin(self) -> str:
        """Where the original record is from: ``"clicks-0@12"``."""
        return f"{self.partition}@{self.offset}"

    @property
    def num_bytes(self) -> int:
        """Length of the original key and value."""
        key, value = self.record.key or b"", self.record.value or b""
        return (self.key_omitted or len(key)) + (self.value_omitted or len(value))


def write_letter(rejection: Rejection, group: str) -> ProducedRecord:
    """Return the dead letter for a rejection, which must have its record.

    >>> from stream.core.event import Origin, Record
    >>> origin = Origin("clicks-0@12", Record("clicks", 0, 1_700_000_000_000, b"u7", b"{"))
    >>> letter = write_letter(Rejection(0, 12, origin, "malformed row", "{"), "scall")
    >>> letter.key, letter.value, letter.headers[0]
    (b'u7', b'{', ('scall-reason', b'malformed row'))
    """
    record = rejection.origin.record
    assert record is not None, f"{rejection.origin.place} comes without its record"
    texts = {
        REASON: rejection.reason,
        DETAIL: rejection.detail[:MAX_DETAIL_CHARS],
        TOPIC: record.topic,
        PARTITION: str(record.partition),
        OFFSET: str(rejection.offset),
        TIMESTAMP: str(record.timestamp_ms),
        GROUP: group,
    }
    # A lone surrogate is a legal character of a str, but not of UTF-8.
    headers = [(name, text.encode("utf-8", "backslashreplace")) for name, text in texts.items()]
    return ProducedRecord(record.key, record.value, headers)


def shortened(letter: ProducedRecord) -> Iterator[ProducedRecord]:
    """Yield the letter without its value, then without its key too; either only where there is one."""
    if letter.value is not None:
        letter = letter._replace(value=None, headers=[*letter.headers, _length(VALUE_OMITTED, letter.value)])
        yield letter
    if letter.key is not None:
        yield letter._replace(key=None, headers=[*letter.headers, _length(KEY_OMITTED, letter.key)])


def read_letter(record: TopicRecord) -> Letter | None:
    """Return the dead letter that a record is; None where it is none, for others may write to the topic too."""
    headers = dict(record.headers)
    try:
        return Letter(
            record,
            reason=_text(headers[REASON]),
            detail=_text(headers[DETAIL]),
            partition=TopicPartition(_text(headers[TOPIC]), int(headers[PARTITION])),
            offset=int(headers[OFFSET]),
            timestamp_ms=int(headers[TIMESTAMP]),
            group=_text(headers[GROUP]),
            value_omitted=int(headers[VALUE_OMITTED]) if VALUE_OMITTED in headers else None,
            key_omitted=int(headers[KEY_OMITTED]) if KEY_OMITTED in headers else None,
        )
    except (KeyError, ValueError):
        return None


def write_note(letter: Letter) -> ProducedRecord:
    """Return the note that a letter's record was written again."""
    return ProducedRecord(None, b"", [(REFED, letter.origin.encode())])


def read_note(record: TopicRecord) -> str | None:
    """Return the origin that a note says was written again; None where the record is no note."""
    origin = dict(record.headers).get(REFED)
    return None if origin is None else _text(origin)


def _length(name: str, content: bytes) -> tuple[str, bytes]:
    return name, str(len(content)).encode()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")
