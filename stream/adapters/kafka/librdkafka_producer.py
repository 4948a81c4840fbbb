"""Producers over librdkafka."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from stream.adapters.kafka.client import ProducedRecord, RecordTooLargeError
from stream.adapters.kafka.librdkafka_client import LibrdkafkaClient
from stream.service_settings import Kafka

RETRY_S: Final = 0.1
SENDS_A_SERVICE: Final = 256
"""The library may call back once for so many records."""


class LibrdkafkaProducer:
    """A :class:`~stream.adapters.kafka.client.Producer` over librdkafka; ``name`` is what brokers know it by.

    Raises as :class:`LibrdkafkaConsumer`.
    """

    def __init__(self, kafka: Kafka, name: str) -> None:
        self._client = LibrdkafkaClient(kafka)
        self._library = self._client.library
        self._producer = self._client.open(self._library.Producer, _producer_options(name))
        self._sent = 0
        self._errors: deque[Any] = deque()

    def send(self, topic: str, record: ProducedRecord) -> None:
        """Hand a record over; waits while 100,000 are under way."""
        self._sent += 1
        if self._sent % SENDS_A_SERVICE == 0:
            self._serve(self._producer.poll, 0)
        while True:
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key,
                    headers=list(record.headers),
                    timestamp=record.timestamp_ms or 0,
                    on_delivery=self._report,
                )
                return
            except BufferError:
                self._serve(self._producer.poll, RETRY_S)
                self._raise_errors()
            except self._library.KafkaException as error:
                self._raise(error.args[0], topic)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all records are acknowledged, up to ``timeout_s``; return whether they are."""
        deadline = time.monotonic() + timeout_s
        while True:
            # In slices, for Python looks at signals only in between.
            left = self._serve(self._producer.flush, max(0.0, min(RETRY_S, deadline - time.monotonic())))
            self._raise_errors()
            if left == 0 or time.monotonic() >= deadline:
                return bool(left == 0)

    def close(self, timeout_s: float) -> None:
        """Close; what is not acknowledged may be lost."""
        self._serve(self._producer.flush, timeout_s)
        self._producer.purge()
        self._serve(self._producer.flush, RETRY_S)
        # It flushes once more by itself.
        with suppress(self._library.KafkaException):
            self._producer.close()

    def _serve(self, wait: Callable[[float], int], timeout_s: float) -> int:
        """Let the library work and call back; return how many records are under way.

        Once an error is fatal it may raise that here; which is told by the next to send or flush, not by who closes.
        """
        try:
            return wait(timeout_s)
        except self._library.KafkaException as error:
            self._client.note(error.args[0])
            return len(self._producer)

    def _report(self, error: Any, message: Any) -> None:
        if error:
            self._errors.append((error, message.topic()))

    def _raise_errors(self) -> None:
        if self._errors:
            self._raise(*self._errors.popleft())
        if self._client.failure:
            raise self._client.failure

    def _raise(self, error: Any, topic: str) -> None:
        codes = self._library.KafkaError
        if error.code() in (codes.MSG_SIZE_TOO_LARGE, codes.RECORD_LIST_TOO_LARGE):
            raise RecordTooLargeError(f"topic {topic}: {error.str()}")
        raise self._client.explain(error, f"to write to {topic}")


def _producer_options(name: str) -> dict[str, Any]:
    return {
        "client.id": name,
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "topic.metadata.propagation.max.ms": 5_000,
        "message.max.bytes": 2**26,
        "compression.type": "lz4",
        "partitioner": "murmur2_random",  # as kafka-python and Java
        "linger.ms": 5,
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 2**17,
        "delivery.report.only.error": True,
    }
