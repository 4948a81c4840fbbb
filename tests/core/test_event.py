"""Keys are what the textbooks say they are; columns stay together however a batch is cut and ordered."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.event import (
    ITEM,
    MAX_ID_BYTES,
    NO_EVENTS,
    USER,
    EventBatch,
    digest_of,
    hash_id,
    hash_spans,
    mix64,
)
from tests.core import twins

quick = settings(derandomize=True, deadline=None, max_examples=100)
names = st.lists(st.binary(max_size=MAX_ID_BYTES), max_size=8)
sides = st.sampled_from([USER, ITEM])


def item_names(events: EventBatch) -> list[bytes]:
    spans = zip(events.item_start.tolist(), events.item_length.tolist(), strict=True)
    return [events.item_data[start : start + length].tobytes() for start, length in spans]


@quick
@given(x=st.integers(0, 2**64 - 1))
def test_mixing_is_the_finaliser_of_splitmix64(x: int) -> None:
    assert int(mix64(np.uint64(x))) == twins.mix64(x)


def test_the_first_draws_of_splitmix64_from_seed_0_come_out_right() -> None:
    steps = [0x9E3779B97F4A7C15, 0x3C6EF372FE94F82A]
    assert [int(mix64(np.uint64(step))) for step in steps] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@pytest.mark.parametrize("bit", [0, 1, 31, 32, 63])
def test_every_bit_of_the_input_turns_about_half_of_the_output(bit: int) -> None:
    inputs = np.arange(1, 201, dtype=np.uint64)
    turned = [int(mix64(x) ^ mix64(x ^ np.uint64(1 << bit))).bit_count() for x in inputs]
    assert 30 < np.mean(turned) < 34


@quick
@given(ids=names, side=sides, gap=st.integers(0, 3), backwards=st.booleans())
def test_a_key_depends_on_the_bytes_of_its_span_and_the_side_alone(
    ids: list[bytes], side: int, gap: int, backwards: bool
) -> None:
    length = np.array([len(name) for name in ids], np.int32)
    start = np.cumsum(length + gap, dtype=np.int64) - length
    data = np.frombuffer(b"".join(b"?" * gap + name for name in ids), np.uint8).copy()
    turn = slice(None, None, -1 if backwards else 1)
    keys = hash_spans(data, start[turn].copy(), length[turn].copy(), side)
    assert keys.dtype == np.uint64
    assert keys.tolist() == [twins.key_of(name, side) for name in ids[turn]]


@quick
@given(name=st.text(max_size=60), side=sides)
def test_one_id_hashes_as_its_utf8_bytes_do_in_a_batch(name: str, side: int) -> None:
    assert hash_id(name, side) == twins.key_of(name.encode(), side)


def test_a_hundred_thousand_ids_of_both_sides_have_as_many_keys() -> None:
    ids = [str(i).encode() for i in range(50_000)]
    length = np.array([len(name) for name in ids], np.int32)
    start = np.cumsum(length, dtype=np.int64) - length
    data = np.frombuffer(b"".join(ids), np.uint8).copy()
    keys = np.concatenate([hash_spans(data, start, length, side) for side in (USER, ITEM)])
    assert len(np.unique(keys)) == 100_000


@quick
@given(
    items=st.lists(st.text("aé✓", max_size=5), min_size=1, max_size=10),
    bounds=st.tuples(st.integers(0, 10), st.integers(0, 10)),
    seed=st.integers(0, 99),
)
def test_an_item_keeps_its_id_through_cuts_and_permutations(
    items: list[str], bounds: tuple[int, int], seed: int
) -> None:
    events = twins.events_of([f"user {i}" for i in range(len(items))], items)
    order = np.random.default_rng(seed).permutation(len(items))
    begin, end = sorted(bounds)
    cut = events.take(order).cut(begin, end)
    assert cut.offset.tolist() == order[begin:end].tolist()
    assert cut.num_events == len(cut.offset)
    assert item_names(cut) == [items[i].encode() for i in cut.offset]
    assert cut.item.tolist() == [twins.key_of(name, ITEM) for name in item_names(cut)]
    assert cut.user.tolist() == [twins.key_of(f"user {i}".encode(), USER) for i in cut.offset]
    assert cut.item_data is events.item_data


# Digests of what was learnt

places = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**62))


def digest(records: list[tuple[int, int]]) -> int:
    columns = np.array(records, np.int64).reshape(-1, 2)
    return digest_of(columns[:, 0].astype(np.int32), columns[:, 1].copy())


@quick
@given(records=st.lists(places, max_size=20), seed=st.integers(0, 99), cut=st.integers(0, 20))
def test_a_digest_is_a_sum_over_records_in_any_order(records: list[tuple[int, int]], seed: int, cut: int) -> None:
    salted = ((twins.mix64((partition + 0x9E3779B97F4A7C15) % 2**64), offset) for partition, offset in records)
    whole = sum(twins.mix64(salt ^ offset) for salt, offset in salted) % 2**64
    assert digest(records) == whole
    shuffled = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
    assert (digest(shuffled[:cut]) + digest(shuffled[cut:])) % 2**64 == whole


def test_nothing_has_the_digest_0() -> None:
    assert digest_of(NO_EVENTS.partition, NO_EVENTS.offset) == 0


def test_a_record_lost_doubled_or_of_another_partition_shows_in_the_digest() -> None:
    records = [(partition, offset) for partition in range(3) for offset in range(200)]
    digests = {digest(records), digest([*records, records[7]]), digest(records[1:]), digest([*records[1:], (3, 0)])}
    digests |= {digest([record]) for record in records}
    assert len(digests) == 4 + len(records)
