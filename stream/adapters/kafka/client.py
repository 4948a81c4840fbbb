"""What this package wants of a Kafka client library: one Protocol each, which every library's adapter fulfils.

Everything about exactly-once, patience and rebalances stands above these Protocols, in
:mod:`stream.adapters.kafka.source`, so that it is the same with every client and can be tested with a simulated broker.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from stream.errors import ScallError


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """Return it as Kafka's own tools write it.

        >>> str(TopicPartition("clicks", 3))
        'clicks-3'
        """
        return f"{self.topic}-{self.partition}"


class Start(Enum):
    """Where to begin in a partition of which no offset is known."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Chunk(NamedTuple):
    """Consecutive raw records of one partition, as columns of the same length >= 1, offsets increasing."""

    partition: TopicPartition
    offset: list[int]
    timestamp_ms: list[int]
    """The records' own timestamps, milliseconds since the epoch; -1 where a record has none."""
    key: list[bytes | None]
    value: list[bytes | None]


class Bounds(NamedTuple):
    """The offsets that a partition holds now: ``begin`` to before ``end``."""

    begin: int
    end: int


class OutOfRangeError(Exception):
    """The offset to read next is not in the partition: deleted by retention, or never written there."""

    def __init__(self, partition: TopicPartition, offset: int) -> None:
        super().__init__(f"{partition} has no offset {offset}")
        self.partition = partition
        self.offset = offset


class BrokerError(ScallError):
    """The broker cannot be reached, refuses us, or lacks the topic; the text says what to do: exit status 2."""


class Rebalances(Protocol):
    """Is told of changes in what a consumer owns. Methods may block for a while, and may be called by any thread."""

    def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
        """Return where to begin in each of the newly owned partitions; nothing is read from them before."""

    def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """Note that these are to be given up; on return they are. They are still owned while this runs."""

    def lost(self, partitions: frozenset[TopicPartition]) -> None:
        """Note that these have been taken away already."""


class GroupConsumer(Protocol):
    """A member of a consumer group that reads whole topics. All calls come from one thread.

    It never commits by itself, never resets an offset by itself, and never relies on committed offsets. Assignment is
    incremental (cooperative-sticky). A broker that is gone or hangs is waited for, in ``poll``, without an error, and
    the group is joined again by itself. Transactions that were aborted are not given.
    """

    def subscribe(self, topics: Sequence[str], rebalances: Rebalances) -> None:
        """Join the group; from now on :meth:`poll` reports rebalances.

        Raises :class:`BrokerError` where a topic does not exist.
        """

    def poll(self, timeout_s: float) -> list[Chunk]:
        """Return the next records, at most a few thousand, waiting up to ``timeout_s`` for the first; maybe none.

        Partitions that are not paused only. What one call gives follows what the last one gave, partition by partition.
        Raises :class:`OutOfRangeError`, once for a partition until it is sought, and :class:`BrokerError` for good.
        """

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read an owned partition from ``offset`` next."""

    def pause(self) -> None:
        """Give nothing from any partition owned until :meth:`resume`; :meth:`poll` still keeps the membership."""

    def resume(self) -> None:
        """Give from all partitions owned again."""

    def commit(self, offsets: Mapping[TopicPartition, int], timeout_s: float | None = None) -> None:
        """Commit the offsets to be read next: in the background, or within ``timeout_s``. Failing is no error."""

    def bounds(self, partition: TopicPartition, timeout_s: float) -> Bounds:
        """Ask the broker which offsets a partition holds; raises :class:`BrokerError` if it does not answer in time."""

    def num_partitions(self) -> int:
        """Return how many partitions the subscribed topics have, as last heard."""

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end offsets of owned partitions, as last heard; those not heard of are left out."""

    def has_caught_up(self) -> bool:
        """Return whether everything that the owned partitions (at least one) held when last heard of was given."""

    def close(self, timeout_s: float) -> None:
        """Leave the group and close; takes at most about ``timeout_s``, whatever the broker does."""


class ProducedRecord(NamedTuple):
    """One record to be written."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None
    """None: the time of writing."""


class Producer(Protocol):
    """Writes records, idempotently and waiting for all replicas. All calls come from one thread."""

    def send(self, topic: str, record: ProducedRecord) -> None:
        """Hand a record over; may wait while too many are under way.

        Raises :class:`RecordTooLargeError` at once, or from :meth:`flush`, where the topic cannot take its size;
        nothing of the record is written then.
        """

    def flush(self, timeout_s: float) -> bool:
        """Wait until all records handed over are acknowledged; return whether they are. Raises what went wrong."""

    def close(self, timeout_s: float) -> None:
        """Close; what is not acknowledged may be lost."""


class RecordTooLargeError(Exception):
    """A record is larger than the topic, or the producer, takes."""
