"""Whatever happens to the group, the broker and the loop: every record is given once, in the order of its partition."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.broker import SimulatedBroker, SimulatedConsumer
from stream.adapters.kafka import reader, source
from stream.adapters.kafka.client import Bounds, BrokerError, Chunk, TopicPartition
from stream.adapters.kafka.reader import Numbering
from stream.adapters.kafka.records import RecordDecoder
from stream.adapters.kafka.source import KafkaSource
from stream.core.event import Gap, Poll
from stream.core.stats import PartitionStatus
from stream.ports import Position
from stream.service_settings import Kafka, Schema
from tests.contracts.reader import Reader

quick = settings(derandomize=True, deadline=None, max_examples=40)
PATIENCE_S = 60
"""The first decoder on a machine has to be compiled."""
KAFKA = Kafka(bootstrap_servers=("simulated:9092",), topics=("clicks",), group="model")
BAD = b"no json"
Given = dict[int, list[tuple[int, bytes | None]]]
"""Offsets and values by the number of the partition."""


@pytest.fixture(autouse=True, scope="module")
def _haste() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_POLL_S", 0.005)
        patch.setattr(reader, "_KEEP_ALIVE_S", 0.005)
        patch.setattr(source, "_WAIT_S", 0.005)
        yield


def under(**changes: Any) -> Kafka:
    return msgspec.structs.replace(KAFKA, **changes)


def click(number: int) -> bytes:
    return msgspec.json.encode({"user": f"u{number}", "item": "i", "timestamp": 1_700_000_000 + number})


def a_broker(*counts: int, topic: str = "clicks") -> SimulatedBroker:
    """Return a broker with a topic whose partitions hold so many records."""
    broker = SimulatedBroker()
    broker.create_topic(topic, partitions=len(counts))
    for partition, num in enumerate(counts):
        write(broker, partition, num, topic)
    return broker


def write(broker: SimulatedBroker, partition: int, num: int, topic: str = "clicks") -> None:
    for _ in range(num):
        end = broker.bounds(TopicPartition(topic, partition)).end
        broker.append(topic, click(end), partition=partition, timestamp_ms=-1)


def all_of(broker: SimulatedBroker, kafka: Kafka = KAFKA, begin: Mapping[int, int] | None = None) -> Given:
    """Return what a source has to give of all that a broker holds."""
    held: Given = {}
    for t, topic in enumerate(kafka.topics):
        for p in range(broker.num_partitions([topic])):
            number = p * len(kafka.topics) + t
            first = (begin or {}).get(number, 0)
            records = [(record.offset, record.value) for record in broker.records(topic, p) if record.offset >= first]
            held |= {number: records} if records else {}
    return held


class Loop:
    """Takes what a source gives, and saves where that is asked for, if it ``saves``."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source
        self.saves = True
        self.position: Position = {}
        self.given: Given = defaultdict(list)
        self.gaps: list[Gap] = []
        self.num_to_be_saved = 0
        self.is_at_end = False

    @property
    def num_given(self) -> int:
        return sum(map(len, self.given.values()))

    def lag(self) -> int:
        return sum(partition.lag for partition in self.source.partitions(self.position))

    def poll(self) -> Poll | None:
        poll = self.source.poll()
        if poll is None:
            self.is_at_end = True
            return None
        for gap in poll.gaps:
            assert self.position.get(gap.partition, gap.begin) == gap.begin <= gap.end
            self.position[gap.partition] = gap.end
            self.gaps.append(gap)
        events = poll.events
        found = [(r.partition, r.offset, r.origin) for r in poll.rejections]
        ordinals = zip(events.partition.tolist(), events.offset.tolist(), events.number.tolist(), strict=True)
        found += [(p, offset, self.source.origin(p, number)) for p, offset, number in ordinals]
        for partition, offset, origin in sorted(found, key=lambda each: each[:2]):
            assert offset >= self.position.get(partition, 0), f"{origin.place} was given before"
            assert origin.record is not None
            self.given[partition].append((offset, origin.record.value))
            self.position[partition] = offset + 1
        if poll.is_to_be_saved:
            self.num_to_be_saved += 1
            if self.saves:
                self.save()
        return poll

    def save(self) -> None:
        self.source.commit(dict(self.position))

    def until(self, condition: Callable[[], object], *others: Reader) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, (dict(self.given), self.position)
            self.poll()
            for other in others:
                other.poll(0)

    def for_a_moment(self, *others: Reader) -> None:
        """Poll long enough for something to happen, if it should."""
        end = time.monotonic() + 0.15
        self.until(lambda: time.monotonic() > end, *others)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def reading(
    broker: SimulatedBroker,
    kafka: Any = KAFKA,
    position: Position | None = None,
    *,
    client: SimulatedConsumer | None = None,
    decoder: RecordDecoder | None = None,
    max_poll_records: int = 500,
    stop_at_end: bool = False,
) -> Iterator[Loop]:
    client = client or SimulatedConsumer(broker, kafka.group, max_poll_records=max_poll_records)
    decoder = decoder or RecordDecoder(Schema(), kafka.max_record_bytes)
    with closing(KafkaSource(client, decoder, kafka, stop_at_end=stop_at_end)) as source:
        loop = Loop(source)
        if position is not None:
            source.seek(position)
            loop.position = dict(position)
        yield loop
    assert not any(thread.name == "kafka" for thread in threading.enumerate())


