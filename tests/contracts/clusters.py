"""What the contracts are held against: the simulated broker, and a real one seen through each client library."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Protocol
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as TheirPartition
from kafka.admin import MemberToRemove

from simulators.broker import ADDRESS, SimulatedBroker, SimulatedConsumer, SimulatedProducer
from simulators.partitions import StoredRecord
from stream.adapters.kafka.client import GroupConsumer, ProducedRecord, Producer, TopicPartition
from stream.service_settings import Kafka
from tests.integration.broker import Broker

IMPLEMENTATIONS = ("simulated", "kafka-python", "librdkafka")


class Cluster(Protocol):
    """A broker, and the consumers and producers under test. What tests do themselves goes around those."""

    @property
    def address(self) -> str: ...
    def consumer(self, topics: Sequence[str], group: str, instance: str | None = None) -> GroupConsumer: ...
    def producer(self) -> Producer: ...
    def create_topic(self, partitions: int = 1, max_record_bytes: int = 2**20) -> str:
        """Create a topic and return its name, which no other has."""

    def add_partitions(self, topic: str, total: int) -> None: ...
    def write(self, topic: str, records: Sequence[ProducedRecord], partition: int = 0) -> None: ...
    def write_transaction(self, topic: str, values: Sequence[bytes], *, commit: bool) -> None:
        """Write records into partition 0, and the marker that ends their transaction."""

    def stored(self, topic: str, partition: int = 0) -> list[StoredRecord]: ...
    def delete_records(self, topic: str, partition: int, before: int) -> None: ...
    def committed(self, group: str) -> dict[TopicPartition, int]: ...
    def num_members(self, group: str) -> int: ...
    def expel(self, group: str) -> None:
        """Throw all members out of a group."""

    def time_ms(self) -> int:
        """Return the time that the broker and its clients go by."""

    def stop(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None:
        """Let the broker hang until :meth:`resume`."""

    def resume(self) -> None: ...
    @contextmanager
    def no_broker(self) -> Iterator["Cluster"]:
        """Give the same where no broker is."""


def new_name(kind: str) -> str:
    """Return a name for a topic or a group that nobody has used."""
    return f"{kind}-{uuid4()}"


class SimulatedCluster:
    """The simulated broker with its own clients."""

    address = ADDRESS

    def __init__(self) -> None:
        self.broker = SimulatedBroker()
        self.consumers: list[SimulatedConsumer] = []
        self.add_partitions = self.broker.add_partitions
        self.stored = self.broker.records
        self.delete_records = self.broker.delete_records
        self.committed = self.broker.committed
        self.num_members = self.broker.num_members
        self.stop = self.pause = self.broker.stop
        self.start = self.resume = self.broker.start

    def consumer(self, topics: Sequence[str], group: str, instance: str | None = None) -> SimulatedConsumer:  # noqa: ARG002
        self.consumers.append(SimulatedConsumer(self.broker, group, instance))
        return self.consumers[-1]

    def producer(self) -> SimulatedProducer:
        return SimulatedProducer(self.broker)

    def create_topic(self, partitions: int = 1, max_record_bytes: int = 2**20) -> str:
        name = new_name("topic")
        self.broker.create_topic(name, partitions, max_record_bytes)
        return name

    def write(self, topic: str, records: Sequence[ProducedRecord], partition: int = 0) -> None:
        for key, value, headers, timestamp_ms in records:
            self.broker.append(topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers)

    def write_transaction(self, topic: str, values: Sequence[bytes], *, commit: bool) -> None:
        for value in values if commit else ():
            self.broker.append(topic, value)
        self.broker.skip(topic, number=1 if commit else len(values) + 1)

    def time_ms(self) -> int:
        self.broker.time_ms += 1
        return self.broker.time_ms

    def expel(self, group: str) -> None:
        for consumer in self.consumers:
            if consumer.group == group:
                self.broker.expel(consumer)

    @contextmanager
    def no_broker(self) -> Iterator["SimulatedCluster"]:
        self.stop()
        yield self
        self.start()


class RealCluster:
    """A real broker, seen through one of the client libraries."""

    def __init__(self, broker: Broker, client: str) -> None:
        self.broker = broker
        self.address = broker.bootstrap
        self._client = client
        self._writer: KafkaProducer | None = None
        self._numbers = count()
        self.add_partitions = broker.add_partitions
        self.delete_records = broker.delete_records
        self.num_members = broker.members
        self.stop, self.start = broker.stop, broker.start
        self.pause, self.resume = broker.pause, broker.resume

    def consumer(self, topics: Sequence[str], group: str, instance: str | None = None) -> GroupConsumer:
        if self._client == "librdkafka":
            from stream.adapters.kafka.librdkafka import LibrdkafkaConsumer

            return LibrdkafkaConsumer(self._settings(topics, group), instance)
        from stream.adapters.kafka.kafka_python import KafkaPythonConsumer

        return KafkaPythonConsumer(self._settings(topics, group), instance)

    def producer(self) -> Producer:
        name = f"producer-{next(self._numbers)}"
        if self._client == "librdkafka":
            from stream.adapters.kafka.librdkafka import LibrdkafkaProducer

            return LibrdkafkaProducer(self._settings(["unused"], "none"), name)
        from stream.adapters.kafka.kafka_python import KafkaPythonProducer

        return KafkaPythonProducer(self._settings(["unused"], "none"), name)

    def create_topic(self, partitions: int = 1, max_record_bytes: int = 2**20) -> str:
        name = new_name("topic")
        self.broker.create_topic(name, partitions, max_message_bytes=max_record_bytes)
        return name

    def write(self, topic: str, records: Sequence[ProducedRecord], partition: int = 0) -> None:
        writer = self._writer = self._writer or KafkaProducer(bootstrap_servers=self.address)
        for key, value, headers, timestamp_ms in records:
            writer.send(topic, value, key, list(headers), partition, timestamp_ms)
        writer.flush(timeout=20)

    def write_transaction(self, topic: str, values: Sequence[bytes], *, commit: bool) -> None:
        writer = KafkaProducer(bootstrap_servers=self.address, transactional_id=new_name("writer"))
        writer.init_transactions()
        writer.begin_transaction()
        for value in values:
            writer.send(topic, value, partition=0)
        writer.flush()
        if commit:
            writer.commit_transaction()
        else:
            writer.abort_transaction()
        writer.close()

    def stored(self, topic: str, partition: int = 0) -> list[StoredRecord]:
        theirs = TheirPartition(topic, partition)
        reader = KafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest")
        reader.assign([theirs])
        end = reader.end_offsets([theirs])[theirs]
        found: list[StoredRecord] = []
        while reader.position(theirs) < end:
            for record in reader.poll(timeout_ms=1_000).get(theirs, []):
                headers = tuple((name, bytes(value)) for name, value in record.headers)
                found.append(StoredRecord(record.offset, record.timestamp, record.key, record.value, headers))
        reader.close()
        return found

    def committed(self, group: str) -> dict[TopicPartition, int]:
        return {TopicPartition(*partition): offset for partition, offset in self.broker.committed(group).items()}

    def time_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def expel(self, group: str) -> None:
        with self.broker.admin() as admin:
            members = admin.describe_groups([group])[group]["members"]
            admin.remove_group_members(group, [MemberToRemove(member["member_id"]) for member in members])

    @contextmanager
    def no_broker(self) -> Iterator["RealCluster"]:
        with socket.socket() as closed:  # bound, so that nobody else is there, and not listening
            closed.bind(("127.0.0.1", 0))
            yield RealCluster(Broker(f"127.0.0.1:{closed.getsockname()[1]}"), self._client)

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def _settings(self, topics: Sequence[str], group: str) -> Kafka:
        return Kafka(
            bootstrap_servers=(self.address,),
            topics=tuple(topics),
            group=group,
            session_timeout_s=6,
            drain_timeout_s=2,
            new_partitions_s=1,
        )


@contextmanager
def open_cluster(implementation: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Give the cluster for one of :data:`IMPLEMENTATIONS`."""
    if implementation == "simulated":
        yield SimulatedCluster()
        return
    cluster = RealCluster(request.getfixturevalue("broker"), implementation)
    try:
        yield cluster
    finally:
        cluster.close()
