"""The thread that reads a consumer group's topics ahead of the loop: patient with the loop, and with the broker."""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from stream.adapters.kafka.client import (
    Bounds,
    BrokerError,
    Chunk,
    GroupConsumer,
    OutOfRangeError,
    Start,
    TopicPartition,
)
from stream.adapters.kafka.records import Decoded, RecordDecoder
from stream.core.event import NO_EVENTS, Gap, Origin, Poll
from stream.ports import Position
from stream.service_settings import Kafka

_log: Final = logging.getLogger("scall.kafka")

_READ_AHEAD: Final = 4
"""Polls that may wait, decoded, for the loop: beyond that, nothing is read."""
_POLL_S: Final = 0.1
_KEEP_ALIVE_S: Final = 1.0
"""How often a reader that may not read shows the broker that it lives."""
_ASK_S: Final = 10.0
_CLOSE_S: Final = 2.0


class Numbering(NamedTuple):
    """Numbers partitions of several topics: partition p of the t-th of n topics is ``p * n + t``.

    With one topic that is the partition itself; new partitions do not change the numbers of the others.

    >>> Numbering(("views", "clicks")).number_of(TopicPartition("clicks", 3))
    7
    """

    topics: tuple[str, ...]

    def number_of(self, partition: TopicPartition) -> int:
        """Return the number of a partition."""
        return partition.partition * len(self.topics) + self.topics.index(partition.topic)

    def partition_of(self, number: int) -> TopicPartition:
        """Return the partition with a number."""
        partition, topic = divmod(number, len(self.topics))
        return TopicPartition(self.topics[topic], partition)


