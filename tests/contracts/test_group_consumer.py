"""What every consumer promises: the simulated one, and those over each client library with a real broker."""

import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from stream.adapters.kafka import contact
from stream.adapters.kafka.client import (
    Bounds,
    BrokerError,
    OutOfRangeError,
    ProducedRecord,
    Start,
    TopicPartition,
)
from tests.contracts.clusters import Cluster, new_name
from tests.contracts.reader import Given, Reader, poll_until

CLOSE_S = 5.0
ANSWER_S = 20.0


class Opening:
    """Opens readers, and closes them in the end."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.readers: list[Reader] = []

    def __call__(
        self,
        *topics: str,
        group: str = "",
        instance: str | None = None,
        start: int | Start = Start.EARLIEST,
        starts: Mapping[TopicPartition, int | Start] | None = None,
    ) -> Reader:
        consumer = self.cluster.consumer(topics, group or new_name("group"), instance)
        try:
            self.readers.append(Reader(consumer, topics, start, starts))
        except BaseException:
            consumer.close(CLOSE_S)
            raise
        return self.readers[-1]


@pytest.fixture
def read(cluster: Cluster) -> Iterator[Opening]:
    opening = Opening(cluster)
    try:
        yield opening
    finally:
        for reader in opening.readers:
            reader.consumer.close(CLOSE_S)


def numbered(begin: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(begin, end)]


def write(cluster: Cluster, topic: str, values: Sequence[bytes | None], partition: int = 0) -> None:
    cluster.write(topic, [ProducedRecord(None, value) for value in values], partition)


def partitions_of(topic: str, number: int) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(number)]


# Reading


def test_all_records_of_all_topics_are_given_in_order(cluster: Cluster, read: Opening) -> None:
    topics = [cluster.create_topic(2), cluster.create_topic()]
    partitions = [*partitions_of(topics[0], 2), TopicPartition(topics[1], 0)]
    for topic, partition in partitions:
        write(cluster, topic, numbered(0, 1500), partition)
    reader = read(*topics)
    poll_until(lambda: reader.num_given > 1000, reader)
    for topic, partition in partitions:
        write(cluster, topic, numbered(1500, 2000), partition)
    poll_until(lambda: reader.num_given >= 6000, reader)
    for partition in partitions:
        assert reader.values(partition) == numbered(0, 2000)
        assert reader.offsets(partition) == list(range(2000))
    assert reader.poll() == []
    assert reader.consumer.num_partitions() == 3


def test_records_are_given_as_they_were_written(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    records = [
        ProducedRecord(b"key", b"value", [("header", b"x")], 1_700_000_000_123),
        ProducedRecord(None, b"", (), 0),
        ProducedRecord(b"", None, (), 1_700_000_000_122),
        ProducedRecord(b"\x00\xff", b"\xfe" * 1000, (), 1),
    ]
    cluster.write(topic, records)
    reader = read(topic)
    reader.poll_until_caught_up()
    expected = [Given(i, r.timestamp_ms or 0, r.key, r.value) for i, r in enumerate(records)]
    assert reader.given == {TopicPartition(topic, 0): expected}


def test_an_empty_topic_gives_nothing_and_does_not_hold_up(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    reader = read(topic)
    reader.poll_until_caught_up()
    began = time.monotonic()
    assert reader.poll(0.2) == []
    assert time.monotonic() - began < ANSWER_S


def test_records_of_aborted_transactions_are_not_given(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    cluster.write_transaction(topic, [b"a", b"b"], commit=False)
    cluster.write_transaction(topic, [b"c"], commit=True)
    write(cluster, topic, [b"d"])
    reader = read(topic)
    reader.poll_until_caught_up()
    # A broker writes the mark of a transaction's end when it gets to it: the next record may come before it.
    given = reader.given[TopicPartition(topic, 0)]
    assert [record.value for record in given] == [b"c", b"d"]
    assert 2 <= given[0].offset < given[1].offset


# Where to begin


def test_reading_begins_where_the_assignment_says(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(4)
    at = partitions_of(topic, 4)
    for partition in at:
        write(cluster, topic, numbered(0, 20), partition.partition)
    cluster.delete_records(topic, 1, 3)
    reader = read(topic, starts={at[0]: 7, at[1]: Start.EARLIEST, at[2]: Start.LATEST, at[3]: 20})
    reader.poll_until_caught_up()
    for partition in at:
        write(cluster, topic, numbered(20, 25), partition.partition)
    poll_until(lambda: reader.num_given >= 18 + 22 + 5 + 5, reader)
    assert [reader.offsets(p) for p in at] == [list(range(begin, 25)) for begin in (7, 3, 20, 20)]


def test_nothing_is_read_before_the_assignment_is_answered(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    write(cluster, topic, numbered(0, 50))
    reader = read(topic, start=40)
    reader.answer_s = 1.0
    poll_until(lambda: reader.num_given == 10, reader)
    assert reader.offsets(TopicPartition(topic, 0)) == list(range(40, 50))


def test_committed_offsets_do_not_matter(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(), new_name("group")
    partition = TopicPartition(topic, 0)
    write(cluster, topic, numbered(0, 10))
    first = read(topic, group=group)
    first.poll_until_caught_up()
    first.consumer.commit({partition: 8}, ANSWER_S)
    first.consumer.close(CLOSE_S)
    second = read(topic, group=group, start=3)
    second.poll_until_caught_up()
    assert second.offsets(partition) == list(range(3, 10))


def test_a_seek_takes_effect_with_the_next_poll(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(2)
    sought, other = partitions_of(topic, 2)
    for partition in (sought, other):
        write(cluster, topic, numbered(0, 3000), partition.partition)
    reader = read(topic)
    poll_until(lambda: reader.given[sought], reader)
    for offset in (2_500, 7):  # forth and back, in what was fetched already and outside of it
        reader.seek(sought, offset)
        reader.given[sought].clear()
        assert not (reader.consumer.has_caught_up() and reader.next[sought] < 3000)
        poll_until(lambda: reader.given[sought], reader)
        assert reader.offsets(sought)[0] == offset
    reader.poll_until_caught_up()
    assert reader.offsets(sought) == list(range(7, 3000))
    assert reader.offsets(other) == list(range(3000))


def test_offsets_that_retention_deleted_are_out_of_range_once(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(2)
    deleted, whole = partitions_of(topic, 2)
    for partition in (deleted, whole):
        write(cluster, topic, numbered(0, 20), partition.partition)
    cluster.delete_records(topic, 0, 15)
    reader = read(topic, start=5)
    with pytest.raises(OutOfRangeError, match="has no offset 5") as caught:
        poll_until(lambda: False, reader)
    assert (caught.value.partition, caught.value.offset) == (deleted, 5)
    poll_until(lambda: len(reader.given[whole]) == 15, reader)
    for _ in range(5):
        assert reader.poll() == []
    assert not reader.consumer.has_caught_up()
    assert reader.consumer.bounds(deleted, ANSWER_S) == Bounds(15, 20)
    reader.seek(deleted, 15)
    reader.poll_until_caught_up()
    assert reader.offsets(deleted) == list(range(15, 20))
    assert reader.offsets(whole) == list(range(5, 20))


def test_offsets_beyond_the_end_are_out_of_range_once(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    partition = TopicPartition(topic, 0)
    write(cluster, topic, numbered(0, 5))
    reader = read(topic, start=99)
    for offset in (99, 77):
        with pytest.raises(OutOfRangeError) as caught:
            poll_until(lambda: False, reader)
        assert (caught.value.partition, caught.value.offset) == (partition, offset)
        assert reader.poll() == []
        reader.seek(partition, 77)
    reader.seek(partition, 4)
    reader.poll_until_caught_up()
    assert reader.offsets(partition) == [4]


def test_a_seek_holds_even_if_what_was_sought_before_was_out_of_range(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    partition = TopicPartition(topic, 0)
    write(cluster, topic, numbered(0, 5))
    reader = read(topic)
    reader.poll_until_caught_up()
    for pause_s in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
        reader.seek(partition, 77)
        time.sleep(pause_s)
        reader.seek(partition, 4)
        reader.given[partition].clear()
        reader.poll_until_caught_up()
        assert reader.offsets(partition) == [4]


# Pausing


def test_a_paused_consumer_gives_nothing_and_then_goes_on_where_it_was(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(2), new_name("group")
    for partition in partitions_of(topic, 2):
        write(cluster, topic, numbered(0, 3000), partition.partition)
    reader = read(topic, group=group)
    poll_until(lambda: reader.num_given, reader)
    for _ in range(3):
        reader.consumer.pause()
        for _ in range(3):
            assert reader.poll() == []
        write(cluster, topic, numbered(3000, 3001))
        reader.consumer.resume()
        reader.poll()
    assert cluster.num_members(group) == 1
    reader.poll_until_caught_up()
    assert reader.values(TopicPartition(topic, 0)) == [*numbered(0, 3000), *[b"3000"] * 3]
    assert reader.values(TopicPartition(topic, 1)) == numbered(0, 3000)
    assert [call for call, _ in reader.calls] == ["assigned"]


def test_what_is_assigned_to_a_paused_consumer_is_paused(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    write(cluster, topic, numbered(0, 10))
    reader = read(topic)
    reader.consumer.pause()
    poll_until(lambda: reader.owned, reader)
    for _ in range(5):
        assert reader.poll() == []
    assert not reader.consumer.has_caught_up()
    reader.consumer.resume()
    reader.poll_until_caught_up()
    assert reader.num_given == 10


def test_a_seek_while_paused_is_honoured_after(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    write(cluster, topic, numbered(0, 10))
    reader = read(topic)
    reader.poll_until_caught_up()
    reader.consumer.pause()
    reader.seek(TopicPartition(topic, 0), 6)
    assert reader.poll() == []
    reader.consumer.resume()
    poll_until(lambda: reader.num_given == 14, reader)
    assert reader.offsets(TopicPartition(topic, 0))[10:] == [6, 7, 8, 9]


# What a topic holds


def test_bounds_are_what_a_partition_holds_now(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(2)
    filled, empty = partitions_of(topic, 2)
    write(cluster, topic, numbered(0, 20))
    reader = read(topic)
    reader.poll_until_caught_up()
    assert reader.consumer.bounds(filled, ANSWER_S) == Bounds(0, 20)
    assert reader.consumer.bounds(empty, ANSWER_S) == Bounds(0, 0)
    cluster.delete_records(topic, 0, 12)
    write(cluster, topic, numbered(20, 21))
    assert reader.consumer.bounds(filled, ANSWER_S) == Bounds(12, 21)


def test_the_end_is_known_once_a_partition_is_read(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(2)
    first, second = partitions_of(topic, 2)
    write(cluster, topic, numbered(0, 20))
    write(cluster, topic, numbered(0, 3), partition=1)
    reader = read(topic, starts={first: 20})
    assert reader.consumer.ends() == {}
    reader.poll_until_caught_up()
    assert reader.consumer.ends() == {first: 20, second: 3}
    write(cluster, topic, numbered(20, 30))
    poll_until(lambda: reader.num_given == 13, reader)
    assert reader.consumer.ends() == {first: 30, second: 3}


def test_a_consumer_has_caught_up_when_everything_was_given(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic(2)
    write(cluster, topic, numbered(0, 10))
    reader = read(topic)
    assert not reader.consumer.has_caught_up()
    while not reader.consumer.has_caught_up():
        reader.poll()
    assert reader.num_given == 10
    reader.poll_until_caught_up()
    assert reader.num_given == 10


@pytest.mark.parametrize("commit", [True, False])
def test_a_marker_at_the_end_of_a_topic_holds_nobody_up(cluster: Cluster, read: Opening, commit: bool) -> None:
    topic = cluster.create_topic()
    cluster.write_transaction(topic, [b"a", b"b"], commit=commit)
    reader = read(topic)
    reader.poll_until_caught_up()
    assert reader.values(TopicPartition(topic, 0)) == ([b"a", b"b"] if commit else [])
    assert reader.consumer.ends() == {TopicPartition(topic, 0): 3}


# The group


def test_a_second_member_gets_its_part_and_gives_it_back(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(4), new_name("group")
    all_four = set(partitions_of(topic, 4))
    progress: dict[TopicPartition, int] = {}  # what both go by, as if in one checkpoint

    def write_more(begin: int) -> None:
        for partition in all_four:
            write(cluster, topic, numbered(begin, begin + 100), partition.partition)

    write_more(0)
    first = read(topic, group=group, starts=progress)
    first.next = progress
    poll_until(lambda: first.num_given == 400, first)
    first.answer_s = 0.5
    second = read(topic, group=group, starts=progress)
    second.next = progress
    poll_until(lambda: len(second.owned) == 2, first, second)
    assert len(first.told("assigned")) == 4, "what stays is not assigned again"
    assert len(first.told("revoked")) == 2
    assert first.owned | second.owned == all_four
    assert set(first.told("revoked")) == second.owned
    write_more(100)
    poll_until(lambda: first.num_given + second.num_given == 800, first, second)
    assert second.num_given == 200
    second.consumer.close(CLOSE_S)
    assert [call for call, _ in second.calls] == ["assigned"]  # closing is no news to who closes
    write_more(200)
    poll_until(lambda: first.num_given == 1000, first)
    assert first.owned == all_four
    for partition in all_four:
        given = first.values(partition) + second.values(partition)
        assert sorted(given, key=lambda value: int(value or b"")) == numbered(0, 300)
    assert first.told("lost") == second.told("lost") == []


def test_a_member_thrown_out_hears_what_it_lost_and_joins_again(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(2), new_name("group")
    both = partitions_of(topic, 2)
    write(cluster, topic, numbered(0, 10))
    reader = read(topic, group=group)
    reader.poll_until_caught_up()
    cluster.expel(group)
    reader.starts = {both[0]: 7}
    poll_until(lambda: reader.num_given == 13, reader)
    assert reader.offsets(both[0]) == [*range(10), 7, 8, 9]
    assert reader.told("lost") == both
    assert reader.told("revoked") == []
    assert reader.told("assigned") == both * 2


def test_partitions_added_to_a_topic_are_assigned(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    reader = read(topic)
    poll_until(lambda: reader.owned, reader)
    assert reader.consumer.num_partitions() == 1
    cluster.add_partitions(topic, 3)
    write(cluster, topic, [b"new"], partition=2)
    poll_until(lambda: reader.num_given, reader)
    assert reader.owned == set(partitions_of(topic, 3))
    assert reader.consumer.num_partitions() == 3
    assert reader.told("revoked") == []


def test_a_member_started_again_takes_its_own_place_at_once(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(2), new_name("group")
    first = read(topic, group=group, instance="me")
    first.poll_until_caught_up()
    second = read(topic, group=group, instance="me")
    began = time.monotonic()
    poll_until(lambda: len(second.owned) == 2, second)
    assert time.monotonic() - began < 5, "less than the session time-out"
    assert cluster.num_members(group) == 1
    with pytest.raises(BrokerError, match=r"\bme\b"):
        poll_until(lambda: False, first)
    first.consumer.close(CLOSE_S)
    poll_until(lambda: cluster.num_members(group) == 1 and len(second.owned) == 2, second)


@pytest.mark.parametrize("instance", [None, "me"])
def test_closing_leaves_the_group(cluster: Cluster, read: Opening, instance: str | None) -> None:
    topic, group = cluster.create_topic(), new_name("group")
    reader = read(topic, group=group, instance=instance)
    poll_until(lambda: reader.owned, reader)
    assert cluster.num_members(group) == 1
    reader.consumer.close(CLOSE_S)
    assert cluster.num_members(group) == 0
    reader.consumer.close(CLOSE_S)


# Commits


def test_committed_offsets_are_seen_by_others(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(2), new_name("group")
    first, second = partitions_of(topic, 2)
    reader = read(topic, group=group)
    reader.poll_until_caught_up()
    reader.consumer.commit({first: 3, second: 4}, ANSWER_S)
    assert cluster.committed(group) == {first: 3, second: 4}
    reader.consumer.commit({first: 5})
    poll_until(lambda: cluster.committed(group)[first] == 5, reader)
    assert cluster.committed(group) == {first: 5, second: 4}


def test_reading_alone_commits_nothing(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(), new_name("group")
    write(cluster, topic, numbered(0, 10))
    reader = read(topic, group=group)
    reader.poll_until_caught_up()
    reader.consumer.close(CLOSE_S)
    assert cluster.committed(group) == {}


# Trouble


def test_a_topic_that_does_not_exist_is_named(cluster: Cluster, read: Opening) -> None:
    topic, missing = cluster.create_topic(), new_name("missing")
    with pytest.raises(BrokerError, match=missing) as caught:
        read(topic, missing)
    assert "\n" not in str(caught.value)


def test_a_broker_that_is_not_there_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "FIRST_CONTACT_S", 1.0)
    with cluster.no_broker() as nowhere, pytest.raises(BrokerError, match=nowhere.address) as caught:
        Opening(nowhere)("clicks")
    assert "\n" not in str(caught.value)


def test_a_broker_that_hangs_is_waited_for(cluster: Cluster, read: Opening) -> None:
    topic = cluster.create_topic()
    write(cluster, topic, numbered(0, 10))
    reader, leaver = read(topic), read(topic)
    partition = TopicPartition(topic, 0)
    for each in (reader, leaver):
        each.poll_until_caught_up()
    cluster.pause()
    try:
        assert reader.poll() == []
        reader.consumer.commit({partition: 3}, 0.2)
        reader.consumer.commit({partition: 3})
        with pytest.raises(BrokerError, match=cluster.address):
            reader.consumer.bounds(partition, 0.2)
        began = time.monotonic()
        leaver.consumer.close(0.5)
        assert time.monotonic() - began < CLOSE_S
        assert reader.poll() == []
    finally:
        cluster.resume()
    write(cluster, topic, numbered(10, 20))
    poll_until(lambda: reader.num_given == 20, reader)
    assert reader.values(partition) == numbered(0, 20)


def test_a_broker_that_is_gone_is_waited_for_by_readers_and_writers(cluster: Cluster, read: Opening) -> None:
    topic, group = cluster.create_topic(), new_name("group")
    partition = TopicPartition(topic, 0)
    reader, producer = read(topic, group=group), cluster.producer()

    def send(begin: int, end: int) -> None:
        for value in numbered(begin, end):
            producer.send(topic, ProducedRecord(None, value))

    send(0, 10)
    assert producer.flush(ANSWER_S)
    poll_until(lambda: reader.num_given == 10, reader)
    cluster.stop()
    try:
        send(10, 20)
        assert not producer.flush(0.5)
        for _ in range(10):
            assert reader.poll() == []
        assert reader.owned == {partition}
    finally:
        cluster.start()
    reader.starts = reader.next
    assert producer.flush(ANSWER_S)
    producer.close(CLOSE_S)
    poll_until(lambda: reader.num_given == 20, reader)
    assert reader.values(partition) == numbered(0, 20)
    poll_until(lambda: cluster.num_members(group) == 1, reader)