@contextmanager
def another(broker: SimulatedBroker, *topics: str) -> Iterator[Reader]:
    """Return another member of the group."""
    consumer = SimulatedConsumer(broker, KAFKA.group)
    yield Reader(consumer, topics or KAFKA.topics)
    consumer.close(0)


@contextmanager
def sharing(broker: SimulatedBroker, kafka: Kafka = KAFKA, **options: Any) -> Iterator[tuple[Loop, Reader]]:
    """Return a loop that owned everything, and another member that has just joined."""
    with reading(broker, kafka, **options) as loop:
        loop.until(lambda: len(loop.position) == broker.num_partitions(kafka.topics))
        with another(broker) as other:
            yield loop, other


def share(other: Reader) -> set[int]:
    return {partition.partition for partition in other.owned}


# Everything once and in order

contents = st.lists(
    st.lists(st.sampled_from(["good", "good", "bad", "none", "skip"]), max_size=12), min_size=1, max_size=3
)


def filled(broker: SimulatedBroker, topic: str, partitions: list[list[str]]) -> None:
    broker.create_topic(topic, partitions=len(partitions))
    for partition, kinds in enumerate(partitions):
        for number, kind in enumerate(kinds):
            if kind == "skip":
                broker.skip(topic, partition)
            else:
                value = {"good": click(number), "bad": BAD, "none": None}[kind]
                broker.append(topic, value, partition=partition, timestamp_ms=-1)


