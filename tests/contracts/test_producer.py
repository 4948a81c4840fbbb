"""What every producer promises: the simulated one, and those over each client library with a real broker."""

import os
import time
from collections.abc import Iterator

import pytest

from simulators.partitions import StoredRecord
from stream.adapters.kafka import contact
from stream.adapters.kafka.client import BrokerError, ProducedRecord, Producer, RecordTooLargeError
from tests.contracts.clusters import Cluster, new_name

FLUSH_S = 30.0
SOON_S = 15.0


@pytest.fixture
def producer(cluster: Cluster) -> Iterator[Producer]:
    opened = cluster.producer()
    try:
        yield opened
    finally:
        opened.close(1.0)


def values(cluster: Cluster, topic: str, partition: int = 0) -> list[bytes | None]:
    return [record.value for record in cluster.stored(topic, partition)]


def write(producer: Producer, topic: str, *records: ProducedRecord) -> None:
    for record in records:
        producer.send(topic, record)
    assert producer.flush(FLUSH_S)


def numbered(begin: int, end: int) -> list[ProducedRecord]:
    return [ProducedRecord(None, b"%d" % number) for number in range(begin, end)]


def test_every_record_is_written_once_and_those_of_a_key_in_order(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic(3)
    records = [ProducedRecord(b"key %d" % (number % 23), b"%d" % number) for number in range(2_000)]
    write(producer, topic, *records)
    stored = [cluster.stored(topic, partition) for partition in range(3)]
    homes = [{record.key for record in records} for records in stored]
    assert sum(map(len, homes)) == 23, "each key in one partition"
    assert all(homes), "keys in every partition"
    for records in stored:
        for key in {record.key for record in records}:
            numbers = [int(record.value or b"") for record in records if record.key == key]
            assert numbers == list(range(numbers[0], 2_000, 23))
    assert sum(map(len, stored)) == 2_000


def test_records_without_a_key_reach_one_partition_in_order(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic()
    write(producer, topic, *numbered(0, 500))
    assert values(cluster, topic) == [b"%d" % number for number in range(500)]


def test_all_of_a_record_is_written(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic()
    headers = (("reason", b"no user"), ("reason", b"\x00\xff"), ("empty", b""))
    records = [
        ProducedRecord(b"key", b"value", headers, 1_700_000_000_123),
        ProducedRecord(None, None, (), 1),
        ProducedRecord(b"", b"", (), 2),
    ]
    write(producer, topic, *records)
    assert cluster.stored(topic) == [
        StoredRecord(0, 1_700_000_000_123, b"key", b"value", headers),
        StoredRecord(1, 1, None, None),
        StoredRecord(2, 2, b"", b""),
    ]


def test_a_record_without_a_timestamp_gets_the_time_of_writing(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic()
    before = cluster.time_ms()
    write(producer, topic, ProducedRecord(None, b"now"))
    [record] = cluster.stored(topic)
    assert before <= record.timestamp_ms <= cluster.time_ms()


def test_a_record_too_large_for_the_topic_is_refused_and_others_are_not(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic(max_record_bytes=10_000)
    write(producer, topic, ProducedRecord(None, b"before"))
    with pytest.raises(RecordTooLargeError):
        write(producer, topic, ProducedRecord(b"key", os.urandom(50_000)))
    write(producer, topic, ProducedRecord(None, b"after"))
    assert values(cluster, topic) == [b"before", b"after"]


def test_a_record_as_large_as_topics_usually_allow_is_written(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic(max_record_bytes=20_000_000)
    large = os.urandom(8_000_000)
    write(producer, topic, ProducedRecord(None, large))
    assert values(cluster, topic) == [large]


def test_nothing_to_flush_is_flushed(producer: Producer) -> None:
    assert producer.flush(0.0)
    assert producer.flush(FLUSH_S)


def test_what_is_flushed_can_be_read_although_the_producer_is_never_closed(cluster: Cluster) -> None:
    topic, producer = cluster.create_topic(), cluster.producer()
    write(producer, topic, *numbered(0, 3))
    assert values(cluster, topic) == [b"0", b"1", b"2"]
    producer.close(1.0)


def test_a_broker_that_hangs_is_waited_for(cluster: Cluster, producer: Producer) -> None:
    topic = cluster.create_topic()
    write(producer, topic, *numbered(0, 1))
    leaver = cluster.producer()
    cluster.pause()
    try:
        for record in numbered(1, 100):
            producer.send(topic, record)
        assert not producer.flush(0.2)
        leaver.send(topic, ProducedRecord(None, b"never seen"))
        began = time.monotonic()
        leaver.close(0.2)
        assert time.monotonic() - began < SOON_S
    finally:
        cluster.resume()
    assert producer.flush(FLUSH_S)
    found = values(cluster, topic)
    assert [value for value in found if value != b"never seen"] == [b"%d" % number for number in range(100)]


def test_a_topic_that_does_not_exist_is_named(producer: Producer) -> None:
    missing = new_name("missing")
    with pytest.raises(BrokerError, match=missing) as caught:
        write(producer, missing, ProducedRecord(None, b"value"))
    assert "\n" not in str(caught.value)


def test_a_broker_that_is_not_there_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "FIRST_CONTACT_S", 1.0)
    with cluster.no_broker() as nowhere, pytest.raises(BrokerError, match=nowhere.address) as caught:
        nowhere.producer()
    assert "\n" not in str(caught.value)
