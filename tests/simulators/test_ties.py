"""Ties are shuffled within user and time, by the seed and the offsets and nothing else."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.ties import TieShuffled
from stream.adapters.files import FileSource
from stream.core.event import EventBatch, Origin, Poll, Rejection, mix64
from stream.core.stats import PartitionStatus
from stream.ports import Position, Source

WORD = 2**64


class Event(NamedTuple):
    user: int
    timestamp_ms: int
    item: str
    offset: int


class Records:
    """A source of records at offsets 0, 1, 2...: (user, timestamp) is an event, None a rejection."""

    name = "records"

    def __init__(self, records: list[tuple[int, int] | None], cuts: list[int]) -> None:
        self.records = records
        self.num_records: int | None = len(records)
        self.cuts = cuts
        self.next = 0
        self.seek({})

    def poll(self) -> Poll | None:
        if self.next >= len(self.records):
            return None
        begin, self.next = self.next, min(len(self.records), self.next + next(self.sizes))
        span = range(begin, self.next)
        rejections = [Rejection(0, i, Origin(f"row {i + 1}"), "bad", "") for i in span if self.records[i] is None]
        return Poll(batch_of([(i, *found) for i in span if (found := self.records[i])]), rejections)

    def seek(self, position: Position) -> None:
        self.next = position.get(0, 0)
        self.sizes: Iterator[int] = iter([*self.cuts, *[1000] * len(self.records)])

    def origin(self, partition: int, number: int) -> Origin:
        return Origin(f"{partition}, row {number}")

    def partitions(self, position: Position) -> list[PartitionStatus]:
        return [PartitionStatus("clicks", 0, position.get(0, 0), 7)]

    def commit(self, position: Position) -> None:
        self.committed = position

    def close(self) -> None:
        self.num_records = None


def batch_of(rows: list[tuple[int, int, int]]) -> EventBatch:
    """Events of (offset, user, timestamp) whose item names the offset, its bytes among others."""
    names = [f"item{offset}".encode() for offset, _, _ in rows]
    length = np.array([len(name) for name in names], np.int32)
    return EventBatch(
        user=np.array([user for _, user, _ in rows], np.uint64),
        item=np.array([offset for offset, _, _ in rows], np.uint64),
        timestamp_ms=np.array([time for _, _, time in rows], np.int64),
        weight=np.array([offset + 1 for offset, _, _ in rows], np.float32),
        partition=np.zeros(len(rows), np.int32),
        offset=np.array([offset for offset, _, _ in rows], np.int64),
        number=np.array([offset + 1 for offset, _, _ in rows], np.int64),
        item_start=2 + (np.cumsum(length) - length).astype(np.int64),
        item_length=length,
        item_data=np.frombuffer(b"??" + b"".join(names) + b"?", np.uint8),
    )


def drain(source: Source) -> tuple[list[Event], list[int]]:
    """Read to the end; every poll must go on where the one before ended."""
    events: list[Event] = []
    rejected: list[int] = []
    reached = -1
    while (poll := source.poll()) is not None:
        batch = poll.events
        offsets = sorted([*batch.offset.tolist(), *(r.offset for r in poll.rejections)])
        assert offsets
        assert offsets[0] > reached
        reached = offsets[-1]
        assert (np.diff(batch.offset) > 0).all()
        for i in range(batch.num_events):
            begin = batch.item_start[i]
            item = batch.item_data[begin : begin + batch.item_length[i]].tobytes().decode()
            assert (batch.item[i], batch.weight[i]) == (int(item[4:]), int(item[4:]) + 1)
            events.append(Event(int(batch.user[i]), int(batch.timestamp_ms[i]), item, int(batch.offset[i])))
        rejected += [r.offset for r in poll.rejections]
    return events, rejected


def naive(records: list[tuple[int, int] | None], seed: int, block: int) -> list[Event]:
    """The same in plain words: group, and deal each group's events out by their hashes."""
    salt = mix64(np.uint64((seed + 0x9E3779B97F4A7C15) % WORD))
    found = [(offset, *record) for offset, record in enumerate(records) if record]
    shuffled = []
    for _, run in groupby(found, key=lambda row: (row[2], row[0] // block)):
        rows = list(run)
        for user in {row[1] for row in rows}:
            places = [offset for offset, who, _ in rows if who == user]
            dealt = sorted(places, key=lambda offset: int(mix64(np.uint64(int(salt) ^ offset))))
            shuffled += [Event(user, rows[0][2], f"item{old}", place) for place, old in zip(places, dealt, strict=True)]
    return sorted(shuffled, key=lambda event: event.offset)


RECORDS = st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 2), st.integers(0, 1)), st.just((0, 0))), max_size=40)


