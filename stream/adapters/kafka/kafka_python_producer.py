"""Producers over kafka-python."""

import time
from collections import deque
from threading import Condition
from typing import Any, Final

from kafka import KafkaProducer, Serializer
from kafka.codec import has_lz4
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, RecordListTooLargeError

from stream.adapters.kafka import contact
from stream.adapters.kafka.administration import Connection, explain
from stream.adapters.kafka.client import ProducedRecord, RecordTooLargeError
from stream.service_settings import Kafka

RETRY_S: Final = 0.1
PAUSE_S: Final = 1.0
MAX_UNHEARD_OF: Final = 8
"""Times that a topic may be missing from what the broker tells before it is taken for missing."""
REQUEST_TIMEOUT_MS: Final = 15_000
"""A broker that hangs is given up, and connected to anew, after this long."""
MAX_REQUEST_BYTES: Final = 2**26
MAX_UNDER_WAY: Final = 10_000
"""Records kept until they are acknowledged."""
FOREVER_MS: Final = 2**31 - 1
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)


class KafkaPythonProducer:
    """A :class:`~stream.adapters.kafka.client.Producer` over kafka-python; ``name`` is what brokers know it by.

    Raises :class:`BrokerError` where no broker answers.
    """

    def __init__(self, kafka: Kafka, name: str) -> None:
        self._kafka = kafka
        self._name = name
        self._open()
        self._waiting: deque[tuple[str, ProducedRecord]] = deque()
        """Records of topics that nothing is known of yet."""
        self._changed = Condition()
        self._under_way = 0
        self._retry_at = 0.0
        self._num_unheard_of = 0
        self._errors: deque[KafkaError] = deque()

    def _open(self) -> None:
        self._connection: Connection[Any] = Connection(KafkaProducer, self._kafka, **_producer_options(self._name))
        self._producer = self._connection.client
        self._spent = False
        """After a record that was refused, the library can write nothing more."""

    def send(self, topic: str, record: ProducedRecord) -> None:
        """Hand a record over; waits while 10,000 are under way."""
        self._waiting.append((topic, record))
        self._hand_over()
        while self._under_way + len(self._waiting) > MAX_UNDER_WAY:
            self.flush(RETRY_S)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all records are acknowledged, up to ``timeout_s``; return whether they are."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._hand_over()
            with self._changed:
                if self._errors:
                    self._raise(self._errors.popleft())
                if not self._under_way and not self._waiting:
                    return True
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(left_s, RETRY_S) if self._waiting or self._spent else left_s)

    def close(self, timeout_s: float) -> None:
        """Close; what is not acknowledged may be lost."""
        try:
            self._producer.close(timeout=timeout_s)
        except KafkaTimeoutError:
            self._producer._sender.force_close()  # close does so only after everything else went well
            self._producer._sender.join(RETRY_S)
            self._producer.close(timeout=0)

    def _hand_over(self) -> None:
        if self._spent:
            if self._under_way:
                return
            self.close(RETRY_S)
            self._open()
        while self._waiting and time.monotonic() >= self._retry_at:
            topic, record = self._waiting[0]
            try:
                future = self._producer.send(
                    topic,
                    key=_ABSENT if record.key is None else record.key,
                    value=record.value,
                    headers=list(record.headers),
                    timestamp_ms=record.timestamp_ms,
                )
            except KafkaTimeoutError:
                # The library has waited for metadata, and would again for every record.
                self._retry_at = time.monotonic() + PAUSE_S
                is_unheard_of = self._connection.has_contact() and self._connection.num_partitions(topic) is None
                self._num_unheard_of = self._num_unheard_of + 1 if is_unheard_of else 0
                # A broker that hangs has contact for a while, too.
                if self._num_unheard_of == MAX_UNHEARD_OF:
                    self._num_unheard_of = 0
                    self._waiting.popleft()
                    raise contact.no_such_topic(self._kafka, [topic]) from None
                return
            except KafkaError as error:
                self._waiting.popleft()
                self._raise(error)
            self._waiting.popleft()
            with self._changed:
                self._under_way += 1
            future.add_callback(self._settle)
            future.add_errback(self._settle)

    def _settle(self, outcome: object) -> None:
        with self._changed:
            self._under_way -= 1
            if isinstance(outcome, KafkaError):
                self._errors.append(outcome)
                self._spent |= isinstance(outcome, TOO_LARGE)
            self._changed.notify()

    def _raise(self, error: KafkaError) -> None:
        if isinstance(error, TOO_LARGE):
            raise RecordTooLargeError(str(error)) from error
        raise explain(error, self._kafka, "to write") from error


class _Absent(Serializer):  # type: ignore[misc]
    """Lets a record have neither key nor value, which the library forbids before it serializes."""

    def serialize(self, topic: str, headers: list[tuple[str, bytes]], data: object) -> object:  # noqa: ARG002
        return None if data is _ABSENT else data


_ABSENT: Final = object()


def _producer_options(name: str) -> dict[str, Any]:
    return {
        "client_id": name,
        "enable_idempotence": True,
        "acks": "all",
        "delivery_timeout_ms": FOREVER_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "max_block_ms": 500,
        "max_request_size": MAX_REQUEST_BYTES,
        "allow_auto_create_topics": False,
        "compression_type": "lz4" if has_lz4() else None,
        "linger_ms": 5,
        "key_serializer": _Absent(),
        "metrics_enabled": False,
    }
