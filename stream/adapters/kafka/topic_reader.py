"""A whole topic as it stands, without a consumer group, by kafka-python."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from kafka import KafkaConsumer
from kafka import TopicPartition as TheirPartition
from kafka.errors import KafkaError, RetriableError, UnsupportedCodecError

from stream.adapters.kafka.administration import Connection, explain, require_topics
from stream.adapters.kafka.client import BrokerError
from stream.adapters.kafka.contact import no_codec, unreachable
from stream.adapters.kafka.letters import TopicRecord
from stream.ports import Position
from stream.service_settings import Kafka

_POLL_S: Final = 0.5
_ENDS_S: Final = 2.0
_ANSWER_S: Final = 10.0
"""How long the broker may say nothing while a topic is read."""
_CLOSE_S: Final = 1.0


class NoAnswerError(BrokerError):
    """No broker answers at the moment; one may later."""

    retriable = True


class TopicLog(Protocol):
    """A topic as it stands."""

    def ends(self) -> Position:
        """Return the offset behind the last record of each partition known; raises :class:`NoAnswerError`."""

    def read(self, begin: Position) -> Iterator[TopicRecord]:
        """Yield the records from ``begin`` up to where the topic ends now, in the order of each partition.

        A partition that ``begin`` does not name, or whose offset there is not in it, is read from its beginning.
        Raises :class:`BrokerError`, :class:`NoAnswerError` where trying again may help.
        """

    def close(self) -> None:
        """Close connections."""


class TopicReader:
    """A :class:`TopicLog` of a broker. Only one :meth:`read` at a time.

    ``committed_only``: pass over what transactions wrote that were not committed, and end where one is open. Otherwise
    everything that stands there is read. Raises :class:`BrokerError` where no broker answers.
    """

    def __init__(self, kafka: Kafka, topic: str, *, committed_only: bool) -> None:
        self._kafka = kafka
        self._topic = topic
        self._num_partitions = 0
        self._consumer: Any = Connection(
            KafkaConsumer,
            kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed" if committed_only else "read_uncommitted",
            request_timeout_ms=round(1000 * _ANSWER_S),
            metrics_enabled=False,
        ).client

    def ends(self) -> Position:
        """Return the offset behind the last record of each partition that was there when last looked."""
        with self._asking():
            ends = self._consumer.end_offsets(self._partitions(), timeout_ms=1000 * _ENDS_S)
        return {partition.partition: end for partition, end in ends.items()}

    def read(self, begin: Position) -> Iterator[TopicRecord]:
        """Yield the records from ``begin`` to the end."""
        with self._asking():
            self._num_partitions = 0  # there may be more by now
            partitions = self._partitions()
            first = self._consumer.beginning_offsets(partitions, timeout_ms=1000 * _ANSWER_S)
            ends = self._consumer.end_offsets(partitions, timeout_ms=1000 * _ANSWER_S)
            starts = {p: begin.get(p.partition, 0) for p in partitions}
            starts = {p: start if first[p] <= start <= ends[p] else first[p] for p, start in starts.items()}
            yield from self._read(starts, ends)

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close(autocommit=False, timeout_ms=1000 * _CLOSE_S)

    def _read(self, starts: dict[TheirPartition, int], ends: dict[TheirPartition, int]) -> Iterator[TopicRecord]:
        consumer = self._consumer
        unfinished = [partition for partition, start in starts.items() if start < ends[partition]]
        consumer.assign(unfinished)
        for partition in unfinished:
            consumer.seek(partition, starts[partition])
        consumer.resume(*unfinished)
        heard_at = time.monotonic()
        try:
            while unfinished:
                for partition, records in self._poll().items():
                    yield from (_ours(record) for record in records if record.offset < ends[partition])
                    heard_at = time.monotonic()
                if time.monotonic() - heard_at > _ANSWER_S:
                    raise NoAnswerError(str(unreachable(self._kafka)))
                finished = [p for p in unfinished if (consumer.position(p, timeout_ms=0) or 0) >= ends[p]]
                consumer.pause(*finished)
                unfinished = [partition for partition in unfinished if partition not in finished]
        finally:
            consumer.pause(*unfinished)

    def _poll(self) -> dict[TheirPartition, list[Any]]:
        try:
            found: dict[TheirPartition, list[Any]] = self._consumer.poll(timeout_ms=1000 * _POLL_S)
        except RetriableError:
            time.sleep(_POLL_S)
            return {}
        return found

    def _partitions(self) -> list[TheirPartition]:
        self._num_partitions = self._num_partitions or require_topics(self._kafka, [self._topic])[self._topic]
        return [TheirPartition(self._topic, partition) for partition in range(self._num_partitions)]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except UnsupportedCodecError as error:
            raise no_codec(self._topic, str(error)) from error
        except RetriableError as error:
            raise NoAnswerError(str(unreachable(self._kafka))) from error
        except KafkaError as error:
            raise explain(error, self._kafka, f"to read {self._topic}") from error
        except BrokerError as error:
            if isinstance(error.__cause__, RetriableError):
                raise NoAnswerError(str(error)) from error
            raise


def _ours(record: Any) -> TopicRecord:
    headers = tuple((name, bytes(value or b"")) for name, value in record.headers)
    return TopicRecord(record.partition, record.offset, record.timestamp, record.key, record.value, headers)
