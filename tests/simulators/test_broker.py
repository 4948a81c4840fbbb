"""The simulated broker beyond the contract: gaps, refusals, outages, threads, and fair shares whatever happens."""

from collections.abc import Mapping, Sequence
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.broker import SimulatedBroker, SimulatedConsumer, SimulatedProducer
from simulators.partitions import ConsumerGroup, PartitionLog, StoredRecord
from stream.adapters.kafka.client import (
    Bounds,
    BrokerError,
    OutOfRangeError,
    ProducedRecord,
    RecordTooLargeError,
    Start,
    TopicPartition,
)
from tests.contracts.reader import Reader


@pytest.fixture
def broker() -> SimulatedBroker:
    return SimulatedBroker()


def fill(broker: SimulatedBroker, topic: str, number: int, partition: int = 0) -> None:
    for i in range(number):
        broker.append(topic, b"%d" % i, partition=partition)


def read(broker: SimulatedBroker, group: str = "g", *, start: int | Start = Start.EARLIEST, **options: Any) -> Reader:
    return Reader(SimulatedConsumer(broker, group, **options), ["t"], start)


# Records


def test_offsets_left_out_are_passed_over(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    broker.skip("t", number=3)
    broker.append("t", b"a")
    broker.skip("t")
    broker.append("t", b"b")
    broker.skip("t", number=2)
    reader = read(broker, max_poll_records=1)
    partition = TopicPartition("t", 0)
    reader.poll(0)
    assert reader.offsets(partition) == [3]
    assert not reader.consumer.has_caught_up()
    reader.poll(0)
    assert reader.offsets(partition) == [3, 5]
    assert reader.consumer.has_caught_up()
    assert broker.bounds(partition) == Bounds(0, 8)


def test_a_start_in_a_gap_is_in_range(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    broker.skip("t", number=9)
    broker.append("t", b"a")
    reader = read(broker, start=4)
    reader.poll(0)
    assert reader.offsets(TopicPartition("t", 0)) == [9]


def test_retention_takes_no_more_than_there_is(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    fill(broker, "t", 5)
    broker.delete_records("t", 0, 3)
    broker.delete_records("t", 0, 2)
    assert [record.offset for record in broker.records("t")] == [3, 4]
    broker.delete_records("t", 0, 99)
    assert broker.bounds(TopicPartition("t", 0)) == Bounds(5, 5)
    assert broker.append("t", b"next") == 5


def test_retention_overtakes_a_slow_reader(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    fill(broker, "t", 10)
    reader = read(broker, max_poll_records=2)
    reader.poll(0)
    broker.delete_records("t", 0, 7)
    with pytest.raises(OutOfRangeError, match="t-0 has no offset 2"):
        reader.poll(0)


def test_a_poll_gives_no_more_than_it_may_and_takes_turns(broker: SimulatedBroker) -> None:
    broker.create_topic("t", partitions=2)
    fill(broker, "t", 10, partition=0)
    fill(broker, "t", 10, partition=1)
    reader = read(broker, max_poll_records=4)
    chunks = [reader.poll(0) for _ in range(4)]
    assert {len(offsets) for [(_, offsets, *_)] in chunks} == {4}
    assert {partition: len(records) for partition, records in reader.given.items()} == {("t", 0): 8, ("t", 1): 8}


def test_records_get_the_brokers_time_unless_they_have_their_own(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    broker.time_ms = 17
    broker.append("t", b"a")
    broker.append("t", b"b", timestamp_ms=5)
    assert broker.records("t") == [StoredRecord(0, 17, None, b"a"), StoredRecord(1, 5, None, b"b")]


@given(st.lists(st.tuples(st.sampled_from(["append", "skip", "delete"]), st.integers(0, 6)), max_size=20))
def test_reading_in_any_steps_gives_what_the_log_holds(steps: list[tuple[str, int]]) -> None:
    log = PartitionLog()
    for step, number in steps:
        if step == "append":
            log.append(StoredRecord(log.end + number, 0, None, None))
        elif step == "skip":
            log.end += number
        else:
            log.delete(log.begin + number)
    for max_records in (1, 3):
        offset, found = log.begin, []
        while offset < log.end:
            records, next_offset = log.read(offset, max_records)
            assert next_offset > offset
            assert all(offset <= record.offset < next_offset for record in records)
            offset = next_offset
            found += records
        assert found == log.records
        assert offset == log.end


# Groups


def moves(before: Mapping[str, set[TopicPartition]], after: Mapping[str, set[TopicPartition]]) -> int:
    """Return how many partitions members who stayed had to give up."""
    return sum(len(before[name] - after[name]) for name in before.keys() & after.keys())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.sampled_from("abcde")),
            st.tuples(st.just("leave"), st.sampled_from("abcde")),
            st.tuples(st.just("grow"), st.just("")),
        ),
        max_size=25,
    )
)
def test_shares_are_fair_and_stay_where_they_can(steps: Sequence[tuple[str, str]]) -> None:
    group, partitions = ConsumerGroup(), [TopicPartition("t", 0)]
    for step, name in steps:
        before = {member: set(share) for member, share in group.shares.items()}
        if step == "join":
            group.join(name, ["t"])
        elif step == "leave":
            group.leave(name)
        else:
            partitions.append(TopicPartition("t", len(partitions)))
        group.share_out(partitions)
        sizes = [len(share) for share in group.shares.values()]
        if sizes:
            assert sorted(p for share in group.shares.values() for p in share) == partitions
            assert max(sizes) - min(sizes) <= 1
        joined = step == "join" and name not in before
        assert moves(before, group.shares) == (len(group.shares[name]) if joined and before else 0)


def test_nobody_takes_a_partition_before_its_owner_gave_it_up(broker: SimulatedBroker) -> None:
    broker.create_topic("t", partitions=2)
    first = read(broker)
    first.poll(0)
    second = read(broker)
    second.poll(0)
    assert second.owned == set()
    first.poll(0)
    second.poll(0)
    assert [first.owned, second.owned] == [{("t", 0)}, {("t", 1)}]


def test_one_who_was_thrown_out_notices_at_its_next_poll_only(broker: SimulatedBroker) -> None:
    broker.create_topic("t", partitions=2)
    first, second = read(broker), read(broker)
    for reader in (first, second, first, second):
        reader.poll(0)
    broker.expel(first.consumer)  # type: ignore[arg-type]
    second.poll(0)
    assert len(second.owned) == 2
    assert len(first.owned) == 1
    first.consumer.commit({TopicPartition("t", 0): 1})
    assert broker.committed("g") == {}, "the thrown-out cannot commit"
    first.poll(0)
    assert len(first.told("lost")) == 1
    for reader in (second, first):
        reader.poll(0)
    assert [len(first.owned), len(second.owned)] == [1, 1]


def test_groups_do_not_share_with_each_other(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    fill(broker, "t", 3)
    readers = [read(broker, "one"), read(broker, "two")]
    for reader in readers:
        reader.poll(0)
        assert reader.num_given == 3


def test_a_group_nobody_knows_is_empty(broker: SimulatedBroker) -> None:
    assert broker.committed("unknown") == {}
    assert broker.num_members("unknown") == 0


# Trouble


def test_nothing_moves_while_the_broker_is_away(broker: SimulatedBroker) -> None:
    broker.create_topic("t", partitions=2)
    reader = read(broker)
    reader.poll(0)
    broker.stop()
    broker.add_partitions("t", 3)
    fill(broker, "t", 3)
    assert reader.poll(0) == []
    assert len(reader.owned) == 2
    assert reader.consumer.num_partitions() == 2
    reader.consumer.commit({TopicPartition("t", 0): 1})
    assert broker.committed("g") == {}
    with pytest.raises(BrokerError, match="no broker answers at simulated:9092"):
        reader.consumer.bounds(TopicPartition("t", 0), 1.0)
    broker.start()
    reader.poll(0)
    assert reader.num_given == 3
    assert len(reader.owned) == 3


def test_a_refused_topic_can_be_neither_read_nor_written(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    broker.create_topic("open")
    reader, producer = read(broker), SimulatedProducer(broker)
    reader.poll(0)
    broker.refuse("t")
    with pytest.raises(BrokerError, match="does not let us use topic t"):
        reader.poll(0)
    with pytest.raises(BrokerError, match="does not let us use topic t"):
        producer.send("t", ProducedRecord(None, b""))
    producer.send("open", ProducedRecord(None, b""))
    assert producer.flush(0)
    assert [len(broker.records(topic)) for topic in ("t", "open")] == [0, 1]


def test_a_producer_that_closes_while_the_broker_is_away_loses_what_waits(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    producer = SimulatedProducer(broker)
    broker.stop()
    producer.send("t", ProducedRecord(None, b"lost"))
    producer.close(0)
    broker.start()
    assert producer.flush(0)
    assert broker.records("t") == []


def test_what_waited_behind_a_record_too_large_is_written(broker: SimulatedBroker) -> None:
    broker.create_topic("t", max_record_bytes=10)
    producer = SimulatedProducer(broker)
    broker.stop()
    for record in (
        ProducedRecord(b"key", b"1234567"),
        ProducedRecord(b"key", b"12345678"),
        ProducedRecord(None, b"1", [("name", b"123456")]),
        ProducedRecord(None, b"end"),
    ):
        producer.send("t", record)
    broker.start()
    for size in (11, 11):
        with pytest.raises(RecordTooLargeError, match=f"{size} bytes"):
            producer.flush(0)
    assert producer.flush(0)
    assert [record.value for record in broker.records("t")] == [b"1234567", b"end"]


# Threads


def test_a_waiting_poll_wakes_when_a_record_comes(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    reader, reading = read(broker), Event()
    reader.poll(0)

    def poll() -> None:
        reading.set()
        while not reader.num_given:
            reader.poll(60)

    thread = Thread(target=poll)
    thread.start()
    reading.wait(10)
    broker.append("t", b"a")
    thread.join(10)
    assert not thread.is_alive()
    assert reader.num_given == 1


def test_the_broker_is_free_while_a_rebalance_is_answered(broker: SimulatedBroker) -> None:
    broker.create_topic("t")
    written: list[int] = []

    class WritesElsewhere(Reader):
        def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
            thread = Thread(target=lambda: written.append(broker.append("t", b"meanwhile")))
            thread.start()
            thread.join(10)
            return super().assigned(partitions)

    reader = WritesElsewhere(SimulatedConsumer(broker, "g"), ["t"])
    reader.poll(0)
    assert written == [0]
    assert reader.num_given == 1


def test_several_threads_read_everything_once(broker: SimulatedBroker) -> None:
    broker.create_topic("t", partitions=6)
    progress: dict[TopicPartition, int] = {}
    readers = [read(broker, max_poll_records=7) for _ in range(3)]
    for reader in readers:
        reader.starts = reader.next = progress  # partitions go on where their last owner was
    done = Event()

    def poll(reader: Reader) -> None:
        while not done.is_set():
            reader.poll(0.01)

    threads = [Thread(target=poll, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for partition in range(6):
        fill(broker, "t", 200, partition)
    for _ in range(1_000):
        if sum(reader.num_given for reader in readers) == 1_200:
            break
        done.wait(0.01)
    done.set()
    for thread in threads:
        thread.join(10)
    for partition in (TopicPartition("t", number) for number in range(6)):
        offsets = [offset for reader in readers for offset in reader.offsets(partition)]
        assert sorted(offsets) == list(range(200))