@quick
@given(topics=st.lists(contents, min_size=1, max_size=2), max_poll_records=st.integers(1, 9))
def test_every_record_is_given_once_and_in_order(topics: list[list[list[str]]], max_poll_records: int) -> None:
    broker, kafka = SimulatedBroker(), under(topics=tuple(f"topic{t}" for t in range(len(topics))))
    for name, partitions in zip(kafka.topics, topics, strict=True):
        filled(broker, name, partitions)
    with reading(broker, kafka, max_poll_records=max_poll_records, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.given == all_of(broker, kafka)


@quick
@given(partitions=contents, data=st.data())
def test_reading_goes_on_from_any_position(partitions: list[list[str]], data: st.DataObject) -> None:
    broker = SimulatedBroker()
    filled(broker, "clicks", partitions)
    begin = {p: data.draw(st.integers(0, len(kinds))) for p, kinds in enumerate(partitions) if data.draw(st.booleans())}
    with reading(broker, position=begin, max_poll_records=3, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.given == all_of(broker, begin=begin)


actions = st.sampled_from(["write", "write", "poll", "poll", "save", "join", "leave", "expel", "add", "outage"])


@settings(quick, max_examples=80)
@given(steps=st.lists(st.tuples(actions, st.integers(0, 9)), max_size=25), max_poll_records=st.integers(1, 5))
def test_whatever_happens_every_record_is_given_once_and_in_order(
    steps: list[tuple[str, int]], max_poll_records: int
) -> None:
    broker = a_broker(3, 1, 2)
    client = SimulatedConsumer(broker, KAFKA.group, max_poll_records=max_poll_records)
    others: list[Reader] = []
    with reading(broker, client=client) as loop:
        loop.poll()
        for action, number in steps:
            partitions = broker.num_partitions(["clicks"])
            if action == "write":
                write(broker, number % partitions, 1 + number // 3)
            elif action == "save":
                loop.save()
            elif action == "join" and len(others) < 2:
                others.append(Reader(SimulatedConsumer(broker, KAFKA.group), KAFKA.topics))
            elif action == "leave" and others:
                others.pop(number % len(others)).consumer.close(0)
            elif action == "expel" and broker.num_members(KAFKA.group) == 1 + len(others):
                broker.expel(client)
            elif action == "add" and partitions < 6:
                broker.add_partitions("clicks", partitions + 1)
            elif action == "outage":
                broker.stop()
                loop.poll()
                broker.start()
            loop.poll()
            for other in others:
                other.poll(0)
        for other in others:
            other.consumer.close(0)
        loop.until(lambda: loop.given == all_of(broker))


def test_records_that_come_later_are_given_too() -> None:
    broker = a_broker(1)
    with reading(broker) as loop:
        for num in (1, 4, 2):
            loop.until(lambda: loop.given == all_of(broker))
            write(broker, 0, num)
        loop.until(lambda: loop.given == all_of(broker))
        assert loop.poll() is not None
        assert loop.num_given == 8


def test_an_outage_of_the_broker_is_waited_for_without_a_word() -> None:
    broker = a_broker(5)
    with reading(broker, max_poll_records=2) as loop:
        loop.until(lambda: loop.num_given == 5)
        broker.stop()
        write(broker, 0, 3)
        loop.for_a_moment()
        assert loop.num_given == 5
        broker.start()
        loop.until(lambda: loop.given == all_of(broker))


def test_what_the_broker_has_as_committed_does_not_matter() -> None:
    broker = a_broker(9)
    with another(broker) as other:
        other.poll(0)
        other.consumer.commit({TopicPartition("clicks", 0): 7})
    for position, begin in (({0: 4}, 4), ({}, 0)):
        with reading(broker, position=position) as loop:
            loop.until(lambda: loop.position == {0: 9})
            assert loop.given == all_of(broker, begin={0: begin})
    # It is put right, to where the model began: a life before may have been killed between saving and committing.
    assert broker.committed("model") == {TopicPartition("clicks", 0): 4}


def test_the_end_comes_once_all_that_the_topics_hold_is_given() -> None:
    broker = a_broker(0, 0)
    with reading(broker, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.num_given == 0
    write(broker, 1, 2)
    broker.skip("clicks", 1)
    with reading(broker, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.given == all_of(broker)


def test_a_source_says_what_it_is() -> None:
    with reading(a_broker(0), under(topics=("views", "clicks"))) as loop:
        assert loop.source.name == "kafka:views,clicks"
        assert loop.source.num_records is None


@given(partition=st.integers(0, 10**6), topic=st.integers(0, 4), num_topics=st.integers(1, 5))
def test_numbers_of_partitions_are_unique_and_lead_back(partition: int, topic: int, num_topics: int) -> None:
    numbering = Numbering(tuple(f"topic{t}" for t in range(num_topics)))
    named = TopicPartition(f"topic{topic % num_topics}", partition)
    assert numbering.partition_of(numbering.number_of(named)) == named
    assert num_topics > 1 or numbering.number_of(named) == partition


# Where it begins


def test_latest_gives_only_what_comes_after_the_start() -> None:
    broker = a_broker(3, 2)
    with reading(broker, under(start="latest")) as loop:
        loop.until(lambda: len(loop.gaps) == 2)
        write(broker, 0, 2)
        loop.until(lambda: loop.num_given == 2)
        assert loop.given == all_of(broker, begin={0: 3, 1: 2})
        assert sorted(loop.gaps) == [Gap(0, 3, 3), Gap(1, 2, 2)]


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_where_it_began_is_known_before_any_record_arrives(start: str) -> None:
    broker = a_broker(3, 2)
    broker.delete_records("clicks", 0, before=3)
    with reading(broker, under(start=start), max_poll_records=1) as loop:
        loop.until(lambda: loop.position.keys() == {0, 1})
        position = dict(loop.position)
    write(broker, 0, 2)
    write(broker, 1, 1)
    with reading(broker, under(start=start), position, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.given == all_of(broker, begin=position)
        assert position[0] == 3


def test_records_that_come_while_latest_is_found_out_are_not_passed_over() -> None:
    class Busy(SimulatedConsumer):
        """Each call comes after another record was written."""

        def poll(self, timeout_s: float) -> list[Chunk]:
            chunks = super().poll(0)
            if not chunks and broker.bounds(PARTITION).end < 8:
                write(broker, 0, 1)
                chunks = super().poll(timeout_s)
            return chunks

        def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
            write(broker, 0, 1)
            return super().bounds(partition, timeout_s)

    broker = a_broker(5)
    with reading(broker, under(start="latest"), client=Busy(broker, "model")) as loop:
        loop.until(lambda: loop.position == {0: 8})
        first, *_ = (offset for offset, _ in loop.given[0])
        assert loop.given == all_of(broker, begin={0: first})


PARTITION = TopicPartition("clicks", 0)


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_partitions_that_are_added_are_read_from_their_first_record(start: str) -> None:
    broker = a_broker(2)
    with reading(broker, under(start=start)) as loop:
        loop.until(lambda: 0 in loop.position)
        with broker.changed:
            broker.add_partitions("clicks", 3)
            write(broker, 2, 4)
        loop.until(lambda: len(loop.given[2]) == 4)
        assert loop.given[2] == all_of(broker)[2]


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_a_partition_that_the_position_does_not_name_is_read_from_its_first_record(start: str) -> None:
    broker = a_broker(3, 3)
    with reading(broker, under(start=start), {0: 2}, stop_at_end=True) as loop:
        loop.until(lambda: loop.is_at_end)
        assert loop.given == all_of(broker, begin={0: 2})


# What is gone


def test_records_deleted_before_they_were_read_stop_it() -> None:
    broker = a_broker(9)
    broker.delete_records("clicks", 0, before=5)
    with reading(broker, position={0: 2}) as loop:
        told = r'^records 2 to 4 of clicks-0 were deleted before .*; set kafka.on_gap = "earliest" .*retention$'
        for _ in range(2):
            with pytest.raises(BrokerError, match=told):
                loop.until(lambda: loop.num_given)


def test_records_deleted_before_they_were_read_are_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(9, 2)
    broker.delete_records("clicks", 0, before=5)
    with caplog.at_level(logging.WARNING), reading(broker, under(on_gap="earliest"), {0: 2, 1: 1}) as loop:
        loop.until(lambda: loop.position == {0: 9, 1: 2})
        assert loop.gaps == [Gap(0, 2, 5)]
        assert loop.given == all_of(broker, begin={1: 1})
    assert caplog.messages == ["records 2 to 4 of clicks-0 were deleted before they were learnt; going on at 5"]


def test_a_gap_comes_between_what_was_before_and_after_it() -> None:
    broker = a_broker(40)
    with reading(broker, under(on_gap="earliest"), max_poll_records=1) as loop:
        loop.until(lambda: loop.num_given)
        # Whatever the reader holds by now, it is far from the end.
        before = dict(all_of(broker))
        broker.delete_records("clicks", 0, before=30)
        loop.until(lambda: loop.position == {0: 40})
        (gap,) = (gap for gap in loop.gaps if gap.begin < gap.end)
        assert gap.end == 30
        assert loop.given[0] == [record for record in before[0] if not gap.begin <= record[0] < gap.end]


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_where_it_goes_on_is_remembered_when_a_partition_comes_back_before_any_record(start: str) -> None:
    broker = a_broker(6, 3)
    broker.delete_records("clicks", 0, before=6)
    client = SimulatedConsumer(broker, "model")
    with reading(broker, under(on_gap="earliest", start=start), client=client) as loop:
        loop.until(lambda: len(loop.position) == 2)
        position = dict(loop.position)
        broker.expel(client)
        loop.for_a_moment()
        write(broker, 0, 1)
        write(broker, 1, 1)
        loop.until(lambda: loop.position == {0: 7, 1: 4})
        assert all(gap.begin == gap.end for gap in loop.gaps)
        assert start == "earliest" or loop.given == all_of(broker, begin=position)


def test_a_partition_of_which_everything_is_gone_goes_on_with_what_comes() -> None:
    broker = a_broker(6)
    broker.delete_records("clicks", 0, before=6)
    with reading(broker, under(on_gap="earliest"), {0: 1}) as loop:
        loop.until(lambda: loop.gaps == [Gap(0, 1, 6)])
        write(broker, 0, 1)
        loop.until(lambda: loop.given == all_of(broker))


@pytest.mark.parametrize("on_gap", ["stop", "earliest"])
def test_a_topic_made_anew_is_not_mistaken_for_the_old_one(on_gap: str) -> None:
    with reading(a_broker(3), under(on_gap=on_gap), {0: 50}) as loop:
        told = "^clicks-0 ends at offset 3, but this model has learnt up to 50: the topic was made anew"
        with pytest.raises(BrokerError, match=told):
            loop.until(lambda: loop.num_given)


class Deaf(SimulatedConsumer):
    """Gets bounds only when it has asked for them three times in vain."""

    num_asked = 0

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
        self.num_asked += 1
        if self.num_asked < 4:
            raise BrokerError("no answer")
        return super().bounds(partition, timeout_s)


def test_the_end_does_not_come_while_a_question_is_open() -> None:
    broker = a_broker(3)
    client = Deaf(broker, "model")
    with reading(broker, position={0: 50}, client=client, stop_at_end=True) as loop:
        with pytest.raises(BrokerError, match="made anew"):
            loop.until(lambda: loop.is_at_end)
        assert client.num_asked == 4


def test_bounds_that_do_not_come_are_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(9)
    broker.delete_records("clicks", 0, before=5)
    with reading(broker, under(on_gap="earliest"), {0: 2}, client=Deaf(broker, "model")) as loop:
        loop.until(lambda: loop.given == all_of(broker))
        assert loop.gaps == [Gap(0, 2, 5)]
    assert [m for m in caplog.messages if "asking" in m] == ["no answer, asking again"] * 3


# A loop that is slow


class Counting(SimulatedConsumer):
    """Counts what it is asked for, and what it gives."""

    num_polls = num_records = 0

    def poll(self, timeout_s: float) -> list[Chunk]:
        self.num_polls += 1
        chunks = super().poll(timeout_s)
        self.num_records += sum(len(chunk.offset) for chunk in chunks)
        return chunks


def test_nothing_grows_and_the_membership_is_kept_while_the_loop_is_busy() -> None:
    broker = a_broker(100, 100)
    client = Counting(broker, "model", max_poll_records=5)
    with reading(broker, client=client) as loop:
        loop.poll()
        wait_until(lambda: loop.source._reader and loop.source._reader.polls.full())
        loop.lag()
        time.sleep(0.1)
        before, polled = client.num_records, client.num_polls
        assert before <= 5 * (reader._READ_AHEAD + 3)
        wait_until(lambda: client.num_polls > polled + 5)
        assert client.num_records == before
        assert broker.num_members("model") == 1
        loop.until(lambda: loop.given == all_of(broker))


def test_a_rebalance_while_the_loop_is_busy_loses_nothing() -> None:
    broker = a_broker(60, 60)
    with reading(broker, max_poll_records=5) as loop:
        loop.until(lambda: loop.num_given)
        wait_until(lambda: loop.source._reader and loop.source._reader.polls.full())
        with another(broker) as other:
            other.poll(0)
            loop.until(lambda: share(other), other)
            assert loop.num_to_be_saved == 1
        loop.until(lambda: loop.given == all_of(broker))


# Partitions that change hands


def test_a_partition_is_given_up_once_what_was_read_of_it_is_saved() -> None:
    broker = a_broker(4, 4)
    with sharing(broker) as (loop, other):
        loop.until(lambda: loop.num_given == 8)
        loop.saves = False
        loop.until(lambda: loop.num_to_be_saved, other)
        loop.for_a_moment(other)
        loop.source.commit({0: 4, 1: 3})
        loop.for_a_moment(other)
        assert share(other) == set()
        loop.save()
        loop.until(lambda: share(other) == {1}, other)
        assert broker.committed("model")[TopicPartition("clicks", 1)] == 4


def test_dead_letters_given_before_are_to_be_saved_too() -> None:
    broker = a_broker(0, 3)
    for _ in range(4):
        broker.append("clicks", BAD)
    with sharing(broker) as (loop, other):
        loop.until(lambda: loop.num_given == 7)
        loop.saves = False
        loop.until(lambda: loop.num_to_be_saved, other)
        loop.source.commit({0: 3, 1: 3})
        loop.for_a_moment(other)
        assert share(other) == set()
        loop.save()
        loop.until(lambda: share(other), other)


def test_all_that_was_given_before_is_to_be_saved() -> None:
    broker = a_broker(30, 30)
    with sharing(broker, max_poll_records=3) as (loop, other):
        loop.until(lambda: loop.num_to_be_saved, other)
        position = dict(loop.position)
        loop.until(lambda: share(other) == {1}, other)
        write(broker, 1, 5)
        loop.until(lambda: loop.position[0] == 30, other)
        assert loop.position[1] == position[1]
        assert broker.committed("model") == {TopicPartition("clicks", p): n for p, n in position.items()}


def test_a_partition_that_comes_back_goes_on_where_it_was_left() -> None:
    broker = a_broker(3, 3)
    with reading(broker) as loop:
        loop.until(lambda: loop.num_given == 6)
        with another(broker) as other:
            loop.until(lambda: share(other) == {1}, other)
            write(broker, 1, 4)
            loop.until(lambda: other.num_given == 7, other)
            other.consumer.commit({TopicPartition("clicks", 1): 7})
        loop.until(lambda: loop.given == all_of(broker))


def test_after_the_drain_time_a_partition_is_given_up_unsaved(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(4, 4)
    with sharing(broker, under(drain_timeout_s=0.1)) as (loop, other):
        loop.saves = False
        loop.until(lambda: share(other) == {1}, other)
        write(broker, 1, 2)
    assert any(message.startswith("gave up waiting for a checkpoint") for message in caplog.messages)


def test_a_checkpoint_that_was_waited_for_in_vain_is_not_taken_for_the_next_one() -> None:
    broker = a_broker(2, 2, 2, 2)
    kafka = SimpleNamespace(**msgspec.structs.asdict(under(drain_timeout_s=0.0)))
    with sharing(broker, kafka) as (loop, first):  # type: ignore[arg-type]
        wait_until(lambda: first.poll(0) or len(first.owned) == 2)
        kafka.drain_timeout_s = PATIENCE_S
        with another(broker) as second:
            second.poll(0)
            wait_until(lambda: loop.source._reader and loop.source._reader.polls.qsize() == 2)
            while not loop.num_to_be_saved:
                loop.poll()
            time.sleep(0.1)
            assert second.poll(0) == []
            assert second.owned == set()
            loop.until(lambda: len(second.owned) == 1, first, second)
            assert loop.num_to_be_saved == 2


def test_a_share_is_told_loudly(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(1, 1)
    with caplog.at_level(logging.INFO), reading(broker) as loop:
        loop.until(lambda: loop.num_given == 2)
        with another(broker) as other:
            loop.until(lambda: share(other), other)
        loop.until(lambda: len(caplog.records) == 3)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in levels] == ["INFO", "WARNING", "INFO"]
    assert levels[0][1] == levels[2][1] == "owns every partition of clicks (2)"
    told = "owns 1 of 2 partitions of clicks: another member of group model has the rest, this model sees only a part"
    assert levels[1][1] == told


def test_a_membership_that_was_lost_is_taken_up_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(40)
    client = SimulatedConsumer(broker, "model", max_poll_records=2)
    with reading(broker, client=client) as loop:
        loop.until(lambda: loop.num_given > 5)
        broker.expel(client)
        loop.until(lambda: loop.given == all_of(broker))
        assert loop.num_to_be_saved == 0
    assert "lost the membership in group model; joining again" in caplog.messages


# What it tells the broker


def test_a_position_is_committed_for_others_to_see() -> None:
    broker = a_broker(4, 4)
    with reading(broker, under(topics=("clicks",))) as loop:
        loop.source.commit({0: 1})
        loop.until(lambda: loop.num_given == 8)
        loop.source.commit({0: 3, 1: 2})
        loop.until(lambda: broker.committed("model") == {TopicPartition("clicks", p): n for p, n in ((0, 3), (1, 2))})
        loop.source.commit({0: 4, 1: 4})
    # Also the last one, though nothing was polled after it.
    assert broker.committed("model") == {TopicPartition("clicks", p): 4 for p in range(2)}


def test_only_partitions_that_are_owned_are_committed() -> None:
    broker = a_broker(4, 4)
    with sharing(broker) as (loop, other):
        loop.until(lambda: share(other) == {1}, other)
        before = broker.committed("model").get(TopicPartition("clicks", 1))
        loop.until(lambda: loop.position[0] == 4, other)
        loop.source.commit({0: 3, 1: 99})
        loop.until(lambda: broker.committed("model")[TopicPartition("clicks", 0)] == 3, other)
        assert broker.committed("model").get(TopicPartition("clicks", 1)) == before


def test_partitions_that_were_taken_away_are_not_committed() -> None:
    broker = a_broker(4, 4)
    client = SimulatedConsumer(broker, "model")
    with sharing(broker, client=client) as (loop, other):
        loop.until(lambda: share(other) == {1}, other)
        # The member that is left has all, and the one that comes back gets the other one.
        broker.expel(client)
        loop.until(lambda: share(other) == {0}, other)
        loop.until(lambda: loop.position[1] == 4, other)
        loop.source.commit({0: 99, 1: 3})
        loop.until(lambda: broker.committed("model")[TopicPartition("clicks", 1)] == 3, other)
        assert broker.committed("model")[TopicPartition("clicks", 0)] <= 4


def test_partitions_of_several_topics_are_committed_by_their_names() -> None:
    broker, kafka = a_broker(1, 2, 3), under(topics=("views", "clicks"))
    broker.create_topic("views", partitions=2)
    write(broker, 1, 5, "views")
    with reading(broker, kafka) as loop:
        loop.until(lambda: loop.given == all_of(broker, kafka) and len(loop.position) == 5)
        loop.save()
    counts = {("clicks", 0): 1, ("clicks", 1): 2, ("clicks", 2): 3, ("views", 0): 0, ("views", 1): 5}
    assert broker.committed("model") == {TopicPartition(*name): num for name, num in counts.items()}


def test_the_lag_is_what_was_not_given_yet() -> None:
    broker = a_broker(4, 4)
    with reading(broker) as loop:
        assert loop.lag() == 0
        loop.until(lambda: loop.num_given == 8)
        wait_until(lambda: loop.lag() == 0)
        write(broker, 0, 3)
        write(broker, 1, 2)
        wait_until(lambda: loop.lag() == 5)
        loop.until(lambda: loop.num_given == 13)
        assert loop.lag() == 0


def test_each_partition_is_told_of_by_its_topic() -> None:
    broker, kafka = a_broker(2, 3), under(topics=("views", "clicks"))
    broker.create_topic("views", partitions=1)
    write(broker, 0, 4, "views")
    with reading(broker, kafka) as loop:
        loop.until(lambda: loop.num_given == 9)
        write(broker, 1, 6)
        wait_until(lambda: loop.lag() == 6)
        assert loop.source.partitions(loop.position) == [
            PartitionStatus("views", 0, 4, 0),
            PartitionStatus("clicks", 0, 2, 0),
            PartitionStatus("clicks", 1, 3, 6),
        ]


def test_records_that_were_deleted_are_no_lag() -> None:
    broker = a_broker(50)
    broker.delete_records("clicks", 0, before=48)
    with reading(broker) as loop:
        loop.until(lambda: loop.num_given == 2)
        wait_until(lambda: loop.lag() == 0)
    broker.delete_records("clicks", 0, before=50)
    with reading(broker) as loop:
        loop.until(lambda: loop.gaps)
        loop.for_a_moment()
        assert loop.lag() == 0


def test_the_lag_of_partitions_that_others_have_is_not_counted() -> None:
    broker = a_broker(4, 4)
    with sharing(broker) as (loop, other):
        loop.until(lambda: share(other) == {1} and loop.position[0] == 4, other)
        write(broker, 1, 7)
        loop.for_a_moment(other)
        assert loop.lag() == 0


# What goes wrong


class Failing(SimulatedConsumer):
    """Fails for good in its third poll."""

    num_polls = 0

    def poll(self, timeout_s: float) -> list[Chunk]:
        self.num_polls += 1
        if self.num_polls == 3:
            raise BrokerError("it is over: start anew")
        return super().poll(timeout_s)


def test_an_error_of_the_client_comes_after_what_was_read_before_it() -> None:
    broker = a_broker(9)
    with reading(broker, client=Failing(broker, "model", max_poll_records=2)) as loop:
        for _ in range(2):
            with pytest.raises(BrokerError, match="it is over"):
                loop.until(lambda: False)
        assert loop.num_given == 4


def test_a_topic_that_is_missing_is_told() -> None:
    with (
        reading(SimulatedBroker()) as loop,
        pytest.raises(BrokerError, match="has no topic clicks: create it"),
    ):
        loop.until(lambda: False)


def test_a_bug_in_the_decoder_is_told() -> None:
    class Broken(RecordDecoder):
        def decode(self, chunks: Sequence[Chunk], ids: Sequence[int]) -> Any:
            raise ZeroDivisionError(len(chunks), ids)

    with (
        reading(a_broker(2), decoder=Broken(Schema(), 99)) as loop,
        pytest.raises(ZeroDivisionError),
    ):
        loop.until(lambda: False)


def test_seeking_while_reading_is_a_mistake() -> None:
    with reading(a_broker(2)) as loop:
        loop.poll()
        with pytest.raises(AssertionError, match="sought while reading"):
            loop.source.seek({0: 1})


# Stopping


class Hanging(SimulatedConsumer):
    """Hangs in one of its calls until it is let go."""

    def __init__(self, broker: SimulatedBroker, group: str, where: str) -> None:
        super().__init__(broker, group, max_poll_records=1)
        self.where = where
        self.hangs = threading.Event()
        self.let_go = threading.Event()

    def _hang_in(self, where: str) -> None:
        if self.where == where:
            self.hangs.set()
            self.let_go.wait(PATIENCE_S)

    def poll(self, timeout_s: float) -> list[Chunk]:
        self._hang_in("poll")
        return super().poll(timeout_s)

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
        self._hang_in("bounds")
        return super().bounds(partition, timeout_s)

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float | None = None) -> None:
        self._hang_in("commit")
        super().commit(offsets, timeout_s)

    def close(self, timeout_s: float) -> None:
        self._hang_in("close")
        super().close(timeout_s)


def time_to_close(source: KafkaSource) -> float:
    begin_s = time.monotonic()
    source.close()
    return time.monotonic() - begin_s


def a_source(client: SimulatedConsumer) -> KafkaSource:
    return KafkaSource(client, RecordDecoder(Schema(), 999), KAFKA)


@pytest.mark.parametrize("where", ["poll", "bounds", "commit", "close"])
def test_stopping_does_not_wait_for_a_client_that_hangs(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_CLOSE_S", 0.1)
    broker = a_broker(9)
    client = Hanging(broker, "model", where)
    source = a_source(client)
    source.poll()
    source.commit({0: 1})
    if where != "close":
        wait_until(client.hangs.is_set)
    assert time_to_close(source) < 5
    assert client.hangs.is_set()
    client.let_go.set()
    wait_until(lambda: broker.num_members("model") == 0)


def test_stopping_before_anything_was_polled_closes_the_client() -> None:
    broker = a_broker(9)
    client = Hanging(broker, "model", "close")
    client.let_go.set()
    assert time_to_close(a_source(client)) < 5
    assert client.hangs.is_set()


@pytest.mark.parametrize("state", ["just begun", "nothing comes", "nothing is taken", "no broker", "failed"])
def test_stopping_is_quick_in_every_state(state: str) -> None:
    broker = a_broker(0 if state == "nothing comes" else 90)
    client = (Failing if state == "failed" else SimulatedConsumer)(broker, "model", max_poll_records=1)
    source = a_source(client)
    source.poll()
    if state == "nothing is taken":
        wait_until(lambda: source._reader and source._reader.polls.full())
    elif state == "no broker":
        broker.stop()
    elif state == "failed":
        wait_until(lambda: source._reader and source._reader.error)
    elif state == "nothing comes":
        source.poll()
    assert time_to_close(source) < 5
    assert time_to_close(source) < 5
    assert source._reader is not None
    assert not source._reader._thread.is_alive()


def test_stopping_does_not_wait_for_a_checkpoint_that_will_not_come() -> None:
    broker = a_broker(4, 4)
    with sharing(broker) as (loop, other):
        loop.saves = False
        loop.until(lambda: loop.num_to_be_saved, other)
        assert time_to_close(loop.source) < 5
        assert loop.source._reader is not None
        assert not loop.source._reader._thread.is_alive()
