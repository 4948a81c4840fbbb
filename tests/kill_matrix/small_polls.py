"""A client that gives few records at once, so that a stream has many places to die at."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from stream.adapters.kafka.client import Chunk, GroupConsumer, Rebalances, Start, TopicPartition

Partitions = frozenset[TopicPartition]


class SmallPolls:
    """A :class:`~stream.adapters.kafka.client.GroupConsumer` over another, and what that one tells of rebalances.

    ``most`` is how many records of a partition it gives at once.
    """

    def __init__(self, client: GroupConsumer, most: int, rng: random.Random) -> None:
        self._client = client
        self._most = most
        self._rng = rng
        self._held: list[Chunk] = []
        self._is_paused = False
        self._rebalances: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def subscribe(self, topics: Sequence[str], rebalances: Rebalances) -> None:
        self._rebalances = rebalances
        self._client.subscribe(topics, self)

    def poll(self, timeout_s: float) -> list[Chunk]:
        if self._is_paused:
            return self._client.poll(timeout_s)
        if not self._held:
            self._held = self._client.poll(timeout_s)
        num = self._rng.randint(1, self._most)
        given = [_cut(chunk, 0, num) for chunk in self._held]
        self._held = [_cut(chunk, num, len(chunk.offset)) for chunk in self._held if len(chunk.offset) > num]
        return given

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._drop(frozenset([partition]))
        self._client.seek(partition, offset)

    def pause(self) -> None:
        self._is_paused = True
        self._client.pause()

    def resume(self) -> None:
        self._is_paused = False
        self._client.resume()

    def has_caught_up(self) -> bool:
        return not self._held and self._client.has_caught_up()

    def assigned(self, partitions: Partitions) -> Mapping[TopicPartition, int | Start]:
        self._drop(partitions)
        begin: Mapping[TopicPartition, int | Start] = self._rebalances.assigned(partitions)
        return begin

    def revoked(self, partitions: Partitions) -> None:
        self._rebalances.revoked(partitions)
        self._drop(partitions)

    def lost(self, partitions: Partitions) -> None:
        self._rebalances.lost(partitions)
        self._drop(partitions)

    def _drop(self, partitions: Partitions) -> None:
        self._held = [chunk for chunk in self._held if chunk.partition not in partitions]


def _cut(chunk: Chunk, begin: int, end: int) -> Chunk:
    return Chunk(chunk.partition, *(column[begin:end] for column in chunk[1:]))
