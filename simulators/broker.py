"""A message broker in memory, with Kafka's semantics as far as a reader and a writer of topics can tell.

It has topics with partitions, offsets with gaps, retention, consumer groups with incremental rebalances, and outages.
Nothing happens by itself: there are no threads and no clock. Rebalances take place in the members' polls, in the order
in which they poll, so a test in one thread is deterministic; several threads may use one broker all the same.
"""

import itertools
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Condition
from typing import Final

from simulators.partitions import ConsumerGroup, PartitionLog, StoredRecord
from stream.adapters.kafka.client import (
    Bounds,
    BrokerError,
    Chunk,
    OutOfRangeError,
    ProducedRecord,
    Rebalances,
    RecordTooLargeError,
    Start,
    TopicPartition,
)

ADDRESS: Final = "simulated:9092"


class SimulatedBroker:
    """What a cluster does, as one object that tests talk to directly.

    >>> broker = SimulatedBroker()
    >>> broker.create_topic("clicks", partitions=2)
    >>> broker.append("clicks", b"first", partition=1), broker.append("clicks", b"second", partition=1)
    (0, 1)
    >>> broker.bounds(TopicPartition("clicks", 1))
    Bounds(begin=0, end=2)
    """

    def __init__(self) -> None:
        self.time_ms = 0
        """The time that records get which come without one; a test sets it."""
        self.changed = Condition()
        """Held while anything is changed or looked at; notified after a change."""
        self._logs: dict[TopicPartition, PartitionLog] = {}
        self._max_record_bytes: dict[str, int] = {}
        self._refused: set[str] = set()
        self._groups: dict[str, ConsumerGroup] = {}
        self._reachable = True
        self.member_numbers = itertools.count(1)

    def create_topic(self, name: str, partitions: int = 1, max_record_bytes: int = 2**20) -> None:
        """Create a topic, empty."""
        assert name not in self._max_record_bytes, f"{name} exists"
        self._max_record_bytes[name] = max_record_bytes
        self.add_partitions(name, partitions)

    def add_partitions(self, topic: str, total: int) -> None:
        """Let a topic have ``total`` partitions from now on; its readers get the new ones when they poll."""
        with self.changed:
            for number in range(self.num_partitions([topic]), total):
                self._logs[TopicPartition(topic, number)] = PartitionLog()
            for group in self._groups.values():
                self._share_out(group)

    def num_partitions(self, topics: Sequence[str]) -> int:
        """Return how many partitions topics have together."""
        return len(self._partitions(topics))

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        """Write a record and return its offset. Without a timestamp it gets :attr:`time_ms`."""
        with self.changed:
            log = self._logs[TopicPartition(topic, partition)]
            time_ms = self.time_ms if timestamp_ms is None else timestamp_ms
            log.append(StoredRecord(log.end, time_ms, key, value, tuple(headers)))
            self.changed.notify_all()
            return log.end - 1

    def skip(self, topic: str, partition: int = 0, number: int = 1) -> None:
        """Leave out the next offsets, as compaction and the marker at a transaction's end do."""
        with self.changed:
            self._logs[TopicPartition(topic, partition)].end += number
            self.changed.notify_all()

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records of lower offsets, as retention does."""
        with self.changed:
            self._logs[TopicPartition(topic, partition)].delete(before)

    def records(self, topic: str, partition: int = 0) -> list[StoredRecord]:
        """Return all records that a partition holds."""
        with self.changed:
            return list(self._logs[TopicPartition(topic, partition)].records)

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return the offsets that a partition holds."""
        with self.changed:
            return Bounds(self._logs[partition].begin, self._logs[partition].end)

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the offsets that a group has committed."""
        with self.changed:
            return dict(self._groups[group].committed) if group in self._groups else {}

    def num_members(self, group: str) -> int:
        """Return how many members a group has."""
        with self.changed:
            return len(self._groups[group].shares) if group in self._groups else 0

    def stop(self) -> None:
        """Be out of reach: consumers get nothing and keep what they own, producers keep what they have."""
        with self.changed:
            self._reachable = False

    def start(self) -> None:
        """Be there again."""
        with self.changed:
            self._reachable = True
            self.changed.notify_all()

    def refuse(self, topic: str) -> None:
        """Allow nobody to read or write a topic from now on."""
        with self.changed:
            self._refused.add(topic)

    def expel(self, consumer: "SimulatedConsumer") -> None:
        """Take a member for dead, and share out what it owns; it hears of that when it polls, and joins again."""
        with self.changed:
            group = self._groups[consumer.group]
            group.leave(consumer.name)
            self._share_out(group)

    def _share_out(self, group: ConsumerGroup) -> None:
        group.share_out(self._partitions(group.topics))
        self.changed.notify_all()

    def _partitions(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [partition for partition in self._logs if partition.topic in topics]

    def _require(self, topics: Sequence[str]) -> None:
        if not self._reachable:
            raise BrokerError(f"no broker answers at {ADDRESS}: start it, or correct the address")
        self._require_topics(topics)

    def _require_topics(self, topics: Sequence[str]) -> None:
        for topic in topics:
            if topic not in self._max_record_bytes:
                raise BrokerError(f"the broker at {ADDRESS} has no topic {topic}: create it, or correct its name")
            if topic in self._refused:
                raise BrokerError(f"the broker at {ADDRESS} does not let us use topic {topic}: allow it")


class SimulatedConsumer:
    """A :class:`~stream.adapters.kafka.client.GroupConsumer` of a simulated broker.

    A poll gives at most ``max_poll_records``, and begins with another partition each time. ``instance`` is the name of
    a static member: a second one of that name takes the first one's place and shuts it out.
    """

    def __init__(
        self, broker: SimulatedBroker, group: str, instance: str | None = None, max_poll_records: int = 500
    ) -> None:
        self.group = group
        self.name = instance or f"member-{next(broker.member_numbers)}"
        """Its name within the group."""
        self._broker = broker
        self._max_poll_records = max_poll_records
        self._topics: tuple[str, ...] = ()
        self._rebalances: Rebalances
        self._epoch = 0
        self._next: dict[TopicPartition, int | None] = {}
        """The offset to read next in each partition owned; None where that is not known yet."""
        self._ends: dict[TopicPartition, int] = {}
        self._out_of_range: set[TopicPartition] = set()
        self._num_partitions = 0
        self._turn = 0
        self._paused = False

    def subscribe(self, topics: Sequence[str], rebalances: Rebalances) -> None:
        """Join the group."""
        with self._broker.changed:
            self._broker._require(topics)
            self._topics = tuple(topics)
            self._num_partitions = self._broker.num_partitions(topics)
            self._rebalances = rebalances
            self._broker._groups.setdefault(self.group, ConsumerGroup())
            self._join()

    def poll(self, timeout_s: float) -> list[Chunk]:
        """Take part in rebalances, then return the next records; where there are none, wait for one change."""
        assert self._topics, "subscribe comes first"
        if self._broker._reachable:
            self._rebalance()
        with self._broker.changed:
            chunks = self._read()
            if not chunks and timeout_s > 0 and self._broker.changed.wait(timeout_s):
                chunks = self._read()
            return chunks

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read an owned partition from ``offset`` next."""
        with self._broker.changed:
            assert partition in self._next, f"{partition} is not owned"
            self._next[partition] = offset
            self._out_of_range.discard(partition)

    def pause(self) -> None:
        """Give nothing until :meth:`resume`."""
        self._paused = True

    def resume(self) -> None:
        """Give again."""
        self._paused = False

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float | None = None) -> None:  # noqa: ARG002
        """Commit at once, if the broker is there and counts us in."""
        with self._broker.changed:
            if self._broker._reachable and self._is_member():
                self._group.committed.update(offsets)

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:  # noqa: ARG002
        """Return the offsets that a partition holds; raises :class:`BrokerError` while the broker is away."""
        with self._broker.changed:
            self._broker._require([partition.topic])
            return self._broker.bounds(partition)

    def num_partitions(self) -> int:
        """Return how many partitions the topics had when we last asked."""
        return self._num_partitions

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end offsets that were read up to, or seen, by the polls so far."""
        with self._broker.changed:
            return {partition: end for partition, end in self._ends.items() if partition in self._next}

    def has_caught_up(self) -> bool:
        """Return whether every partition owned was read up to the end last seen."""
        with self._broker.changed:
            return bool(self._next) and all(
                partition in self._ends and offset is not None and offset >= self._ends[partition]
                for partition, offset in self._next.items()
            )

    def close(self, timeout_s: float) -> None:  # noqa: ARG002
        """Leave the group at once."""
        with self._broker.changed:
            if self._is_member():
                self._group.leave(self.name)
                self._broker._share_out(self._group)
            self._next.clear()
            self._topics = ()

    @property
    def _group(self) -> ConsumerGroup:
        return self._broker._groups[self.group]

    def _is_member(self) -> bool:
        return bool(self._topics) and self.name in self._group.shares and self._group.epochs[self.name] == self._epoch

    def _join(self) -> None:
        self._epoch = self._group.join(self.name, self._topics)
        self._broker._share_out(self._group)

    def _rebalance(self) -> None:
        """Follow the group. The broker is not held during calls back, which may take long."""
        lost = self._join_again()
        if lost:
            self._rebalances.lost(lost)
        excess = self._group.excess(self.name)
        revoked = excess & self._next.keys()
        if revoked:
            self._rebalances.revoked(revoked)
        self._give_up(excess)
        taken = self._take()
        if taken:
            starts = self._rebalances.assigned(taken)
            with self._broker.changed:
                self._next.update({partition: self._first(partition, starts[partition]) for partition in taken})

    def _join_again(self) -> frozenset[TopicPartition]:
        """Return what was lost where we were expelled, and be a member again."""
        with self._broker.changed:
            self._broker._require_topics(self._topics)
            if self._is_member():
                return frozenset()
            if self.name in self._group.shares:
                raise BrokerError(f"another member of group {self.group} is called {self.name} too: stop one of them")
            lost = frozenset(self._next)
            self._next.clear()
            self._out_of_range.clear()
            self._join()
            return lost

    def _give_up(self, partitions: frozenset[TopicPartition]) -> None:
        with self._broker.changed:
            self._group.give_up(self.name, partitions)
            for partition in partitions:
                self._next.pop(partition, None)
            self._out_of_range -= partitions
            self._broker.changed.notify_all()

    def _take(self) -> frozenset[TopicPartition]:
        """Own what is ours and free; where to read it is not known yet."""
        with self._broker.changed:
            taken = self._group.take(self.name) - self._next.keys()
            self._next.update(dict.fromkeys(sorted(taken)))
            return taken

    def _first(self, partition: TopicPartition, start: int | Start) -> int:
        begin, end = self._broker.bounds(partition)
        return start if isinstance(start, int) else {Start.EARLIEST: begin, Start.LATEST: end}[start]

    def _read(self) -> list[Chunk]:
        if not self._broker._reachable:
            return []
        self._num_partitions = self._broker.num_partitions(self._topics)
        logs = {partition: self._broker._logs[partition] for partition in self._next}
        self._ends.update({partition: log.end for partition, log in logs.items()})
        if self._paused:
            return []
        readable = [
            (partition, offset)
            for partition, offset in self._next.items()
            if offset is not None and partition not in self._out_of_range
        ]
        for partition, offset in readable:
            if not logs[partition].begin <= offset <= logs[partition].end:
                self._out_of_range.add(partition)
                raise OutOfRangeError(partition, offset)
        chunks = []
        wanted = self._max_poll_records
        self._turn += 1
        turn = self._turn % max(1, len(readable))
        for partition, offset in readable[turn:] + readable[:turn]:
            records, self._next[partition] = logs[partition].read(offset, wanted)
            wanted -= len(records)
            if records:
                offsets, timestamps, keys, values, _ = map(list, zip(*records, strict=True))
                chunks.append(Chunk(partition, offsets, timestamps, keys, values))
        return chunks


class SimulatedProducer:
    """A :class:`~stream.adapters.kafka.client.Producer` for a simulated broker.

    It keeps what it is given while the broker is away. Equal keys go to the same partition. Raises
    :class:`~stream.adapters.kafka.client.BrokerError` where the broker is not there to begin with.
    """

    def __init__(self, broker: SimulatedBroker) -> None:
        broker._require(())
        self._broker = broker
        self._waiting: deque[tuple[str, ProducedRecord]] = deque()

    def send(self, topic: str, record: ProducedRecord) -> None:
        """Write the record now, or once the broker is there."""
        with self._broker.changed:
            self._waiting.append((topic, record))
            self._write()

    def flush(self, timeout_s: float) -> bool:
        """Write what waits, as soon as the broker is there."""
        with self._broker.changed:
            if self._waiting:
                self._broker.changed.wait_for(lambda: self._broker._reachable, timeout_s)
                self._write()
            return not self._waiting

    def close(self, timeout_s: float) -> None:
        """Write what can be written by then, and forget the rest."""
        self.flush(timeout_s)
        self._waiting.clear()

    def _write(self) -> None:
        while self._waiting and self._broker._reachable:
            topic, record = self._waiting.popleft()
            self._broker._require([topic])
            if _num_bytes(record) > self._broker._max_record_bytes[topic]:
                raise RecordTooLargeError(f"a record of {_num_bytes(record)} bytes is too large for topic {topic}")
            key, value, headers, timestamp_ms = record
            partition = zlib.crc32(key or b"") % self._broker.num_partitions([topic])
            self._broker.append(topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers)


def _num_bytes(record: ProducedRecord) -> int:
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
