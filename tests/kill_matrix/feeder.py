"""Writes trouble into a topic, in all the ways in which records get there, and remembers what stands where."""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple, Self

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from stream.core.event import digest_of
from tests.integration.broker import Broker
from tests.kill_matrix.trouble import Row, Trouble

CODECS = (None, "gzip", "lz4", "snappy", "zstd")
PLAIN, COMMITTED, ABORTED = "plain", "committed", "aborted"
ROWS_PER_BATCH = 40
MARKER_S = 10.0
"""How long a broker may take to write the end of a transaction down."""
NO_LIMIT_MS = 2**63 - 1
Position = dict[int, int]


class Learnt(NamedTuple):
    """How many records, and the digest of which."""

    num: int
    digest: str


class Feeder:
    """Makes a topic and feeds it; in a ``with`` statement.

    Batches are compressed by turns, go to any partition, and some are written in a transaction: those of one that was
    aborted are no records at all.
    """

    def __init__(self, broker: Broker, topic: str, partitions: int, seed: int, trouble: Trouble | None = None) -> None:
        self.topic = topic
        self.num_partitions = partitions
        self.reasons: dict[tuple[int, int], str | None] = {}
        """By partition and offset, of every record there is: why it is a dead letter, None where it is to be learnt."""
        self._ends: Position = {}
        self._trouble = Trouble(seed) if trouble is None else trouble
        self._rng = random.Random(seed)
        self._stack = ExitStack()
        broker.create_topic(topic, partitions, retention_ms=-1, message_timestamp_after_max_ms=NO_LIMIT_MS)
        options = {"bootstrap_servers": broker.bootstrap, "acks": "all", "metrics_enabled": False}
        # Brokers come and go, and topics grow.
        options |= {"reconnect_backoff_max_ms": 200, "metadata_max_age_ms": 500}
        self._plain = [self._open(compression_type=codec, **options) for codec in CODECS]
        self._transactional = self._open(transactional_id=f"feeds {topic}", **options)
        self._transactional.init_transactions()
        self._reader = self._stack.enter_context(closing(KafkaConsumer(bootstrap_servers=broker.bootstrap)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def feed(self, num: int) -> None:
        """Write about ``num`` records and wait until they stand there."""
        while num > 0:
            rows = self._trouble.take(min(num, self._rng.randint(1, ROWS_PER_BATCH)))
            num -= len(rows)
            kind = self._rng.choices((PLAIN, COMMITTED, ABORTED), (16, 1, 1))[0]
            if kind == PLAIN:
                self._write(self._rng.choice(self._plain), rows)
            else:
                self._write_together(rows, kind)

    def use_partitions(self, total: int) -> None:
        """Write to that many partitions from now on, which the topic has been given."""
        for producer in (*self._plain, self._transactional):
            while len(producer.partitions_for(self.topic)) < total:
                time.sleep(0.05)
        self.num_partitions = total

    def learnt_before(self, position: Position) -> Learnt:
        """Return what a model is to have learnt that stands at a position."""
        places = [place for place, reason in self.reasons.items() if reason is None and is_before(place, position)]
        partition, offset = np.array(places, np.int64).reshape(-1, 2).T
        return Learnt(len(places), f"{digest_of(partition.astype(np.int32), offset.copy()):016x}")

    def dead_before(self, position: Position) -> dict[tuple[int, int], str]:
        """Return the dead letters that a model is to have given up that stands at a position."""
        return {place: reason for place, reason in self.reasons.items() if reason and is_before(place, position)}

    def ends(self) -> Position:
        """Return the position behind all records; what stands behind them are no records."""
        return dict(self._ends)

    def _write_together(self, rows: Sequence[Row], kind: str) -> None:
        self._transactional.begin_transaction()
        partition, last = self._write(self._transactional, rows, are_records=kind == COMMITTED)
        if kind == COMMITTED:
            self._transactional.commit_transaction()
        else:
            self._transactional.abort_transaction()
        self._await_marker(TopicPartition(self.topic, partition), last)

    def _await_marker(self, partition: TopicPartition, last: int) -> None:
        """Wait until a transaction's end stands behind its last record, or else it might land behind all records."""
        deadline = time.monotonic() + MARKER_S
        while time.monotonic() < deadline:
            with suppress(KafkaError):
                if self._reader.end_offsets([partition])[partition] > last + 1:
                    return
            time.sleep(0.01)

    def _write(self, producer: Any, rows: Sequence[Row], *, are_records: bool = True) -> tuple[int, int]:
        """Write rows to a partition; return it, and the offset of the last of them."""
        partition = self._rng.randrange(self.num_partitions)
        futures = [
            producer.send(self.topic, partition=partition, key=row.key, value=row.value, timestamp_ms=row.timestamp_ms)
            for row in rows
        ]
        producer.flush()
        for row, future in zip(rows, futures, strict=True):
            if are_records:
                offset = future.get(0).offset
                self.reasons[partition, offset] = row.reason
                self._ends[partition] = offset + 1
        return partition, futures[-1].get(0).offset

    def _open(self, **options: Any) -> Any:
        return self._stack.enter_context(closing(KafkaProducer(**options)))


def is_before(place: tuple[int, int], position: Position) -> bool:
    partition, offset = place
    return offset < position.get(partition, 0)
