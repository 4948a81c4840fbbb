"""Each rejected record stands once in the dead-letter topic, whatever is refused, away or dies in between."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import Crash, Steps, watched
from stream.adapters.kafka.client import BrokerError, ProducedRecord, RecordTooLargeError
from stream.adapters.kafka.dead_letters import DeadLetterTopic
from stream.adapters.kafka.letters import (
    Letter,
    TopicRecord,
    read_letter,
    read_note,
    shortened,
    write_letter,
    write_note,
)
from stream.adapters.kafka.topic_reader import NoAnswerError
from stream.core.event import Origin, Record, Rejection
from stream.errors import StorageError
from stream.ports import Position
from stream.service_settings import Kafka

TOPIC = "scall.dead-letters"
KAFKA = Kafka(bootstrap_servers=("nowhere:9092",), topics=("clicks", "views"), group="scall")
TIME_MS = 1_700_000_000_000


def rejection(
    offset: int, value: bytes | None = b"{", key: bytes | None = b"u7", topic: str = "clicks", partition: int = 0
) -> Rejection:
    number = partition * len(KAFKA.topics) + KAFKA.topics.index(topic)
    record = Record(topic, partition, TIME_MS, key, value)
    return Rejection(number, offset, Origin(f"{topic}-{partition}@{offset}", record), "malformed row", "{")


def num_bytes(record: ProducedRecord) -> int:
    return (
        len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(text) for name, text in record.headers)
    )


class Topic:
    """A dead-letter topic in memory, which takes batches of so many bytes at most."""

    def __init__(self, num_partitions: int = 1, max_bytes: int = 10**6) -> None:
        self.partitions: list[list[TopicRecord]] = [[] for _ in range(num_partitions)]
        self.max_bytes = max_bytes
        self.silences = 0
        """How many questions are not answered from now on."""

    def append(self, record: ProducedRecord) -> None:
        partition = len(record.key or b"") % len(self.partitions)
        key, value, headers, _ = record
        place = len(self.partitions[partition])
        self.partitions[partition].append(TopicRecord(partition, place, TIME_MS + place, key, value, tuple(headers)))

    def ends(self) -> Position:
        self.answer()
        return {partition: len(records) for partition, records in enumerate(self.partitions)}

    def read(self, begin: Position) -> Iterator[TopicRecord]:
        self.answer()
        for partition, records in enumerate(self.partitions):
            yield from records[begin.get(partition, 0) :]

    def answer(self) -> None:
        if self.silences:
            self.silences -= 1
            raise NoAnswerError("no broker answers")

    def close(self) -> None: ...

    def letters(self) -> list[Letter]:
        found = [read_letter(record) for record in self.read({})]
        return [letter for letter in found if letter]


class Batching:
    """A producer that writes batches of so many records when it is flushed; one that is too large is refused whole."""

    def __init__(self, topic: Topic, batch_size: int = 4) -> None:
        self.topic = topic
        self.waiting: list[ProducedRecord] = []
        self.refused = 0
        self.is_away = False
        self.num_flushes = 0
        self._batch_size = batch_size

    def send(self, topic: str, record: ProducedRecord) -> None:
        assert topic == TOPIC
        self.waiting.append(record)

    def flush(self, timeout_s: float) -> bool:
        assert 0 < timeout_s <= 1, "whoever asks to stop is heard"
        self.num_flushes += 1
        if self.is_away:
            return False
        while self.waiting:
            self.deliver(self._batch_size)
        if self.refused:
            self.refused -= 1
            raise RecordTooLargeError("too large")
        return True

    def deliver(self, number: int) -> None:
        batch, self.waiting = self.waiting[:number], self.waiting[number:]
        if sum(map(num_bytes, batch)) > self.topic.max_bytes:
            self.refused += len(batch)
            return
        for record in batch:
            self.topic.append(record)

    def close(self, timeout_s: float) -> None: ...


class Strict(Batching):
    """A producer that writes at once, and refuses at once."""

    def send(self, topic: str, record: ProducedRecord) -> None:
        if num_bytes(record) > self.topic.max_bytes:
            raise RecordTooLargeError("too large")
        super().send(topic, record)
        self.deliver(1)


def never() -> bool:
    return False


def always() -> bool:
    return True


def open_letters(topic: Topic, producer: Batching, should_stop: Callable[[], bool] = never) -> DeadLetterTopic:
    return DeadLetterTopic(producer, KAFKA, TOPIC, should_stop, topic)


# What a letter is


def test_a_letter_is_the_record_as_it_was_with_its_origin_in_headers() -> None:
    topic = Topic()
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(12, b"\xff{", b"u7", "views", 3)])
    assert letters.mark() == {0: 1}
    [[record]] = topic.partitions
    assert (record.key, record.value) == (b"u7", b"\xff{")
    assert dict(record.headers) == {
        "scall-reason": b"malformed row",
        "scall-detail": b"{",
        "scall-topic": b"views",
        "scall-partition": b"3",
        "scall-offset": b"12",
        "scall-timestamp": b"1700000000000",
        "scall-group": b"scall",
    }


@given(
    reason=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    detail=st.text(max_size=300),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    time_ms=st.integers(-1, 2**63 - 1),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=20),
)
def test_a_letter_is_read_as_it_was_written(
    reason: str, detail: str, partition: int, offset: int, time_ms: int, key: bytes | None, value: bytes | None
) -> None:
    origin = Origin("somewhere", Record("clicks", partition, time_ms, key, value))
    for written in [letter := write_letter(Rejection(0, offset, origin, reason, detail), "group"), *shortened(letter)]:
        record = TopicRecord(0, 5, TIME_MS, written.key, written.value, tuple(written.headers))
        found = read_letter(record)
        assert found is not None
        assert found.record == record
        assert (found.reason, found.group, found.origin) == (reason, "group", f"clicks-{partition}@{offset}")
        assert (found.timestamp_ms, found.num_bytes) == (time_ms, len(key or b"") + len(value or b""))
        assert found.detail == detail[:200].encode("utf-8", "backslashreplace").decode()
        assert found.value_omitted == (len(value or b"") if written.value != value else None)
        assert found.key_omitted == (len(key or b"") if written.key != key else None)
        assert read_note(record) is None


@pytest.mark.parametrize("spoil", [lambda headers: headers[1:], lambda headers: [*headers, ("scall-offset", b"x")]])
def test_what_others_write_to_the_topic_is_no_letter(
    spoil: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]],
) -> None:
    headers = spoil(list(write_letter(rejection(1), "scall").headers))
    assert read_letter(TopicRecord(0, 0, TIME_MS, b"", b"", tuple(headers))) is None


def test_a_note_is_no_letter_and_names_the_origin() -> None:
    letter = write_letter(rejection(1, topic="views"), "scall")
    found = read_letter(TopicRecord(0, 0, TIME_MS, letter.key, letter.value, tuple(letter.headers)))
    assert found is not None
    note = write_note(found)
    record = TopicRecord(0, 1, TIME_MS, note.key, note.value, tuple(note.headers))
    assert (read_letter(record), read_note(record)) == (None, "views-0@1")


# Too large


@pytest.mark.parametrize("producer_type", [Batching, Strict])
def test_a_letter_too_large_for_the_topic_goes_without_its_value(producer_type: type[Batching]) -> None:
    topic = Topic(max_bytes=1000)
    letters = open_letters(topic, producer_type(topic))
    letters.write([rejection(1), rejection(2, b"x" * 5000), rejection(3)])
    letters.mark()
    found = {letter.offset: letter for letter in topic.letters()}
    assert sorted(found) == [1, 2, 3]
    assert [found[offset].record.value for offset in (1, 2, 3)] == [b"{", None, b"{"]
    assert (found[2].value_omitted, found[2].key_omitted, found[2].record.key) == (5000, None, b"u7")


@pytest.mark.parametrize("value", [b"x" * 20_000, b"", None])
def test_a_letter_too_large_even_so_goes_without_its_key(value: bytes | None) -> None:
    topic = Topic(max_bytes=1000)
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(1, value, b"k" * 10_000)])
    letters.mark()
    [letter] = topic.letters()
    assert (letter.record.key, letter.record.value, letter.key_omitted) == (None, None, 10_000)
    assert letter.value_omitted == (None if value is None else len(value))
    assert letter.num_bytes == 10_000 + len(value or b"")


@given(
    lengths=st.lists(st.sampled_from([1, 300, 900, 3_000, 9_000]), max_size=30),
    batch_size=st.integers(1, 8),
    producer_type=st.sampled_from([Batching, Strict]),
)
def test_a_refusal_neither_loses_nor_doubles_its_neighbours(
    lengths: list[int], batch_size: int, producer_type: type[Batching]
) -> None:
    topic = Topic(num_partitions=2, max_bytes=1000)
    letters = open_letters(topic, producer_type(topic, batch_size))
    for offset, length in enumerate(lengths):
        letters.write([rejection(offset, b"x" * length, b"k" * (offset % 2))])
    letters.mark()
    assert sorted(letter.offset for letter in topic.letters()) == list(range(len(lengths)))
    for letter in topic.letters():
        is_whole = letter.record.value == b"x" * lengths[letter.offset]
        assert is_whole == (letter.value_omitted is None) == (lengths[letter.offset] < 900)


def test_a_topic_that_takes_no_letter_at_all_is_named_with_the_remedy() -> None:
    topic = Topic(max_bytes=10)
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(1)])
    with pytest.raises(BrokerError, match=rf"topic {TOPIC} refuses .*: raise its max.message.bytes$"):
        letters.mark()


# Waiting


def test_writing_waits_for_nothing_until_many_letters_are_under_way() -> None:
    topic = Topic()
    producer = Batching(topic, batch_size=100)
    letters = open_letters(topic, producer)
    for offset in range(999):
        letters.write([rejection(offset)])
    assert (producer.num_flushes, len(producer.waiting)) == (0, 999)
    letters.write([rejection(999), rejection(1000)])
    assert (len(topic.letters()), len(producer.waiting)) == (1000, 1)


def test_writing_does_not_hold_many_bytes_either() -> None:
    topic = Topic(max_bytes=10**9)
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(offset, b"x" * 2**20) for offset in range(20)])
    assert len(topic.letters()) == 16
    letters.mark()
    assert len(topic.letters()) == 20


def test_a_broker_that_is_away_is_waited_for_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    topic = Topic()
    producer = Batching(topic)

    def back_after_20() -> bool:
        producer.is_away = producer.num_flushes < 20
        return False

    letters = open_letters(topic, producer, back_after_20)
    producer.is_away = True
    letters.write([rejection(1), rejection(2)])
    with caplog.at_level(logging.INFO, "scall"):
        assert letters.mark() == {0: 2}
    assert caplog.messages == [
        f"{TOPIC}: waiting for the broker to take 2 dead letters",
        f"{TOPIC}: the broker has taken the dead letters",
    ]


class Leaving(Batching):
    """A producer whose broker goes away as soon as it is sent something."""

    def send(self, topic: str, record: ProducedRecord) -> None:
        super().send(topic, record)
        self.is_away = True


@pytest.mark.parametrize(("length", "num_flushes"), [(1, 6), (10_000, 7)])
def test_one_who_asks_to_stop_waits_for_an_absent_broker_only_for_a_moment(length: int, num_flushes: int) -> None:
    topic = Topic()
    producer = Leaving(topic)
    letters = open_letters(topic, producer, always)
    letters.write([rejection(1, b"x" * length)])
    with pytest.raises(
        StorageError, match=f"{TOPIC}: the broker does not acknowledge 1 dead letters; see that it runs"
    ):
        letters.mark()
    assert producer.num_flushes == num_flushes
    with pytest.raises(StorageError):
        letters.mark()
    assert producer.num_flushes == num_flushes + 1, "the moment is over for good"
    producer.is_away = False
    letters.mark()
    assert [letter.offset for letter in topic.letters()] == [1], "asked again, it is not written again"


def test_one_who_asks_to_stop_does_not_give_up_a_broker_that_refuses() -> None:
    topic = Topic(max_bytes=1000)
    letters = open_letters(topic, Batching(topic), always)
    letters.write([rejection(offset, b"x" * 2000) for offset in range(50)])
    letters.mark()
    assert sorted(letter.offset for letter in topic.letters()) == list(range(50))


def test_what_stands_in_the_topic_is_asked_for_until_there_is_an_answer() -> None:
    topic = Topic(max_bytes=1000)
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(offset, b"x" * (400 * offset)) for offset in range(4)])
    topic.silences = 10
    assert letters.mark() == {0: 4}
    assert sorted(letter.offset for letter in topic.letters()) == [0, 1, 2, 3]


def test_an_old_mark_does_where_the_end_is_not_known() -> None:
    topic = Topic()
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(1)])
    assert letters.mark() == {0: 1}
    letters.write([rejection(2)])
    topic.silences = 1
    assert letters.mark() == {0: 1}
    letters.write([rejection(3)])
    assert letters.mark() == {0: 3}


# Recognising


def test_what_stands_in_the_topic_is_recognised_by_its_numbered_partition() -> None:
    topic = Topic()
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(12), rejection(7, topic="views", partition=2)])
    letters.mark()
    found = open_letters(topic, Batching(topic)).rewind({})
    assert found == {(0, 12): "malformed row", (5, 7): "malformed row"}


def test_letters_of_other_groups_and_of_topics_no_longer_read_are_passed_over() -> None:
    topic = Topic()
    topic.append(write_letter(rejection(1), "another"))
    topic.append(write_letter(rejection(2, topic="views"), "scall"))
    topic.append(ProducedRecord(b"not", b"a letter"))
    clicks_only = Kafka(bootstrap_servers=("nowhere:9092",), topics=("clicks",), group="scall")
    assert DeadLetterTopic(Batching(topic), clicks_only, TOPIC, never, topic).rewind({}) == {}


def test_only_what_stands_behind_the_mark_is_recognised_and_all_of_a_partition_that_is_not_in_it() -> None:
    topic = Topic(num_partitions=2)
    letters = open_letters(topic, Batching(topic))
    letters.write([rejection(1, key=b"kk"), rejection(2, key=b"k")])
    mark = letters.mark()
    assert mark == {0: 1, 1: 1}
    letters.write([rejection(3, key=b"kk"), rejection(4, key=b"k")])
    letters.mark()
    again = open_letters(topic, Batching(topic))
    assert sorted(again.rewind(mark)) == [(0, 3), (0, 4)]
    assert sorted(again.rewind({0: 1})) == [(0, 2), (0, 3), (0, 4)]
    assert again.mark() == {0: 2, 1: 2}


# Dying


@dataclass
class World:
    """What outlives a process: the topic, and the checkpoint."""

    topic: Topic
    position: int = 0
    mark: Position = field(default_factory=dict)


def live(
    world: World, steps: Steps, rejections: Sequence[Rejection], saves: Sequence[bool], batch_size: int
) -> Batching:
    """Live one life as the loop does, up to the end or to a crash; return the producer with what it still holds."""
    producer = Batching(world.topic, batch_size)
    letters = DeadLetterTopic(
        watched(producer, steps, "send", "flush"), KAFKA, TOPIC, never, watched(world.topic, steps, "ends", "read")
    )
    try:
        mark = world.mark
        known = {place: reason for place, reason in letters.rewind(mark).items() if place[1] >= world.position}
        for at in range(world.position, len(rejections)):
            one = rejections[at]
            if known.pop((one.partition, one.offset), None) is None:
                letters.write([one])
            steps.take("written")
            if saves[at] or at + 1 == len(rejections):
                newest = letters.mark()
                # The next life has to find what is ahead as well.
                mark = mark if known else newest
                steps.take("marked")
                world.position, world.mark = at + 1, mark
                steps.take("saved")
    except Crash:
        pass
    return producer


class Life(NamedTuple):
    """How one process lives and dies."""

    crash_at: int
    saves: list[bool]
    """Whether a checkpoint follows each rejection."""
    num_arriving: int
    """How many of the batches that it had sent arrive after its death."""


@given(
    lengths=st.lists(st.sampled_from([1, 500, 2_000, 9_000]), min_size=1, max_size=8),
    lives=st.lists(
        st.builds(Life, st.integers(0, 30), st.lists(st.booleans(), min_size=8, max_size=8), st.integers(0, 5)),
        max_size=4,
    ),
    batch_size=st.integers(1, 4),
    num_partitions=st.integers(1, 3),
)
@settings(max_examples=300)
def test_every_rejection_stands_once_whenever_the_process_dies(
    lengths: list[int], lives: list[Life], batch_size: int, num_partitions: int
) -> None:
    rejections = [
        rejection(offset, b"x" * length, b"k" * offset, KAFKA.topics[offset % 2])
        for offset, length in enumerate(lengths)
    ]
    world = World(Topic(num_partitions, max_bytes=1000))
    for life in lives:
        producer = live(world, Steps(life.crash_at), rejections, life.saves, batch_size)
        for _ in range(life.num_arriving):
            producer.deliver(batch_size)
    live(world, Steps(), rejections, [False] * 8, batch_size)
    assert Counter(letter.origin for letter in world.topic.letters()) == Counter(r.origin.place for r in rejections)