class GroupReader:
    """Polls a client and decodes, in a thread, into :attr:`polls`; a :class:`~stream.adapters.kafka.client.Rebalances`.

    ``begin`` is the offset to be read next, by partition. What it reads of a partition is gapless from there, but for
    what :class:`~stream.core.event.Gap` tells. Where the loop does not take what is ready, the client is paused and
    polled all the same, so that the group is never lost and nothing grows.
    """

    def __init__(
        self,
        client: GroupConsumer,
        decoder: RecordDecoder,
        kafka: Kafka,
        begin: Mapping[TopicPartition, int],
        *,
        stop_at_end: bool,
    ) -> None:
        self.polls: queue.Queue[Decoded | None] = queue.Queue(_READ_AHEAD)
        """What is ready for the loop; None is the end."""
        self.error: BaseException | None = None
        """Why the thread ended, once it did and all that was ready is taken."""
        self.ends: dict[int, int] = {}
        """End offsets of the owned partitions by number, as last heard."""
        self._client = client
        self._decoder = decoder
        self._kafka = kafka
        self._numbering = Numbering(kafka.topics)
        self._stop_at_end = stop_at_end
        self._next = dict(begin)
        # A partition that a model has never seen is new: none of its records may be passed over.
        self._start = Start.EARLIEST if begin else Start(kafka.start)
        self._owned: frozenset[TopicPartition] = frozenset()
        self._questions: dict[TopicPartition, Callable[[TopicPartition, Bounds], None]] = {}
        self._ready: deque[Decoded | None] = deque()
        self._heard_s = 0.0
        # A life before this one may have been killed between saving and committing.
        self._to_commit: Position = {self._numbering.number_of(partition): begin[partition] for partition in begin}
        self._num_asked = self._num_saved = 0
        """Of polls to be saved: how many there were, and how many are."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)

    # For the loop

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def commit(self, position: Position, *, num_saved: int) -> None:
        """Have a position committed, behind all that the first ``num_saved`` polls to be saved were to hold."""
        self._to_commit = dict(position)
        self._num_saved = num_saved

    def stop(self) -> None:
        """Commit what is to be committed, leave the group, close the client; takes a few seconds at most."""
        self._stopping.set()
        self._thread.join(2.5 * _CLOSE_S)

    # The thread

    def _run(self) -> None:
        try:
            self._client.subscribe(self._kafka.topics, self)
            while not self._stopping.is_set():
                self._commit()
                self._ask()
                self._hear()
                self._read()
        except BaseException as error:
            self.error = error
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._commit(timeout_s=_CLOSE_S / 2)
            self._client.close(_CLOSE_S)
        except Exception as error:
            _log.debug("while closing: %s", error)

    def _read(self) -> None:
        try:
            if not self._hand_over(_KEEP_ALIVE_S):
                self._client.pause()
                self._decode(self._client.poll(0.0))
                return
            self._client.resume()
            chunks = self._client.poll(_POLL_S)
        except OutOfRangeError as error:
            self._questions[error.partition] = partial(self._recover, error.offset)
            return
        self._decode(chunks)
        if not chunks and self._stop_at_end and not self._questions and self._client.has_caught_up():
            self._ready.append(None)

    def _decode(self, chunks: Sequence[Chunk]) -> None:
        if chunks:
            numbers = [self._numbering.number_of(chunk.partition) for chunk in chunks]
            self._ready.append(self._decoder.decode(chunks, numbers))
            self._next |= {chunk.partition: chunk.offset[-1] + 1 for chunk in chunks}

    def _hand_over(self, timeout_s: float) -> bool:
        """Put what is ready where the loop takes it; return whether all of it is there."""
        try:
            while self._ready:
                self.polls.put(self._ready[0], timeout=timeout_s)
                self._ready.popleft()
        except queue.Full:
            return False
        return True

    def _hear(self) -> None:
        now_s = time.monotonic()
        if now_s - self._heard_s > _KEEP_ALIVE_S / 2:
            self._heard_s = now_s
            self.ends = {self._numbering.number_of(partition): end for partition, end in self._client.ends().items()}

    def _commit(self, timeout_s: float | None = None) -> None:
        if not self._owned:
            return
        position, self._to_commit = self._to_commit, {}
        offsets = {self._numbering.partition_of(number): offset for number, offset in position.items()}
        if owned := {partition: offset for partition, offset in offsets.items() if partition in self._owned}:
            self._client.commit(owned, timeout_s)

    def _ask(self) -> None:
        """Ask the broker what partitions hold of which the next offset is not known, or not there."""
        for partition, answer in list(self._questions.items()):
            if partition in self._owned:
                try:
                    bounds = self._client.bounds(partition, _ASK_S)
                except BrokerError as error:
                    _log.warning("%s, asking again", error)
                    return
                answer(partition, bounds)
            del self._questions[partition]

    def _begin(self, start: Start, partition: TopicPartition, bounds: Bounds) -> None:
        # A gap without records, so that the next checkpoint knows from where on this model reads.
        if partition not in self._next:
            offset = bounds.begin if start is Start.EARLIEST else bounds.end
            self._skip(partition, offset, offset)

    def _recover(self, offset: int, partition: TopicPartition, bounds: Bounds) -> None:
        if offset > bounds.end:
            raise BrokerError(
                f"{partition} ends at offset {bounds.end}, but this model has learnt up to {offset}: the topic was "
                f"made anew or has lost records; give the model the topic it knows, or name an empty checkpoint folder"
            )
        lost = f"records {offset} to {bounds.begin - 1} of {partition} were deleted before they were learnt"
        if offset >= bounds.begin:
            self._client.seek(partition, offset)
        elif self._kafka.on_gap == "stop":
            raise BrokerError(
                f'{lost}; set kafka.on_gap = "earliest" to go on without them, and lengthen the retention'
            )
        else:
            _log.warning("%s; going on at %d", lost, bounds.begin)
            self._skip(partition, offset, bounds.begin)

    def _skip(self, partition: TopicPartition, begin: int, end: int) -> None:
        gap = Gap(self._numbering.number_of(partition), begin, end)
        self._ready.append(Decoded(Poll(NO_EVENTS, [], (gap,)), _no_origin))
        self._next[partition] = end
        self._client.seek(partition, end)

    # Rebalances

    def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
        """Go on where this model has come to, whatever the broker has as committed."""
        self._owned |= partitions
        fresh = partitions - self._next.keys()
        self._questions |= dict.fromkeys(fresh, partial(self._begin, self._start))
        begin = {partition: self._next.get(partition, self._start) for partition in partitions}
        # Partitions that are added later are read from their first record.
        self._start = Start.EARLIEST
        self._tell_share(logging.INFO)
        return begin

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Have a checkpoint made of all that was read before partitions are given up."""
        if self._stopping.is_set():
            return
        self._num_asked += 1
        self._ready.append(Decoded(Poll(NO_EVENTS, [], (), is_to_be_saved=True), _no_origin))
        begin_s = time.monotonic()
        while self._num_saved < self._num_asked and not self._stopping.wait(_POLL_S / 10):
            self._hand_over(_POLL_S)
            if time.monotonic() - begin_s > self._kafka.drain_timeout_s:
                _log.warning(
                    "gave up waiting for a checkpoint before giving up partitions; they are not doubled for that"
                )
                break
        self._commit()
        self._owned -= partitions
        self._tell_share(logging.WARNING)

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        """Take note; what was read of them is learnt all the same, and when they come back they go on from there."""
        self._owned -= partitions
        if not self._stopping.is_set():
            _log.warning("lost the membership in group %s; joining again", self._kafka.group)

    def _tell_share(self, level: int) -> None:
        num, topics = self._client.num_partitions(), ", ".join(self._kafka.topics)
        if len(self._owned) < num:
            told = (
                "owns %d of %d partitions of %s: another member of group %s has the rest, this model sees only a part"
            )
            _log.warning(told, len(self._owned), num, topics, self._kafka.group)
        else:
            _log.log(level, "owns every partition of %s (%d)", topics, num)


def _no_origin(number: int) -> Origin:
    raise AssertionError(f"there is no record {number}")
