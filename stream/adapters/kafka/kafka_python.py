"""Consumers over kafka-python, which needs no compiled library.

Its input and output run on a thread of its own, which also calls back on rebalances; nothing may block there.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Any, Final, TypeVar

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as TheirPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaError,
    LogTruncationError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    RetriableError,
    UnknownBrokerIdError,
    UnknownError,
    UnknownMemberIdError,
    UnsupportedCodecError,
)
from kafka.future import Future

from stream.adapters.kafka import contact
from stream.adapters.kafka.administration import Connection, explain, leave_group, require_topics
from stream.adapters.kafka.client import Bounds, Chunk, OutOfRangeError, Rebalances, Start, TopicPartition
from stream.adapters.kafka.kafka_python_producer import KafkaPythonProducer
from stream.service_settings import Kafka

__all__ = ["KafkaPythonConsumer", "KafkaPythonProducer"]

RETRY_S: Final = 0.1

# What time heals although the library does not count it as such.
TRANSIENT: Final = (
    RetriableError,
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownBrokerIdError,
    UnknownError,
    UnknownMemberIdError,
)

Result = TypeVar("Result")


class KafkaPythonConsumer:
    """A :class:`~stream.adapters.kafka.client.GroupConsumer` over kafka-python.

    ``instance`` makes it a static member: a process that was killed and started again takes its own place, without
    waiting for the session time-out. Raises :class:`BrokerError` where no broker answers.
    """

    def __init__(self, kafka: Kafka, instance: str | None = None) -> None:
        self._kafka = kafka
        self._instance = instance
        self._connection: Connection[Any] = Connection(KafkaConsumer, kafka, **_consumer_options(kafka, instance))
        self._consumer = self._connection.client
        self._coordinator = self._consumer._coordinator
        self._contact = contact.Contact(kafka)
        self._owned: frozenset[TopicPartition] = frozenset()
        self._paused = False
        self._unsought: set[TopicPartition] = set()
        self._errors: deque[OutOfRangeError] = deque()
        self._failure: Exception | None = None
        self._commit_failure = ""
        self._num_partitions: dict[str, int] = {}
        self._closed = False

    def subscribe(self, topics: Sequence[str], rebalances: Rebalances) -> None:
        """Join the group; see :class:`~stream.adapters.kafka.client.GroupConsumer`."""
        self._num_partitions = require_topics(self._kafka, topics)
        self._consumer.subscribe(list(topics), listener=_Listener(self, rebalances))
        # Before it has heard of the topics, it would join with no partitions first, and then again. It asks for them by
        # itself, but forgets that if it is just being told of others.
        deadline = time.monotonic() + contact.FIRST_CONTACT_S
        while any(self._connection.num_partitions(topic) is None for topic in topics) and time.monotonic() < deadline:
            self._connection.ask_for_topics()
            time.sleep(0.02)

    def poll(self, timeout_s: float) -> list[Chunk]:
        """Return the next records, waiting up to ``timeout_s``, or longer while a rebalance is answered."""
        self._raise_errors()
        deadline = time.monotonic() + timeout_s
        records: dict[TheirPartition, list[Any]] = {}
        # It forgets about joining when a poll ends before the answer, if new partitions were the reason to join.
        if self._coordinator.rebalance_in_progress():
            self._coordinator.request_rejoin()
        try:
            records = self._consumer.poll(timeout_ms=timeout_s * 1000)
        except KafkaError as error:
            self._note(error)
            self._raise_errors()
            time.sleep(min(RETRY_S, max(0.0, deadline - time.monotonic())))
        if records:
            self._contact.note(answers=True)
        else:
            self._look_around()
        return [_chunk(partition, found) for partition, found in records.items()]

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read an owned partition from ``offset`` next."""
        self._consumer.seek(TheirPartition(*partition), offset)
        self._errors = deque(error for error in self._errors if error.partition != partition)
        if partition in self._unsought:
            self._unsought.remove(partition)
            if not self._paused:
                self._consumer.resume(TheirPartition(*partition))

    def pause(self) -> None:
        """Give nothing from any partition owned; what was fetched is kept."""
        self._paused = True
        self._consumer.pause(*_theirs(self._owned))

    def resume(self) -> None:
        """Give from all partitions owned again."""
        self._paused = False
        self._consumer.resume(*_theirs(self._owned - self._unsought))

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float | None = None) -> None:
        """Commit in the background, or within ``timeout_s``; failing is logged."""
        theirs = {TheirPartition(*partition): OffsetAndMetadata(n, "", -1) for partition, n in offsets.items()}
        try:
            if timeout_s is None:
                self._consumer.commit_async(theirs, callback=self._note_commit)
            else:
                self._consumer.commit(theirs, timeout_ms=timeout_s * 1000)
        except KafkaError as error:
            self._note_commit(theirs, error)

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
        """Ask the broker which offsets a partition holds."""
        theirs = TheirPartition(*partition)
        deadline = time.monotonic() + timeout_s
        try:
            begin = self._consumer.beginning_offsets([theirs], timeout_ms=timeout_s * 1000)
            left_s = max(0.0, deadline - time.monotonic())
            end = self._consumer.end_offsets([theirs], timeout_ms=left_s * 1000)
        except KafkaError as error:
            raise explain(error, self._kafka, f"for the offsets of {partition}") from error
        return Bounds(begin[theirs], end[theirs])

    def num_partitions(self) -> int:
        """Return how many partitions the subscribed topics have, as last heard."""
        for topic in self._num_partitions:
            self._num_partitions[topic] = self._connection.num_partitions(topic) or self._num_partitions[topic]
        return sum(self._num_partitions.values())

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end offsets of owned partitions, as last heard."""
        ends = {partition: self._consumer.highwater(TheirPartition(*partition)) for partition in self._owned}
        return {partition: end for partition, end in ends.items() if end is not None}

    def has_caught_up(self) -> bool:
        """Return whether everything that the owned partitions held when last heard of was given."""
        ends = self.ends()
        return bool(self._owned) and all(ends.get(p) == self._position(p) is not None for p in self._owned)

    def close(self, timeout_s: float) -> None:
        """Leave the group, without a word to the rebalances, and close."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + timeout_s
        member = self._consumer.group_metadata().member_id
        self._consumer.close(autocommit=False, timeout_ms=timeout_s * 1000)
        if self._instance and member and not self._failure:
            leave_group(self._kafka, self._instance, member, max(0.1, deadline - time.monotonic()))

    def _position(self, partition: TopicPartition) -> int | None:
        if partition in self._unsought:
            return None
        try:
            offset: int | None = self._consumer.position(TheirPartition(*partition), timeout_ms=0)
        except KafkaError as error:  # it also reports what poll would have
            self._note(error)
            return None
        return offset

    def _look_around(self) -> None:
        """See, while nothing comes, whether the broker is gone or someone else is here instead of us."""
        # The library stops its heartbeat without a word when the broker says that another has this one's place.
        coordinator = self._coordinator
        if coordinator.stable() and not coordinator.need_rejoin() and not coordinator._heartbeat_enabled:
            self._failure = contact.place_taken(self._kafka, self._instance)
            raise self._failure
        if self._connection.refusal:
            self._note(self._connection.refusal)
            self._raise_errors()
        self._contact.note(answers=self._connection.has_contact())

    def _raise_errors(self) -> None:
        if self._failure:
            raise self._failure
        if self._errors:
            raise self._errors.popleft()

    def _note(self, error: KafkaError) -> None:
        """Keep an error of the library for :meth:`_raise_errors`, if it is one that time does not heal."""
        if self._failure or isinstance(error, TRANSIENT):
            return
        topics = ", ".join(self._kafka.topics)
        if isinstance(error, OffsetOutOfRangeError):
            self._lose_way(error.args[0])
        elif isinstance(error, LogTruncationError):
            self._lose_way(error.divergent_offsets)
        elif isinstance(error, FencedInstanceIdError):
            self._failure = contact.place_taken(self._kafka, self._instance)
        elif isinstance(error, UnsupportedCodecError):
            self._failure = contact.no_codec(topics, str(error))
        else:
            self._failure = explain(error, self._kafka, f"to read {topics} as group {self._kafka.group}")

    def _lose_way(self, offsets: Mapping[TheirPartition, Any]) -> None:
        for theirs, found in offsets.items():
            partition = TopicPartition(*theirs)
            offset = found if isinstance(found, int) else self._position(partition)
            if offset is None:
                continue
            if found is None:
                # The broker no longer knows the epoch that the offset is from. Without it, the offset itself decides.
                self._consumer.seek(theirs, offset)
                continue
            self._consumer.pause(theirs)
            self._unsought.add(partition)
            self._errors.append(OutOfRangeError(partition, offset))

    def _note_commit(self, _offsets: object, outcome: object) -> None:
        if isinstance(outcome, FencedInstanceIdError):
            self._note(outcome)
        failure = type(outcome).__name__ if isinstance(outcome, Exception) else ""
        if failure and failure != self._commit_failure:
            contact.logger.info("offsets of group %s were not committed: %s", self._kafka.group, failure)
        self._commit_failure = failure

    def _own(self, partitions: frozenset[TopicPartition], starts: Mapping[TopicPartition, int | Start]) -> None:
        """Begin where one is told to. Marks only; nothing is fetched from a partition that has no mark."""
        for partition in partitions:
            theirs, start = TheirPartition(*partition), starts[partition]
            if start is Start.EARLIEST:
                self._consumer.seek_to_beginning(theirs)
            elif start is Start.LATEST:
                self._consumer.seek_to_end(theirs)
            else:
                self._consumer.seek(theirs, start)
            if self._paused:
                self._consumer.pause(theirs)
        self._owned |= partitions

    def _disown(self, partitions: frozenset[TopicPartition]) -> None:
        self._owned -= partitions
        self._unsought -= partitions
        self._errors = deque(error for error in self._errors if error.partition not in partitions)


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Carries rebalances to ours, each on a thread of its own: the library's must go on sending heartbeats.

    Meanwhile the thread that polls waits in the library.
    """

    def __init__(self, consumer: KafkaPythonConsumer, rebalances: Rebalances) -> None:
        self._consumer = consumer
        self._rebalances = rebalances

    async def on_partitions_assigned(self, assigned: set[TheirPartition]) -> None:
        partitions = _ours(assigned)
        self._consumer._own(partitions, await self._aside(lambda: self._rebalances.assigned(partitions)))

    async def on_partitions_revoked(self, revoked: set[TheirPartition]) -> None:
        partitions = _ours(revoked)
        if not self._consumer._closed:
            await self._aside(lambda: self._rebalances.revoked(partitions))
            self._consumer._disown(partitions)

    async def on_partitions_lost(self, lost: set[TheirPartition]) -> None:
        partitions = _ours(lost)
        if not self._consumer._closed:
            await self._aside(lambda: self._rebalances.lost(partitions))
            self._consumer._disown(partitions)

    async def _aside(self, call: Callable[[], Result]) -> Result:
        results: list[Result] = []
        done = Future()

        def finish() -> None:
            done.success(None)

        def run() -> None:
            try:
                results.append(call())
            except Exception as error:
                # The library wraps what a listener raises; poll raises this instead.
                self._consumer._failure = error
            finally:
                self._consumer._connection.loop.call_soon_threadsafe(finish)

        Thread(target=run, name="kafka-rebalance", daemon=True).start()
        await done
        if not results:
            raise KafkaError("the rebalance was not answered")
        return results[0]


def _consumer_options(kafka: Kafka, instance: str | None) -> dict[str, Any]:
    session_timeout_ms = round(kafka.session_timeout_s * 1000)
    return {
        "group_id": kafka.group,
        "group_instance_id": instance,
        "partition_assignment_strategy": [CooperativeStickyAssignor],
        "session_timeout_ms": session_timeout_ms,
        "heartbeat_interval_ms": min(3_000, session_timeout_ms // 3),
        "max_poll_interval_ms": max(300_000, round(2_000 * kafka.drain_timeout_s)),
        "metadata_max_age_ms": round(kafka.new_partitions_s * 1000),
        # A broker that hangs is given up, and connected to anew, after this long.
        "request_timeout_ms": 15_000,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "max_poll_records": 8_192,
        "fetch_max_bytes": 2**23,
        "max_partition_fetch_bytes": 2**21,
        "metrics_enabled": False,
    }


def _chunk(partition: TheirPartition, records: list[Any]) -> Chunk:
    return Chunk(
        TopicPartition(*partition),
        [record.offset for record in records],
        [record.timestamp for record in records],
        [record.key for record in records],
        [record.value for record in records],
    )


def _ours(partitions: set[TheirPartition]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(*partition) for partition in partitions)


def _theirs(partitions: frozenset[TopicPartition]) -> list[TheirPartition]:
    return [TheirPartition(*partition) for partition in partitions]