@given(
    records=RECORDS,
    cuts=st.lists(st.integers(1, 9), max_size=12),
    seed=st.integers(0, 2**64),
    block=st.sampled_from([1, 2, 7, 16, 100]),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_it_is_its_naive_twin_however_the_source_is_cut(
    records: list[tuple[int, int] | None], cuts: list[int], seed: int, block: int
) -> None:
    events, rejected = drain(TieShuffled(Records(records, cuts), seed, block))
    assert events == naive(records, seed, block)
    assert rejected == [i for i, record in enumerate(records) if record is None]


@given(
    records=RECORDS,
    cuts=st.lists(st.integers(1, 9), max_size=12),
    position=st.integers(0, 45),
    num_polls=st.integers(0, 3),
    block=st.sampled_from([1, 7, 16, 100]),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_seeking_gives_what_reading_on_would_have_given(
    records: list[tuple[int, int] | None], cuts: list[int], position: int, num_polls: int, block: int
) -> None:
    events, rejected = drain(TieShuffled(Records(records, []), 5, block))
    source = TieShuffled(Records(records, cuts), 5, block)
    for _ in range(num_polls):
        source.poll()
    source.seek({0: position})
    wanted = (
        [e for e in events if e.offset >= position],
        [offset for offset in rejected if offset >= position],
    )
    assert drain(source) == wanted


BASKETS: list[tuple[int, int] | None] = [(i % 3, i // 50) for i in range(1000)]


def test_shuffling_moves_events_only_within_their_user_and_time() -> None:
    before, _ = drain(Records(BASKETS, []))
    after, _ = drain(TieShuffled(Records(BASKETS, []), 1))
    assert [e[:2] for e in after] == [e[:2] for e in before]
    assert Counter(e[:3] for e in after) == Counter(e[:3] for e in before)
    assert sum(a.item != b.item for a, b in zip(after, before, strict=True)) > 900


def test_each_order_of_a_tie_is_as_likely_as_any_other() -> None:
    triples: list[tuple[int, int] | None] = [(0, i // 3) for i in range(18_000)]
    events, _ = drain(TieShuffled(Records(triples, []), 1))
    orders = [tuple(int(e.item[4:]) - e.offset for e in events[i : i + 3]) for i in range(0, 18_000, 3)]
    counts = Counter(orders)
    assert len(counts) == 6
    # Five standard deviations of a count.
    assert all(abs(count - 1000) < 5 * (6000 / 6 * 5 / 6) ** 0.5 for count in counts.values())


def test_another_seed_gives_another_order() -> None:
    outcomes = [drain(TieShuffled(Records(BASKETS, []), seed))[0] for seed in (1, 1, 2, -1)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] != outcomes[2] != outcomes[3] != outcomes[0]


def test_what_has_no_ties_is_left_alone() -> None:
    records: list[tuple[int, int] | None] = [(i % 3, i // 3) for i in range(60)]
    assert drain(TieShuffled(Records(records, [7] * 9), 1)) == drain(Records(records, []))


def test_an_endless_tie_is_cut_so_that_little_is_held_back() -> None:
    same: list[tuple[int, int] | None] = [(0, 0)] * 1000
    source = TieShuffled(Records(same, [10] * 100), 1, block_records=50)
    polls = list(islice(iter(source.poll, None), 3))
    assert [int(poll.events.offset[-1]) for poll in polls if poll] == [49, 99, 149]


def test_rejections_without_end_are_not_held_back_behind_a_run() -> None:
    records: list[tuple[int, int] | None] = [(0, 0), (0, 0), *[None] * 998]
    source = TieShuffled(Records(records, [10] * 100), 1, block_records=50)
    polls = list(islice(iter(source.poll, None), 3))
    assert [len(poll.rejections) for poll in polls if poll] == [58, 10, 10]


def test_seeking_reads_again_no_more_than_a_block() -> None:
    inner = Records(BASKETS, [])
    TieShuffled(inner, 1, block_records=64).seek({0: 200})
    assert inner.next == 192


def test_it_passes_on_what_it_does_not_change() -> None:
    inner = Records(BASKETS, [])
    source = TieShuffled(inner, 1)
    assert (source.name, source.num_records, source.source) == ("records", 1000, inner)
    source.close()
    assert source.num_records is None


def test_a_file_is_shuffled_alike_whatever_its_chunks(tmp_path: Path) -> None:
    path = tmp_path / "baskets.csv"
    rows = [f"{i % 3 if i % 11 else ''},item{i},{i // 50}" for i in range(500)]
    path.write_text("user,item,time\n" + "\n".join(rows))
    outcomes = []
    for chunk_rows in (3, 1000):
        source = TieShuffled(FileSource(path, chunk_rows=chunk_rows), 1)
        columns = [
            (int(user), int(item), int(offset))
            for poll in iter(source.poll, None)
            for user, item, offset in zip(poll.events.user, poll.events.item, poll.events.offset, strict=True)
        ]
        outcomes.append(columns)
        source.close()
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 454
