"""The topics of a consumer group as a source of events."""

import queue
from collections.abc import Callable
from typing import Final

import numpy as np

from stream.adapters.kafka.client import GroupConsumer
from stream.adapters.kafka.reader import GroupReader, Numbering
from stream.adapters.kafka.records import RecordDecoder
from stream.core.event import NO_EVENTS, Origin, Poll
from stream.core.stats import PartitionStatus
from stream.ports import Position
from stream.service_settings import Kafka

_WAIT_S: Final = 0.1


class KafkaSource:
    """Topics as a :class:`stream.ports.Source`, over any client library.

    The position that :meth:`seek` gives is the truth; what the broker has as committed is never read, only written, for
    lag tools. A partition that is to be given up to another member is drained first: :meth:`poll` asks for a checkpoint
    that holds all that was read of it. One that comes back goes on where it was left, so each record is given once.

    ``EventBatch.partition`` is as in :class:`~stream.adapters.kafka.reader.Numbering`. ``stop_at_end``: :meth:`poll`
    returns None once all that the topics hold was given.
    """

    def __init__(
        self, client: GroupConsumer, decoder: RecordDecoder, kafka: Kafka, *, stop_at_end: bool = False
    ) -> None:
        self._client = client
        self._decoder = decoder
        self._kafka = kafka
        self._numbering = Numbering(kafka.topics)
        self._stop_at_end = stop_at_end
        self._reader: GroupReader | None = None
        self._origin: Callable[[int], Origin] | None = None
        self._given: Position = {}
        self._num_to_save = self._num_saved = 0
        self._to_be_saved: Position = {}

    @property
    def name(self) -> str:
        """The topics."""
        return f"kafka:{','.join(self._kafka.topics)}"

    @property
    def num_records(self) -> None:
        """None: more may always come."""

    def seek(self, position: Position) -> None:
        """Begin at ``position``; only before the first poll. Partitions it does not name are read from their start."""
        assert self._reader is None, "sought while reading"
        self._given = dict(position)

    def poll(self) -> Poll | None:
        """Return what the reader has ready; an empty poll if that is nothing for a moment.

        Raises :class:`~stream.adapters.kafka.client.BrokerError` where the reader cannot go on.
        """
        reader = self._reader or self._start()
        try:
            decoded = reader.polls.get(timeout=_WAIT_S)
        except queue.Empty:
            if reader.error is not None:
                raise reader.error from None
            return Poll(NO_EVENTS, [])
        if decoded is None:
            return None
        poll, self._origin = decoded
        self._note_given(poll)
        if poll.is_to_be_saved:
            self._num_to_save, self._to_be_saved = self._num_to_save + 1, dict(self._given)
        return poll

    def _start(self) -> GroupReader:
        begin = {self._numbering.partition_of(number): offset for number, offset in self._given.items()}
        self._reader = GroupReader(self._client, self._decoder, self._kafka, begin, stop_at_end=self._stop_at_end)
        self._reader.start()
        return self._reader

    def _note_given(self, poll: Poll) -> None:
        given = self._given
        for gap in poll.gaps:
            given[gap.partition] = gap.end
        partitions, last = np.unique(poll.events.partition[::-1], return_index=True)
        ends = poll.events.offset[::-1][last] + 1
        given |= dict(zip(partitions.tolist(), ends.tolist(), strict=True))
        for rejection in poll.rejections:
            given[rejection.partition] = max(given.get(rejection.partition, 0), rejection.offset + 1)

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        """Return the record of the last poll with this number."""
        assert self._origin is not None, "nothing was polled yet"
        return self._origin(number)

    def partitions(self, position: Position) -> list[PartitionStatus]:
        """Return the owned partitions and how many records they hold from ``position`` on, as last heard."""
        ends = {} if self._reader is None else self._reader.ends
        return [self._status_of(number, position.get(number, 0), ends[number]) for number in sorted(ends)]

    def _status_of(self, number: int, offset: int, end: int) -> PartitionStatus:
        topic, partition = self._numbering.partition_of(number)
        return PartitionStatus(topic, partition, offset, max(0, end - offset))

    def commit(self, position: Position) -> None:
        """Have the position committed to the broker, in the background."""
        if all(position.get(number, 0) >= end for number, end in self._to_be_saved.items()):
            self._num_saved = self._num_to_save
        if self._reader is not None:
            self._reader.commit(position, num_saved=self._num_saved)

    def close(self) -> None:
        """Leave the group and close the client; takes a few seconds at most, whatever the broker does."""
        if self._reader is not None:
            self._reader.stop()
        else:
            self._client.close(_WAIT_S)
