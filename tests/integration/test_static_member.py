"""Both client libraries as static members of a group, when the broker is away for longer than their session."""

import time
from collections.abc import Mapping
from uuid import uuid4

import pytest

from stream.adapters.kafka.client import ProducedRecord, Start, TopicPartition
from stream.adapters.kafka.kafka_python import KafkaPythonConsumer, KafkaPythonProducer
from stream.adapters.kafka.librdkafka import LibrdkafkaConsumer
from stream.service_settings import Kafka
from tests.integration.broker import Broker

SESSION_S = 6.0
PATIENCE_S = 60


class GoesOn:
    """Begins where it has come to."""

    def __init__(self) -> None:
        self.next: dict[TopicPartition, int] = {}
        self.offsets: list[int] = []

    def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
        return {partition: self.next.get(partition, Start.EARLIEST) for partition in partitions}

    def revoked(self, partitions: frozenset[TopicPartition]) -> None: ...

    def lost(self, partitions: frozenset[TopicPartition]) -> None: ...


def read(consumer: KafkaPythonConsumer | LibrdkafkaConsumer, reader: GoesOn, duration_s: float, until: int) -> None:
    """Poll, and commit all the time, for a while or until a number of records has come."""
    deadline = time.monotonic() + duration_s
    while len(reader.offsets) < until and time.monotonic() < deadline:
        for chunk in consumer.poll(0.1):
            reader.offsets += chunk.offset
            reader.next[chunk.partition] = chunk.offset[-1] + 1
        consumer.commit(reader.next)


@pytest.mark.parametrize("library", [KafkaPythonConsumer, LibrdkafkaConsumer])
def test_it_joins_again_in_its_own_place_and_reads_on(
    broker: Broker, library: type[KafkaPythonConsumer | LibrdkafkaConsumer]
) -> None:
    topic, group = f"topic-{uuid4()}", f"group-{uuid4()}"
    kafka = Kafka(bootstrap_servers=(broker.bootstrap,), topics=(topic,), group=group, session_timeout_s=SESSION_S)
    broker.create_topic(topic)
    producer, consumer, reader = KafkaPythonProducer(kafka, "writer"), library(kafka, "me"), GoesOn()
    try:
        consumer.subscribe([topic], reader)
        for begin in (0, 100):
            if begin:
                broker.kill()
                read(consumer, reader, SESSION_S + 1, until=begin + 1)
                broker.start()
            for _ in range(100):
                producer.send(topic, ProducedRecord(None, b"a click"))
            assert producer.flush(PATIENCE_S)
            read(consumer, reader, PATIENCE_S, until=begin + 100)
        assert reader.offsets == list(range(200))
        assert broker.members(group) == 1
    finally:
        consumer.close(5.0)
        producer.close(1.0)
    assert broker.members(group) == 0
