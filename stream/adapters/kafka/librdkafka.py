"""Consumers over librdkafka, by confluent-kafka: an optional package, and ten times as fast.

Everything that it calls back, it calls from within ``consume``, in the thread that called that.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from stream.adapters.kafka import contact
from stream.adapters.kafka.administration import can_connect, holder_of, leave_group
from stream.adapters.kafka.client import (
    Bounds,
    BrokerError,
    Chunk,
    OutOfRangeError,
    Rebalances,
    Start,
    TopicPartition,
)
from stream.adapters.kafka.librdkafka_client import PROBE_S, LibrdkafkaClient, consumer_options, run_aside
from stream.adapters.kafka.librdkafka_producer import LibrdkafkaProducer
from stream.service_settings import Kafka

__all__ = ["LibrdkafkaConsumer", "LibrdkafkaProducer"]

MAX_POLL_RECORDS: Final = 8_192
CONSUME_RECORDS: Final = 1_024
"""Asked for at once: more leave the processor's cache before they are columns."""
MAX_HELD: Final = 1_000
QUIET_S: Final = 10.0
PIECE_S: Final = 0.05


class LibrdkafkaConsumer:
    """A :class:`~stream.adapters.kafka.client.GroupConsumer` over librdkafka.

    ``instance`` makes it a static member: a process that was killed and started again takes its own place, without
    waiting for the session time-out. Raises :class:`BrokerError` where no broker answers,
    :class:`~stream.errors.UsageError` where the package is missing.
    """

    def __init__(self, kafka: Kafka, instance: str | None = None) -> None:
        self._kafka = kafka
        self._instance = instance
        self._client = LibrdkafkaClient(kafka)
        self._library = self._client.library
        self._refusal = self._library.KafkaException
        self._consumer = self._open()
        self._member: str | None = None
        self._topics: dict[str, int] = {}
        """Topics, and how many partitions each has."""
        self._counted_at = 0.0
        self._owned: frozenset[TopicPartition] = frozenset()
        self._answered = True
        self._at_end: set[TopicPartition] = set()
        self._errors: deque[OutOfRangeError] = deque()
        self._sought: dict[TopicPartition, int] = {}
        """Where partitions are to be read from, of which nothing has come since."""
        self._disturbed: set[TopicPartition] = set()  # by an error older than the last seek
        self._held: list[Chunk] = []
        """Received and not given yet."""
        self._paused = False
        self._stopped = False
        self._fenced = False
        self._contact = contact.Contact(kafka)
        self._probed_at = self._heard_at = time.monotonic()
        self._commit_failure = ""
        self._closed = False

    def subscribe(self, topics: Sequence[str], rebalances: Rebalances) -> None:
        """Join the group; see :class:`~stream.adapters.kafka.client.GroupConsumer`."""
        self._topics = dict.fromkeys(topics, 0)
        self._count_partitions(contact.FIRST_CONTACT_S)
        self._rebalances = rebalances
        self._join()

    def poll(self, timeout_s: float) -> list[Chunk]:
        """Return the next records, waiting up to ``timeout_s``, or longer while a rebalance is answered."""
        if self._fenced:
            self._ask_who_fenced()
        if self._client.failure:
            raise self._client.failure
        if self._paused:
            self._hold(timeout_s)
            return []
        if not self._held:
            self._raise_errors()
            self._receive(1, timeout_s)
        while self._held and len(self._held[0].offset) < MAX_POLL_RECORDS:
            if self._receive(CONSUME_RECORDS, 0) < CONSUME_RECORDS:
                break
        chunks, self._held = self._held, []
        self._keep_contact(heard=bool(chunks))
        if not chunks:
            self._raise_errors()
        return chunks

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read an owned partition from ``offset`` next."""
        theirs = self._theirs(partition, offset)
        # The library's own seek fails for a partition that nothing is read from, be it for an offset out of range.
        self._consumer.incremental_unassign([theirs])
        self._assign([theirs])
        self._forget(frozenset([partition]))
        self._sought[partition] = offset

    def pause(self) -> None:
        """Give nothing from any partition owned; what was fetched is kept."""
        self._paused = True

    def resume(self) -> None:
        """Give from all partitions owned again."""
        self._paused = False
        if self._stopped:
            self._stopped = False
            self._consumer.resume(self._consumer.assignment())

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float | None = None) -> None:
        """Commit what is owned in the background, or within ``timeout_s``; failing is logged."""
        theirs = [self._theirs(partition, offset) for partition, offset in offsets.items() if partition in self._owned]
        if not theirs:
            return
        # Never the library's own way of waiting: it holds up all else for as long as a broker hangs.
        self._answered = False
        try:
            self._consumer.commit(offsets=theirs, asynchronous=True)
        except self._refusal as error:
            self._note_commit(error.args[0], theirs)
        deadline = time.monotonic() + (timeout_s or 0.0)
        while not self._answered and time.monotonic() < deadline:
            self._receive(1, PIECE_S)

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
        """Ask the broker which offsets a partition holds."""
        answers: list[Bounds | BrokerError] = []

        def ask() -> None:
            try:
                found = self._consumer.get_watermark_offsets(self._theirs(partition), timeout=timeout_s)
                answers.append(Bounds(*found))
            except self._refusal as error:
                answers.append(self._client.explain(error.args[0], f"for the offsets of {partition}"))

        run_aside(ask, timeout_s)  # for it overstays its own time-out while a broker hangs
        [answer] = answers or [contact.unreachable(self._kafka)]
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    def num_partitions(self) -> int:
        """Return how many partitions the subscribed topics have, as last heard."""
        if time.monotonic() - self._counted_at > self._kafka.new_partitions_s:
            try:
                self._count_partitions(PROBE_S)
            except BrokerError:
                self._counted_at = time.monotonic()
        return sum(self._topics.values())

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end offsets of owned partitions, as last heard."""
        found = {p: self._consumer.get_watermark_offsets(self._theirs(p), cached=True)[1] for p in self._owned}
        return {partition: end for partition, end in found.items() if end >= 0}

    def has_caught_up(self) -> bool:
        """Return whether everything that the owned partitions held when last heard of was given."""
        return bool(self._owned) and self._owned <= self._at_end and not self._held

    def close(self, timeout_s: float) -> None:
        """Leave the group, without a word to the rebalances, and close."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + timeout_s
        run_aside(self._consumer.close, timeout_s)
        if self._instance and self._member and not self._client.failure:
            leave_group(self._kafka, self._instance, self._member, max(0.1, deadline - time.monotonic()))

    # Membership

    def _open(self) -> Any:
        options = consumer_options(self._kafka, self._instance) | {"on_commit": self._note_commit}
        return self._client.open(self._library.Consumer, options)

    def _join(self) -> None:
        def assigned(_consumer: object, partitions: list[Any]) -> None:
            ours = _ours(partitions)
            self._member = self._consumer.memberid()
            if ours and not self._closed:
                starts = self._rebalances.assigned(ours)
                self._assign([self._theirs(partition, starts[partition]) for partition in ours])
                self._owned |= ours

        def revoked(_consumer: object, partitions: list[Any]) -> None:
            self._give_up(partitions, self._rebalances.revoked)

        def lost(_consumer: object, partitions: list[Any]) -> None:
            self._give_up(partitions, self._rebalances.lost)

        self._consumer.subscribe(list(self._topics), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def _ask_who_fenced(self) -> None:
        """Find out who fenced this member off; if nobody did, join again.

        The library's static members fence themselves off when a broker comes back after the session time-out while they
        commit or are being told what they lost (https://github.com/confluentinc/librdkafka/issues/3437).
        """
        assert self._instance
        try:
            holder = holder_of(self._kafka, self._instance, PROBE_S)
        except BrokerError:
            return  # until the next poll
        if holder in (None, self._member):
            self._join_anew()
        else:
            self._client.failure = contact.place_taken(self._kafka, self._instance)

    def _join_anew(self) -> None:
        """Begin again with a new client of the library, for the old one is of no more use."""
        try:
            useless, self._consumer = self._consumer, self._open()
        except BrokerError:
            return  # until it is tried again
        run_aside(useless.close, PROBE_S)
        self._fenced = self._client.is_down = self._stopped = False
        if self._owned:
            lost, self._owned = self._owned, frozenset()
            self._rebalances.lost(lost)
            self._forget(lost)
        self._join()

    # Partitions

    def _theirs(self, partition: TopicPartition, start: int | Start = 0) -> Any:
        if isinstance(start, Start):
            start = self._library.OFFSET_BEGINNING if start is Start.EARLIEST else self._library.OFFSET_END
        return self._library.TopicPartition(partition.topic, partition.partition, start)

    def _assign(self, partitions: list[Any]) -> None:
        self._consumer.incremental_assign(partitions)
        if self._stopped:
            self._consumer.pause(partitions)

    def _give_up(self, partitions: list[Any], tell: Callable[[frozenset[TopicPartition]], None]) -> None:
        if self._closed or not partitions:
            return
        ours = _ours(partitions)
        try:
            tell(ours)
        finally:
            self._consumer.incremental_unassign(partitions)
            self._owned -= ours
            self._forget(ours)

    def _forget(self, partitions: frozenset[TopicPartition]) -> None:
        """Drop what was received of partitions and not given: it is out of date."""
        self._at_end -= partitions
        self._errors = deque(error for error in self._errors if error.partition not in partitions)
        self._held = [chunk for chunk in self._held if chunk.partition not in partitions]
        for partition in partitions:
            self._sought.pop(partition, None)

    def _count_partitions(self, timeout_s: float) -> None:
        """Ask how many partitions the topics have; raises :class:`BrokerError` for the first that cannot be asked."""
        for topic in self._topics:
            try:
                found = self._consumer.list_topics(topic, timeout=timeout_s).topics[topic]
            except self._refusal as error:
                raise self._client.explain(error.args[0], f"for topic {topic}") from error
            if found.error and found.error.code() == self._library.KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise contact.no_such_topic(self._kafka, [topic])
            if found.error:
                raise self._client.explain(found.error, f"to read {topic}")
            self._topics[topic] = len(found.partitions)
        self._counted_at = time.monotonic()

    # Messages

    def _receive(self, number: int, timeout_s: float) -> int:
        """Add to what is held; return how many messages came."""
        # This may call back, whereupon what is held of partitions given up is dropped. Only then may it be added to.
        messages = self._consumer.consume(number, timeout_s)
        if any(map(self._library.Message.error, messages)):
            chunks = self._columns([message for message in messages if self._is_record(message)])
            self._seek_again()
        else:
            chunks = self._columns(messages)
            self._at_end.difference_update(chunk.partition for chunk in chunks)
        for chunk in chunks:
            if self._held and self._held[-1].partition == chunk.partition:
                held = self._held[-1]
                held.offset.extend(chunk.offset)
                held.timestamp_ms.extend(chunk.timestamp_ms)
                held.key.extend(chunk.key)
                held.value.extend(chunk.value)
            else:
                self._held.append(chunk)
        return len(messages)

    def _seek_again(self) -> None:
        """Repeat seeks that an older error may have undone: the library stops reading a partition with each error."""
        for partition in self._disturbed & self._sought.keys():
            self.seek(partition, self._sought[partition])
        self._disturbed.clear()

    def _hold(self, timeout_s: float) -> None:
        """Keep what comes for ``timeout_s``, one message at most, while it calls back.

        The library calls back only when it is asked for messages; pausing it as well would throw away what it has
        fetched, so that is for long pauses.
        """
        deadline = time.monotonic() + timeout_s
        if sum(len(chunk.offset) for chunk in self._held) >= MAX_HELD and not self._stopped:
            self._stopped = True
            self._consumer.pause(self._consumer.assignment())
        self._receive(1, timeout_s)
        time.sleep(max(0.0, deadline - time.monotonic()))

    def _columns(self, messages: list[Any]) -> list[Chunk]:
        kind = self._library.Message
        if len(self._owned) == 1:
            groups = {next(iter(self._owned)): messages} if messages else {}
        else:
            groups = defaultdict(list)
            for topic, partition, message in zip(
                map(kind.topic, messages), map(kind.partition, messages), messages, strict=True
            ):
                groups[TopicPartition(topic, partition)].append(message)
        return [
            Chunk(
                partition,
                list(map(kind.offset, group)),
                [timestamp_ms for _, timestamp_ms in map(kind.timestamp, group)],
                list(map(kind.key, group)),
                list(map(kind.value, group)),
            )
            for partition, group in groups.items()
        ]

    def _is_record(self, message: Any) -> bool:
        """Return whether a message is a record; where it is an error, note that."""
        error, codes = message.error(), self._library.KafkaError
        partition = TopicPartition(message.topic(), message.partition())
        if error is None:
            self._at_end.discard(partition)
            self._sought.pop(partition, None)
            return True
        if error.code() == codes._PARTITION_EOF:
            self._at_end.add(partition)
            self._sought.pop(partition, None)
        elif error.code() in (codes._AUTO_OFFSET_RESET, codes._LOG_TRUNCATION):
            offset = message.offset()
            # Before anything else comes after a seek, no other offset is out of range than the one that was sought.
            if error.code() == codes._LOG_TRUNCATION or self._sought.get(partition, offset) == offset:
                self._errors.append(OutOfRangeError(partition, offset))
            else:
                self._disturbed.add(partition)
        elif error.code() == codes._FATAL and self._instance and "fenced" in error.str():
            self._fenced = True
        else:
            self._client.note(error)
        return False

    def _keep_contact(self, *, heard: bool) -> None:
        """See, while nothing comes, whether a broker answers, and whether it would answer a new client only."""
        client, now = self._client, time.monotonic()
        if heard:
            client.is_down = False
            self._probed_at = now
        elif now - self._probed_at > (1.0 if client.is_down else QUIET_S):
            self._probed_at = now
            try:
                self._consumer.list_topics(self._kafka.topics[0], timeout=PROBE_S)
                client.is_down = False
            except self._refusal:
                # After some outages the library never finds its brokers again.
                if client.is_down and now - self._heard_at > QUIET_S and can_connect(self._kafka, PROBE_S):
                    self._join_anew()
                client.is_down = True
        if not client.is_down:
            self._heard_at = now
        self._contact.note(answers=not client.is_down)

    def _raise_errors(self) -> None:
        if self._client.failure:
            raise self._client.failure
        if self._errors:
            raise self._errors.popleft()

    def _note_commit(self, error: Any, _partitions: object) -> None:
        self._answered = True
        failure = error.name() if error else ""
        if failure and failure != self._commit_failure:
            contact.logger.info("offsets of group %s were not committed: %s", self._kafka.group, failure)
        self._commit_failure = failure


def _ours(partitions: list[Any]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(partition.topic, partition.partition) for partition in partitions)
