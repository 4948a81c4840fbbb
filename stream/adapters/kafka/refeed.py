"""Dead letters written again to where they came from, each record once.

A record that was written again leaves a note in the dead-letter topic, in one transaction with the record itself: so
there are both or neither. The note stands behind the letter in the same partition, so retention never deletes it first.
(Offsets that a consumer group has committed would be forgotten after a week in which nothing is committed.)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from kafka import KafkaProducer, Serializer
from kafka.codec import has_lz4
from kafka.errors import (
    InvalidProducerEpochError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RecordListTooLargeError,
)

from stream.adapters.kafka.administration import Connection, explain, require_topics
from stream.adapters.kafka.client import BrokerError, ProducedRecord, TopicPartition
from stream.adapters.kafka.letters import REFED_FROM, Letter, read_letter, read_note, write_note
from stream.adapters.kafka.topic_reader import TopicLog
from stream.service_settings import Kafka

_MAX_LETTERS: Final = 500
_MAX_BYTES: Final = 2**23
"""What one transaction holds at most, but for a single letter that is larger."""
_REQUEST_S: Final = 10.0
_DELIVERY_S: Final = 20.0
_CLOSE_S: Final = 1.0

_FENCED: Final = (InvalidProducerEpochError, ProducerFencedError)
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class Addressed(NamedTuple):
    """A record with its destination."""

    topic: str
    partition: int | None
    """None: as the key says."""
    record: ProducedRecord


class Writer(Protocol):
    """Writes records to several topics, all or nothing."""

    def write(self, records: Sequence[Addressed]) -> None:
        """Return once the records are written; where it raises, none of them is, and this is the end of the writer."""


@dataclass
class Refed:
    """What came of re-feeding."""

    written: Counter[str] = field(default_factory=Counter)
    """Topic -> records written."""
    num_before: int = 0
    """Letters whose record had been written again before."""
    cut: list[str] = field(default_factory=list)
    """Places of letters that lack their value or key, which cannot be written again."""


def origins_refed(log: TopicLog) -> set[str]:
    """Return the origins of the records that were written again, as the notes in a dead-letter topic say."""
    return {origin for record in log.read({}) if (origin := read_note(record)) is not None}


def refeed(
    log: TopicLog,
    writer: Writer,
    name: str,
    *,
    is_chosen: Callable[[Letter], bool],
    topic: str | None = None,
    again: bool = False,
) -> Refed:
    """Write the records of the letters that are chosen to where they came from, or to ``topic``; return what was done.

    ``log`` is the dead-letter topic and ``name`` its name. A record that two groups set aside is written once. Those
    written before are left out, unless ``again``. Raises what ``log`` and ``writer`` raise; what was written till then
    is not written by the next call.
    """
    refed = Refed()
    done = set() if again else origins_refed(log)
    for batch in _batches(_due(log, is_chosen, done, refed)):
        records: list[Addressed] = []
        for letter in batch:
            place = TopicPartition(name, letter.record.partition)
            records += [_original(letter, place, topic), Addressed(*place, write_note(letter))]
        writer.write(records)
        refed.written.update(topic or letter.partition.topic for letter in batch)
    return refed


def _due(log: TopicLog, is_chosen: Callable[[Letter], bool], done: set[str], refed: Refed) -> Iterator[Letter]:
    """Yield the letters to be written again; note them in ``done``, and in ``refed`` those that are left out."""
    for record in log.read({}):
        letter = read_letter(record)
        if letter is None or not is_chosen(letter):
            continue
        if letter.origin in done:
            refed.num_before += 1
        elif letter.value_omitted is not None or letter.key_omitted is not None:
            refed.cut.append(record.place)
        else:
            done.add(letter.origin)
            yield letter


def _batches(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    num_bytes = 0
    for letter in letters:
        batch.append(letter)
        num_bytes += letter.num_bytes
        if len(batch) == _MAX_LETTERS or num_bytes >= _MAX_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _original(letter: Letter, place: TopicPartition, topic: str | None) -> Addressed:
    headers = [(REFED_FROM, f"{place}@{letter.record.offset}".encode())]
    # Its own time may be the event's, and its partition is what keeps a user's events in order.
    time_ms = letter.timestamp_ms if letter.timestamp_ms >= 0 else None
    record = ProducedRecord(letter.record.key, letter.record.value, headers, time_ms)
    home, partition = letter.partition
    return Addressed(home, partition, record) if topic in (None, home) else Addressed(str(topic), None, record)


class TransactionalWriter:
    """A :class:`Writer` over kafka-python. Another one of the same ``name`` shuts this one out.

    Raises :class:`BrokerError` where no broker answers, a topic is missing or may not be written to, a record is too
    large for its topic, or another one took over.
    """

    def __init__(self, kafka: Kafka, name: str) -> None:
        self._kafka = kafka
        self._name = name
        self._num_partitions: dict[str, int] = {}
        connection: Connection[Any] = Connection(
            KafkaProducer,
            kafka,
            client_id=name,
            transactional_id=name,
            # Whoever reads committed records only waits for so long where this process dies.
            transaction_timeout_ms=30_000,
            delivery_timeout_ms=round(1000 * _DELIVERY_S),
            request_timeout_ms=round(1000 * _REQUEST_S),
            max_request_size=2**26,
            compression_type="lz4" if has_lz4() else None,
            linger_ms=5,
            key_serializer=_Absent(),
            metrics_enabled=False,
        )
        self._producer = connection.client
        try:
            self._producer.init_transactions()
        except KafkaError as error:
            self.close()
            raise explain(error, kafka, f"to write in transactions as {name}") from error

    def write(self, records: Sequence[Addressed]) -> None:
        """Write the records in one transaction."""
        topics = {record.topic for record in records} - self._num_partitions.keys()
        if topics:
            self._num_partitions |= require_topics(self._kafka, topics)
        try:
            self._producer.begin_transaction()
            # The library would wait for ever for a commit if a record failed under it.
            for future in [self._send(record) for record in records]:
                future.get(timeout=_DELIVERY_S)
            self._producer.commit_transaction()
        except KafkaError as error:
            with suppress(KafkaError):
                self._producer.abort_transaction()
            raise self._explain(error, {record.topic for record in records}) from error

    def close(self) -> None:
        """Close the connections; a transaction under way comes to nothing."""
        with suppress(KafkaError):
            self._producer.close(timeout=_CLOSE_S)

    def _send(self, addressed: Addressed) -> Any:
        topic, partition, record = addressed
        is_known = partition is not None and partition < self._num_partitions[topic]
        return self._producer.send(
            topic,
            key=_ABSENT if record.key is None else record.key,
            value=record.value,
            headers=list(record.headers),
            partition=partition if is_known else None,
            timestamp_ms=record.timestamp_ms,
        )

    def _explain(self, error: KafkaError, topics: Iterable[str]) -> BrokerError:
        names = ", ".join(sorted(topics))
        # What comes after a failure names the failure beside its own words.
        error = next((cause for cause in error.args if isinstance(cause, KafkaError)), error)
        if isinstance(error, _FENCED):
            return BrokerError(f"someone else re-feeds as {self._name}: let only one do it at a time")
        if isinstance(error, _TOO_LARGE):
            return BrokerError(f"a record is too large for its topic (of {names}): raise the topic's max.message.bytes")
        return explain(error, self._kafka, f"to write to {names}")


class _Absent(Serializer):  # type: ignore[misc]
    """Lets a record have neither key nor value, which the library forbids before it serializes."""

    def serialize(self, topic: str, headers: list[tuple[str, bytes]], data: object) -> object:  # noqa: ARG002
        return None if data is _ABSENT else data


_ABSENT: Final = object()
