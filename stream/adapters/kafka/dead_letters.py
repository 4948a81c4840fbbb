"""Dead letters in a topic, each of them once, whatever dies in between."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from stream.adapters.kafka.client import BrokerError, ProducedRecord, Producer, RecordTooLargeError
from stream.adapters.kafka.letters import read_letter, shortened, write_letter
from stream.adapters.kafka.reader import Numbering
from stream.adapters.kafka.topic_reader import NoAnswerError, TopicLog, TopicReader
from stream.core.event import Rejection
from stream.errors import StorageError
from stream.ports import Position
from stream.service_settings import Kafka

logger = logging.getLogger("scall.kafka")

_MAX_UNDER_WAY: Final = 1_000
_MAX_BYTES_UNDER_WAY: Final = 2**24
_ALONE_BYTES: Final = 2**13
"""Larger letters are written alone; a batch of smaller ones is less than what a topic usually takes."""
_FLUSH_S: Final = 0.5
_FLUSHES_AFTER_STOP: Final = 6
_TELL_AFTER: Final = 4
"""Flushes in vain after which it is told that the broker is waited for."""

Place = tuple[int, int]
"""Number of the partition, and offset, that a rejected record is from."""


class DeadLetterTopic:
    """Rejections as the records they were made of, in a topic: a :class:`~stream.ports.DeadLetters`.

    A letter has the original key and value, and headers that say why and where it was set aside. What stands in the
    topic stays: :meth:`rewind` returns it, so that nobody writes it again. A mark is where the topic ends; one that is
    too old does no harm, for only more is read then.

    One that the topic does not take, as too large, is written without its value. Clients do not tell for sure which one
    was refused, nor spare those beside it: so large ones are written alone, and after a refusal among many the topic is
    read, and what is missing is written one by one.

    The broker is waited for as long as it takes; once ``should_stop``, for 3 s more in all. ``log`` is how the topic is
    read, by default from the broker; :meth:`close` closes it, and leaves the producer to its owner.

    Raises, besides :class:`StorageError` for letters that the broker did not acknowledge before the end,
    :class:`BrokerError` where it refuses them.
    """

    def __init__(
        self,
        producer: Producer,
        kafka: Kafka,
        topic: str,
        should_stop: Callable[[], bool],
        log: TopicLog | None = None,
    ) -> None:
        self._producer = producer
        self._group = kafka.group
        self._numbering = Numbering(kafka.topics)
        self._topic = topic
        self._should_stop = should_stop
        # A transaction that someone left open would hide the letters behind it; ours are in none.
        self._log: TopicLog = TopicReader(kafka, topic, committed_only=False) if log is None else log
        self._under_way: dict[Place, ProducedRecord] = {}
        self._bytes_under_way = 0
        self._alone: dict[Place, ProducedRecord] = {}
        """Letters of those under way that are still to be written, one by one."""
        self._is_in_doubt = False
        """Which of those under way stand in the topic only the topic can tell."""
        self._mark: Position = {}
        self._is_mark_old = False
        self._flushes_in_vain = 0
        self._flushes_left = _FLUSHES_AFTER_STOP

    def write(self, rejections: Sequence[Rejection]) -> None:
        """Send the rejections; waits only while too many are under way."""
        for rejection in rejections:
            place, letter = (rejection.partition, rejection.offset), write_letter(rejection, self._group)
            num_bytes = len(letter.key or b"") + len(letter.value or b"")
            self._is_mark_old = True
            self._under_way[place] = letter
            self._bytes_under_way += num_bytes
            if num_bytes > _ALONE_BYTES:
                self._alone[place] = letter
            else:
                self._is_in_doubt |= not self._send(letter)
            if len(self._under_way) >= _MAX_UNDER_WAY or self._bytes_under_way >= _MAX_BYTES_UNDER_WAY:
                self._settle()

    def mark(self) -> Position:
        """Wait until all letters are acknowledged, and return where the topic ends."""
        if self._is_mark_old:
            self._settle()
            with suppress(NoAnswerError):
                self._mark = self._log.ends()
            self._is_mark_old = False
        return dict(self._mark)

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        """Return the reasons of this group's letters that stand behind ``mark``.

        Their partitions are numbered as by :class:`~stream.adapters.kafka.reader.Numbering`; letters of topics that
        are no longer read are left out.
        """
        self._mark, self._is_mark_old = dict(mark), True
        return dict(self._standing(mark))

    def close(self) -> None:
        """Close what the topic is read by."""
        self._log.close()

    def _settle(self) -> None:
        """Return once all that was written stands in the topic."""
        self._is_in_doubt |= not self._flush()
        if self._is_in_doubt:
            standing = self._find_standing()
            self._alone = {place: letter for place, letter in self._under_way.items() if place not in standing}
        for letter in self._alone.values():
            self._is_in_doubt = True  # until it is written, should waiting for it end with an error
            self._write_alone(letter)
        self._is_in_doubt = False
        self._under_way.clear()
        self._alone.clear()
        self._bytes_under_way = 0

    def _write_alone(self, letter: ProducedRecord) -> None:
        for attempt in (letter, *shortened(letter)):
            is_sent = self._send(attempt)
            if self._flush() and is_sent:
                return
        raise BrokerError(
            f"topic {self._topic} refuses a dead letter as too large, even without key and value: raise its "
            f"max.message.bytes"
        )

    def _find_standing(self) -> set[Place]:
        while True:
            try:
                return {place for place, _ in self._standing(self._mark)}
            except NoAnswerError:
                self._wait()

    def _standing(self, begin: Position) -> Iterator[tuple[Place, str]]:
        for record in self._log.read(begin):
            letter = read_letter(record)
            if letter and letter.group == self._group and letter.partition.topic in self._numbering.topics:
                yield (self._numbering.number_of(letter.partition), letter.offset), letter.reason

    def _send(self, letter: ProducedRecord) -> bool:
        """Hand a letter over; return False where one, this or another, was refused as too large."""
        try:
            self._producer.send(self._topic, letter)
        except RecordTooLargeError:
            return False
        return True

    def _flush(self) -> bool:
        """Wait until nothing is under way; return False where a letter was refused as too large."""
        all_taken = True
        while True:
            try:
                if self._producer.flush(_FLUSH_S):
                    break
            except RecordTooLargeError:
                all_taken = False
            else:
                self._wait()
        if self._flushes_in_vain >= _TELL_AFTER:
            logger.warning("%s: the broker has taken the dead letters", self._topic)
        self._flushes_in_vain = 0
        return all_taken

    def _wait(self) -> None:
        """Note that the broker has not answered for a while; raise where that is too long."""
        self._flushes_in_vain += 1
        if self._flushes_in_vain == _TELL_AFTER:
            logger.warning("%s: waiting for the broker to take %d dead letters", self._topic, len(self._under_way))
        self._flushes_left -= self._should_stop()
        if self._flushes_left <= 0:
            raise StorageError(
                f"{self._topic}: the broker does not acknowledge {len(self._under_way)} dead letters; see that it runs "
                f"and start again: what the last checkpoint does not hold is repeated"
            )
