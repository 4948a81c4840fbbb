"""A consumer in use, which remembers what it was told and given, and checks what every poll promises."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import NamedTuple

from stream.adapters.kafka.client import Chunk, GroupConsumer, Start, TopicPartition

PATIENCE_S = 30
POLL_S = 0.1


class Given(NamedTuple):
    """A record as a poll gave it."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Reader:
    """Reads topics as a member of a group, from ``starts`` or else ``start``. It is its own rebalance listener."""

    def __init__(
        self,
        consumer: GroupConsumer,
        topics: Sequence[str],
        start: int | Start = Start.EARLIEST,
        starts: Mapping[TopicPartition, int | Start] | None = None,
    ) -> None:
        self.consumer = consumer
        self.start = start
        self.starts = starts if starts is not None else {}
        self.answer_s = 0.0
        """How long it takes to answer a rebalance."""
        self.owned: set[TopicPartition] = set()
        self.calls: list[tuple[str, frozenset[TopicPartition]]] = []
        self.given: dict[TopicPartition, list[Given]] = defaultdict(list)
        self.next: dict[TopicPartition, int] = {}
        """At least this will be the next record's offset."""
        self.complaints: list[str] = []
        consumer.subscribe(topics, self)

    def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
        self._note("assigned", partitions)
        if self.owned & partitions:
            self.complaints.append(f"assigned {partitions} twice")
        time.sleep(self.answer_s)
        self.owned |= partitions
        starts = {partition: self.starts.get(partition, self.start) for partition in partitions}
        self.next.update({partition: start for partition, start in starts.items() if isinstance(start, int)})
        return starts

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self._note("revoked", partitions)
        time.sleep(self.answer_s)
        self._disown(partitions)

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        self._note("lost", partitions)
        self._disown(partitions)

    def told(self, call: str) -> list[TopicPartition]:
        """Return all partitions named in calls of one kind, in their order."""
        return [partition for name, partitions in self.calls if name == call for partition in sorted(partitions)]

    def poll(self, timeout_s: float = POLL_S) -> list[Chunk]:
        """Poll once, and check what comes."""
        chunks = self.consumer.poll(timeout_s)
        assert not self.complaints
        assert sum(len(chunk.offset) for chunk in chunks) <= 10_000
        for chunk in chunks:
            partition, *columns = chunk
            assert partition in self.owned
            assert {len(column) for column in columns} == {len(chunk.offset)} != {0}
            for record in map(Given, *columns):
                assert record.offset >= self.next.get(partition, 0), f"{partition} goes back to {record.offset}"
                self.given[partition].append(record)
                self.next[partition] = record.offset + 1
        return chunks

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.consumer.seek(partition, offset)
        self.next[partition] = offset

    def offsets(self, partition: TopicPartition) -> list[int]:
        return [record.offset for record in self.given[partition]]

    def values(self, partition: TopicPartition) -> list[bytes | None]:
        return [record.value for record in self.given[partition]]

    @property
    def num_given(self) -> int:
        return sum(map(len, self.given.values()))

    def poll_until_caught_up(self) -> None:
        poll_until(self.consumer.has_caught_up, self)

    def _note(self, call: str, partitions: frozenset[TopicPartition]) -> None:
        self.calls.append((call, partitions))
        if not partitions:
            self.complaints.append(f"{call} nothing")

    def _disown(self, partitions: frozenset[TopicPartition]) -> None:
        if not partitions <= self.owned:
            self.complaints.append(f"{partitions} were not owned")
        self.owned -= partitions


def poll_until(condition: Callable[[], object], *readers: Reader) -> None:
    """Let readers poll until a condition holds; several in a thread each, as members of a group do."""
    deadline = time.monotonic() + PATIENCE_S
    if len(readers) == 1:
        while not condition():
            assert time.monotonic() < deadline, readers[0].calls
            readers[0].poll()
        return
    done = Event()

    def poll_on(reader: Reader) -> None:
        while not done.is_set():
            reader.poll()

    with ThreadPoolExecutor(len(readers)) as pool:
        polling = [pool.submit(poll_on, reader) for reader in readers]
        try:
            while not condition():
                assert time.monotonic() < deadline, [reader.calls for reader in readers]
                assert not any(future.done() for future in polling), "a poll failed"
                done.wait(0.01)
        finally:
            done.set()
            for future in polling:
                future.result()
