"""What a simulated broker keeps: the log of a partition, and which member of a group has which partitions."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from stream.adapters.kafka.client import TopicPartition


class StoredRecord(NamedTuple):
    """A record as it lies in a partition."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class PartitionLog:
    """Records by increasing offset, ``begin`` to before ``end``, of which some may be missing."""

    def __init__(self) -> None:
        self.begin = 0
        self.end = 0
        self.records: list[StoredRecord] = []

    def append(self, record: StoredRecord) -> None:
        """Write a record, whose offset is :attr:`end` or more."""
        assert record.offset >= self.end
        self.records.append(record)
        self.end = record.offset + 1

    def delete(self, before: int) -> None:
        """Delete the records of lower offsets."""
        self.begin = max(self.begin, min(before, self.end))
        del self.records[: self._place(self.begin)]

    def read(self, offset: int, max_records: int) -> tuple[list[StoredRecord], int]:
        """Return the next records, and the offset to go on from."""
        first = self._place(offset)
        last = min(first + max_records, len(self.records))
        return self.records[first:last], self.records[last].offset if last < len(self.records) else self.end

    def _place(self, offset: int) -> int:
        return bisect_left(self.records, offset, key=lambda record: record.offset)


class ConsumerGroup:
    """The members of a consumer group by name: what each shall have, and what each has.

    They differ while partitions change hands: the old owner gives one up first, then the new one takes it.

    >>> group, both = ConsumerGroup(), [TopicPartition("clicks", 0), TopicPartition("clicks", 1)]
    >>> epoch = group.join("a", ["clicks"])
    >>> group.share_out(both)
    >>> sorted(group.take("a")) == both
    True
    >>> epoch = group.join("b", ["clicks"])
    >>> group.share_out(both)
    >>> group.take("b")
    frozenset()
    >>> group.excess("a")
    frozenset({TopicPartition(topic='clicks', partition=1)})
    """

    def __init__(self) -> None:
        self.topics: tuple[str, ...] = ()
        self.shares: dict[str, set[TopicPartition]] = {}
        """What each member shall have, in the order of joining."""
        self.owners: dict[TopicPartition, str] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.epochs: dict[str, int] = {}
        """How often a member of each name has joined."""

    def join(self, name: str, topics: Sequence[str]) -> int:
        """Let a member in and return its epoch; another one of that name is out, and leaves its share to it."""
        self.topics = tuple(topics)
        self.shares.setdefault(name, set())
        self.epochs[name] = self.epochs.get(name, 0) + 1
        return self.epochs[name]

    def leave(self, name: str) -> None:
        """Let a member go; what it has is free."""
        self.shares.pop(name, None)
        self.give_up(name, self.excess(name))

    def share_out(self, partitions: Sequence[TopicPartition]) -> None:
        """Divide the partitions evenly, moving no more of them than that takes."""
        shares = self.shares.values()
        for partition in partitions:
            if shares and not any(partition in share for share in shares):
                min(shares, key=len).add(partition)
        while shares and len(largest := max(shares, key=len)) > len(smallest := min(shares, key=len)) + 1:
            moved = max(largest)
            largest.remove(moved)
            smallest.add(moved)

    def excess(self, name: str) -> frozenset[TopicPartition]:
        """Return what a member has and shall not have."""
        share = self.shares.get(name, set())
        return frozenset(p for p, owner in self.owners.items() if owner == name and p not in share)

    def give_up(self, name: str, partitions: frozenset[TopicPartition]) -> None:
        """Let a member have these no more, of what it has."""
        self.owners = {p: owner for p, owner in self.owners.items() if owner != name or p not in partitions}

    def take(self, name: str) -> frozenset[TopicPartition]:
        """Let a member have what it shall have and no other one has; return all that it has then."""
        self.owners.update({p: name for p in self.shares.get(name, set()) if p not in self.owners})
        return frozenset(p for p, owner in self.owners.items() if owner == name)
