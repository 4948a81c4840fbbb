"""Records become events, or dead letters with a reason, each by itself: as if a slow reader took them one by one."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.kafka.client import Chunk, TopicPartition
from stream.adapters.kafka.records import ABSURD_TIME, Decoded, RecordDecoder
from stream.core.event import ITEM, MAX_ID_BYTES, USER, Poll, Record, hash_id
from stream.errors import UsageError
from stream.service_settings import Schema

quick = settings(derandomize=True, deadline=None, max_examples=150)
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
MOST = 1000
"""Bytes that a record may have."""


class Raw(NamedTuple):
    """A record as it was written."""

    value: bytes | None
    key: bytes | None = b"k"
    timestamp_ms: int = NOW_MS


class Event(NamedTuple):
    """What becomes of a good record."""

    user: int
    item: str
    timestamp_ms: int
    weight: float


Fields = list[tuple[str, Any]]
"""The members of a JSON object; a name may stand there twice."""


def as_json(fields: Fields) -> bytes:
    members = (f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}" for name, value in fields)
    return "{{{}}}".format(",".join(members)).encode()


def click(**changes: Any) -> bytes:
    return as_json(list(({"user": "u", "item": "i", "timestamp": NOW_MS} | changes).items()))


def decoder(schema: Schema = Schema(), most: int = MOST) -> RecordDecoder:  # noqa: B008 - it is immutable
    return RecordDecoder(schema, most)


def chunk_of(raws: list[Raw], partition: int = 0, first: int = 0) -> Chunk:
    offsets = list(range(first, first + len(raws)))
    values, keys, times = ([raw[column] for raw in raws] for column in range(3))
    return Chunk(TopicPartition("clicks", partition), offsets, times, keys, values)


def decode(raws: list[Raw], schema: Schema = Schema()) -> Decoded:  # noqa: B008 - it is immutable
    return decoder(schema).decode([chunk_of(raws)], [0])


def event_at(poll: Poll, index: int) -> Event:
    events = poll.events
    start, length = int(events.item_start[index]), int(events.item_length[index])
    name = events.item_data[start : start + length].tobytes().decode()
    assert events.item[index] == hash_id(name, ITEM)
    return Event(int(events.user[index]), name, int(events.timestamp_ms[index]), float(events.weight[index]))


def fate(raw: Raw, schema: Schema = Schema()) -> Event | str:  # noqa: B008 - it is immutable
    """Return the event that a lone record becomes, or why it becomes none."""
    poll, _ = decode([raw], schema)
    assert poll.events.num_events + len(poll.rejections) == 1
    return poll.rejections[0].reason if poll.rejections else event_at(poll, 0)


def good(user: str = "u", item: str = "i", timestamp_ms: int = NOW_MS, weight: float = 1.0) -> Event:
    return Event(hash_id(user, USER), item, timestamp_ms, weight)


# The reader who takes them one by one


class RefusedError(Exception):
    """What the slow reader makes of a bad record: the reason."""


def value_at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        if tree is None:
            return None
        if not isinstance(tree, dict):
            raise RefusedError("wrong schema")
        tree = tree.get(name)
    return tree


def field_of(raw: Raw, tree: Any, path: str, *kinds: type) -> str | None:
    if path == "@key":
        return None if raw.key is None else raw.key.decode()
    if path == "@timestamp":
        return str(raw.timestamp_ms) if raw.timestamp_ms >= 0 else None
    value = value_at(tree, path)
    if value is not None and type(value) not in kinds:
        raise RefusedError("wrong schema")
    return None if value is None else str(value)


def time_of(text: str) -> int:
    try:
        number = Decimal(text)
    except InvalidOperation:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise RefusedError("unparseable timestamp") from None
        return round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    return int(number * 1000 if number < 10**11 else number)


def refuse_constant(name: str) -> None:
    raise ValueError(name)


def naive_event(raw: Raw, schema: Schema) -> Event:
    if raw.value is None:
        raise RefusedError("tombstone")
    if len(raw.value) > MOST:
        raise RefusedError("record too large")
    try:
        tree = json.loads(raw.value.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise RefusedError("malformed row") from None
    if not isinstance(tree, dict):
        raise RefusedError("wrong schema")
    user, item = field_of(raw, tree, schema.user, str, int), field_of(raw, tree, schema.item, str, int)
    time = field_of(raw, tree, schema.timestamp, str, int, float)
    weight = field_of(raw, tree, schema.weight, int, float) if schema.weight else None
    for text, name in ((user, "user id"), (item, "item id"), (time, "timestamp")):
        if not text:
            raise RefusedError(f"missing {name}")
    assert user
    assert item
    assert time
    if max(len(user.encode()), len(item.encode())) > MAX_ID_BYTES:
        raise RefusedError("id too long")
    time_ms = time_of(time)
    if weight is not None and float(weight) <= 0:
        raise RefusedError("weight not positive")
    if time_ms < 631_152_000_000 or (raw.timestamp_ms >= 0 and time_ms > raw.timestamp_ms + DAY_MS):
        raise RefusedError(ABSURD_TIME)
    return good(user, item, time_ms, float(np.float32(weight or 1)))


def naive_fate(raw: Raw, schema: Schema) -> Event | str:
    try:
        return naive_event(raw, schema)
    except RefusedError as refusal:
        return str(refusal)


SCHEMAS = (
    Schema(),
    Schema(weight="weight"),
    Schema(user="who.id", item="who.last item", timestamp="at", weight="deep.er.est"),
    Schema(user="class", item="@key", timestamp="@timestamp"),
    Schema(user="@key", item="ü-1", timestamp="def.import"),
)

SECOND = NOW_MS // 1000
IDS = ("u1", "u2", "é✓😀", 'a "quoted" one', "7", " ", 0, 7, -9)
ODD_IDS = (2**63, -(2**70), "x" * MAX_ID_BYTES, "x" * (MAX_ID_BYTES + 1), "é" * 127, "", None)
WRONG_IDS = (1.5, 7.0, True, [1], {"id": 1}, {})
TIMES = (SECOND, SECOND - 99, NOW_MS, NOW_MS + 0.5, SECOND + 0.25, str(SECOND), "2023-11-14T23:13:20+01:00")
ODD_TIMES = (0, -5, 631_151_999, 631_152_000, SECOND + 86_400, SECOND + 86_401, "", "yesterday", None)
WRONG_TIMES = (False, [SECOND], {})
WEIGHTS = (1, 2, 0.25, None)
ODD_WEIGHTS = (0, -1, 0.0, "2", True, [])
NO_OBJECTS = (
    *(None, b"", b" ", b"{", b"[]", b"null", b'"text"', b"7", b"{]}", b"nonsense", b'{"user":"u"} {}', b'{"user":01}'),
    *(click(other=float("nan")), click(other=-float("inf")), click()[:-1], b"\xef\xbb\xbf" + click()),
)
KEYS = (b"k1", "ké".encode(), b"", None, b"k" * (MAX_ID_BYTES + 1))
STAMPS = (NOW_MS, NOW_MS - 5, NOW_MS + 99, -1)


def mostly(random: Random, good: Sequence[Any], *bad: Sequence[Any]) -> Any:
    return random.choice(good if random.random() < 0.85 else random.choice(bad))


def some_object(random: Random, schema: Schema) -> bytes:
    """Return an object whose fields are good, odd or wrong, in any order, with others around them."""
    ids, times = (IDS, ODD_IDS, WRONG_IDS), (TIMES, ODD_TIMES, WRONG_TIMES)
    paths = [(schema.user, ids), (schema.item, ids), (schema.timestamp, times)]
    if schema.weight is not None:
        paths.append((schema.weight, (WEIGHTS, ODD_WEIGHTS)))
    tree: dict[str, Any] = {"other": [{"user": 1}], "pad": "x" * MOST * (random.random() < 0.05)}
    for path, values in paths:
        *branches, leaf = path.split(".")
        level = tree
        for name in branches:
            level = level.setdefault(name, mostly(random, [{}], [None, 3, [], "who"]) or {})
            if not isinstance(level, dict):
                break
        else:
            if not path.startswith("@") and random.random() < 0.95:
                level[leaf] = mostly(random, *values)
    return as_json(random.sample(list(tree.items()), len(tree)))


def some_records(schema: Schema) -> list[Raw]:
    """Return records of a schema, good and bad."""
    random = Random(5)
    objects = [some_object(random, schema) for _ in range(200)]
    return [Raw(mostly(random, objects, NO_OBJECTS), random.choice(KEYS), random.choice(STAMPS)) for _ in range(300)]


RECORDS = {schema: some_records(schema) for schema in SCHEMAS}


@st.composite
def streams(draw: st.DrawFn) -> tuple[Schema, list[list[Raw]]]:
    """Draw a schema, and records of it for each of some partitions."""
    schema = draw(st.sampled_from(SCHEMAS))
    records = st.lists(st.sampled_from(RECORDS[schema]), min_size=1, max_size=15)
    return schema, draw(st.lists(records, min_size=1, max_size=3))


def test_the_records_have_every_fate() -> None:
    for schema, raws in RECORDS.items():
        fates = [naive_fate(raw, schema) for raw in raws]
        reasons = {"tombstone", "record too large", "malformed row", "wrong schema", "missing user id", "id too long"}
        assert reasons <= {fate for fate in fates if isinstance(fate, str)}
        assert sum(isinstance(fate, Event) for fate in fates) > 50


@quick
@given(streams())
def test_any_mix_of_records_is_taken_as_if_one_by_one(stream: tuple[Schema, list[list[Raw]]]) -> None:
    schema, partitions = stream
    chunks = [chunk_of(raws, partition, first=10) for partition, raws in enumerate(partitions)]
    poll, origin = decoder(schema).decode(chunks, [10 * partition for partition in range(len(chunks))])
    events, rejections = poll.events, poll.rejections
    found: dict[tuple[int, int], Event | str] = {
        (int(events.partition[i]), int(events.offset[i])): event_at(poll, i) for i in range(events.num_events)
    }
    found |= {(rejection.partition, rejection.offset): rejection.reason for rejection in rejections}
    assert len(found) == events.num_events + len(rejections)
    assert found == {
        (10 * partition, 10 + at): naive_fate(raw, schema)
        for partition, raws in enumerate(partitions)
        for at, raw in enumerate(raws)
    }
    origins = [(r.partition, r.offset, r.origin) for r in rejections]
    origins += [(int(e.partition), int(e.offset), origin(int(e.number))) for e in map(Ordinals._make, ordinals(poll))]
    for partition, offset, (place, record) in origins:
        value, key, timestamp_ms = partitions[partition // 10][offset - 10]
        assert place == f"clicks-{partition // 10}@{offset}"
        assert record == Record("clicks", partition // 10, timestamp_ms, key, value)


class Ordinals(NamedTuple):
    """Where an event stands."""

    partition: int
    offset: int
    number: int


def ordinals(poll: Poll) -> list[tuple[int, int, int]]:
    events = poll.events
    return list(zip(events.partition.tolist(), events.offset.tolist(), events.number.tolist(), strict=True))


@pytest.mark.parametrize("bad", [None, b"{", b"[]", b'{"user":"\xff","item":"i"}', b"x" * (MOST + 1), click(user=1.5)])
def test_a_bad_record_does_not_touch_its_neighbours(bad: bytes | None) -> None:
    neighbours = [Raw(click(user=f"u{i}", item=10**i)) for i in range(25)]
    poll, _ = decode([*neighbours[:10], Raw(bad), *neighbours[10:]])
    assert [event_at(poll, i) for i in range(25)] == [good(f"u{i}", str(10**i)) for i in range(25)]
    ((_, offset, _, *told),) = poll.rejections
    ((_, _, _, *told_alone),) = decode([Raw(bad)])[0].rejections
    assert (offset, told) == (10, told_alone)


def test_no_records_are_no_events() -> None:
    poll, _ = decoder().decode([], [])
    assert poll.events.num_events == 0
    assert poll.rejections == []


# Each reason


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "tombstone", "no value"),
        (b"x" * (MOST + 1), "record too large", "1001 bytes"),
        (b"", "malformed row", ""),
        (b"not json", "malformed row", "not json"),
        (b'{"user":"u"', "malformed row", '{"user":"u"'),
        (b'{"user":"\\ud800","item":"i"}', "malformed row", '{"user":"\\ud800","item":"i"}'),
        (b'{"a":' + b"[" * 300, "malformed row", '{"a":' + "[" * 195),
        (b"[7]", "wrong schema", "Expected `object`, got `array`"),
        (click(user=["u"]), "wrong schema", "Expected `int | str | null`, got `array` - at `$.user`"),
        (b'{"user":' + b"9" * 500 + b"}", "missing item id", "user '" + "9" * 194),
        (click(user=None), "missing user id", "user '', item 'i', timestamp '1700000000000'"),
        (click(item=""), "missing item id", "user 'u', item '', timestamp '1700000000000'"),
        (b'{"user":"u","item":"i"}', "missing timestamp", "user 'u', item 'i', timestamp ''"),
        (click(item="i" * 253), "id too long", ("user 'u', item '" + "i" * 253)[:200]),
        (click(timestamp="noon"), "unparseable timestamp", "user 'u', item 'i', timestamp 'noon'"),
        (click(timestamp=2**64), "unparseable timestamp", f"user 'u', item 'i', timestamp '{2**64}'"),
        (click(timestamp=0), "absurd timestamp", "event time 1970-01-01T00:00:00.000Z"),
        (click(timestamp=4 * 10**9), "absurd timestamp", "event time 2096-10-02T07:06:40.000Z"),
        (b'{"user":"\xff","item":"i"}', "invalid UTF-8", '{"user":"\\xff","item":"i"}'),
    ],
)
def test_the_reason_and_what_was_found_are_told(value: bytes | None, reason: str, detail: str) -> None:
    ((_, _, _, *told),) = decode([Raw(value)])[0].rejections
    assert told == [reason, detail]


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (0, "weight not positive"),
        (-0.5, "weight not positive"),
        (10**400, "weight not positive"),
        ("2", "wrong schema"),
        (True, "wrong schema"),
    ],
)
def test_a_weight_is_a_number_above_zero(weight: Any, reason: str) -> None:
    assert fate(Raw(click(w=weight)), Schema(weight="w")) == reason


def test_a_weight_counts_where_the_schema_names_it() -> None:
    schema = Schema(weight="w")
    assert fate(Raw(click(w=2.5)), schema) == good(weight=2.5)
    assert fate(Raw(click(w=3)), schema) == good(weight=3.0)
    assert fate(Raw(click(w=None)), schema) == fate(Raw(click()), schema) == good()
    assert fate(Raw(click(w=2.5))) == good()


def test_what_is_too_deep_for_a_stack_is_one_dead_letter() -> None:
    deep = b'{"other":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    poll, _ = decoder(most=10**6).decode([chunk_of([Raw(click()), Raw(deep), Raw(click())])], [0])
    assert poll.events.offset.tolist() == [0, 2]
    assert [(r.offset, r.reason) for r in poll.rejections] == [(1, "malformed row")]


def test_a_number_of_thousands_of_digits_is_one_dead_letter() -> None:
    endless = b'{"user":' + b"9" * 5000 + b',"item":"i","timestamp":1700000000}'
    poll, _ = decoder(most=10**6).decode([chunk_of([Raw(click()), Raw(endless), Raw(click())])], [0])
    assert poll.events.offset.tolist() == [0, 2]
    assert [(r.offset, r.reason) for r in poll.rejections] == [(1, "wrong schema")]


def test_a_record_as_long_as_is_allowed_is_taken() -> None:
    raws = [Raw(click()), Raw(click() + b" "), Raw(click())]
    poll, _ = decoder(most=len(click())).decode([chunk_of(raws)], [0])
    assert poll.events.offset.tolist() == [0, 2]
    assert [(r.offset, r.reason) for r in poll.rejections] == [(1, "record too large")]


# Where the fields stand


@pytest.mark.parametrize(
    "path", ["class", "user-id", "Ünïcode ✓", "with space", "1", "of_61", "__class__", "a b.c-d.None"]
)
def test_a_key_need_not_be_a_name_of_a_program(path: str) -> None:
    tree: Any = "me"
    for name in reversed(path.split(".")):
        tree = {name: tree}
    assert fate(Raw(click(user="not me", **tree)), Schema(user=path)) == good("me")


def test_fields_may_lie_in_one_object() -> None:
    schema = Schema(user="who.id", item="who.what.sku", timestamp="who.at")
    nested = {"id": 7, "what": {"sku": "A-1", "more": [1]}, "at": NOW_MS}
    assert fate(Raw(as_json([("who", nested)])), schema) == good("7", "A-1")
    assert fate(Raw(as_json([("who", {**nested, "what": None})])), schema) == "missing item id"
    assert fate(Raw(as_json([("who", {**nested, "what": "A-1"})])), schema) == "wrong schema"
    assert fate(Raw(as_json([("who", None)])), schema) == "missing user id"
    assert fate(Raw(b"{}"), schema) == "missing user id"


@pytest.mark.parametrize("paths", [("who", "who.id"), ("who.id", "who")])
def test_a_field_within_another_is_refused(paths: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^schema: 'who.*'.*; mend the paths in \[schema\]$"):
        decoder(Schema(user=paths[0], item=paths[1]))


def test_the_key_is_an_id_where_the_schema_says_so() -> None:
    schema = Schema(user="@key")
    assert fate(Raw(click(user=1.5), "né".encode()), schema) == good("né")
    assert fate(Raw(click(), b"\xc3"), schema) == "invalid UTF-8"
    assert fate(Raw(click(), None), schema) == fate(Raw(click(), b""), schema) == "missing user id"
    assert fate(Raw(click(), b"k" * 253), schema) == "id too long"
    assert fate(Raw(click(), b"k1"), Schema(item="@key")) == good(item="k1")


def test_the_key_of_a_bad_record_is_kept_for_its_letter() -> None:
    raws = [Raw(None, b"k1"), Raw(click(), b"k2")]
    poll, origin = decode(raws, Schema(user="@key"))
    assert poll.rejections[0].origin.record == Record("clicks", 0, NOW_MS, b"k1", None)
    assert origin(1).record == Record("clicks", 0, NOW_MS, b"k2", click())
    assert event_at(poll, 0) == good("k2")


def test_the_time_of_writing_is_the_event_time_where_the_schema_says_so() -> None:
    schema = Schema(timestamp="@timestamp")
    assert fate(Raw(click(timestamp=5), timestamp_ms=NOW_MS + 7), schema) == good(timestamp_ms=NOW_MS + 7)
    assert fate(Raw(click(), timestamp_ms=-1), schema) == "missing timestamp"
    assert fate(Raw(click(), timestamp_ms=1000), schema) == ABSURD_TIME


def test_of_a_key_that_stands_there_twice_the_last_counts() -> None:
    twice = [("user", "first"), ("item", 1), ("timestamp", NOW_MS), ("user", "last"), ("item", "2")]
    assert fate(Raw(as_json(twice))) == good("last", "2")
    assert fate(Raw(as_json([*twice, ("user", None)]))) == "missing user id"


@pytest.mark.parametrize("number", [0, -1, 7, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**60])
def test_an_integer_is_the_id_that_its_digits_spell(number: int) -> None:
    assert fate(Raw(click(user=number, item=number))) == good(str(number), str(number))
    # Alone and among smaller ones, as a column of them is read at once.
    poll, _ = decode([Raw(click(user=1, item=i)) for i in (3, number, 4)])
    assert [event_at(poll, i).item for i in range(3)] == ["3", str(number), "4"]


def test_what_no_field_needs_is_passed_over() -> None:
    assert fate(Raw(click(more={"user": 7, "list": [[1.5, None], "\x00\x1f"]}, Item=[]))) == good()


# Absurd times


@pytest.mark.parametrize(
    ("event_ms", "written_ms", "is_absurd"),
    [
        (NOW_MS + DAY_MS, NOW_MS, False),
        (NOW_MS + DAY_MS + 1, NOW_MS, True),
        (NOW_MS + 999 * DAY_MS, -1, False),
        (NOW_MS, NOW_MS + 999 * DAY_MS, False),
        (NOW_MS, 0, True),
        (1_420_070_400_000, NOW_MS, False),
        (1_420_070_399_999, NOW_MS, True),
        (-NOW_MS, NOW_MS, True),
    ],
)
def test_an_event_is_neither_too_old_nor_too_far_ahead_of_its_record(
    event_ms: int, written_ms: int, is_absurd: bool
) -> None:
    raw = Raw(click(timestamp=event_ms), timestamp_ms=written_ms)
    assert fate(raw, Schema(oldest="2015-01-01")) == (ABSURD_TIME if is_absurd else good(timestamp_ms=event_ms))


def test_how_far_ahead_is_too_far_is_set() -> None:
    late = Raw(click(timestamp=NOW_MS + 1501))
    assert fate(late, Schema(max_ahead_s=1.5)) == ABSURD_TIME
    assert fate(late, Schema(max_ahead_s=1.501)) == good(timestamp_ms=NOW_MS + 1501)


# Several partitions


def merged_by_hand(partitions: list[list[int]]) -> list[tuple[int, int]]:
    """Take, over and over, the next of the partition that has come least far in event time; the first of equals."""
    taken = [0] * len(partitions)
    order = []
    while any(at < len(times) for at, times in zip(taken, partitions, strict=True)):
        reached = [
            (max(times[: at + 1]), number)
            for number, (at, times) in enumerate(zip(taken, partitions, strict=True))
            if at < len(times)
        ]
        _, number = min(reached)
        order.append((number, taken[number]))
        taken[number] += 1
    return order


@quick
@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12), min_size=1, max_size=4))
def test_partitions_are_merged_by_event_time_each_in_its_own_order(partitions: list[list[int]]) -> None:
    chunks = [
        chunk_of([Raw(click(timestamp=NOW_MS + time)) for time in times], number)
        for number, times in enumerate(partitions)
    ]
    events = decoder().decode(chunks, range(len(chunks)))[0].events
    order = list(zip(events.partition.tolist(), events.offset.tolist(), strict=True))
    assert order == merged_by_hand(partitions)
    for number, times in enumerate(partitions):
        assert [offset for partition, offset in order if partition == number] == list(range(len(times)))


def test_a_bad_record_does_not_hold_its_partition_back() -> None:
    chunks = [
        chunk_of([Raw(None), Raw(click(timestamp=NOW_MS + 1)), Raw(click(timestamp=NOW_MS + 3))], 0),
        chunk_of([Raw(click(timestamp=NOW_MS + 2)), Raw(b"{"), Raw(click(timestamp=NOW_MS))], 1),
    ]
    poll, _ = decoder().decode(chunks, [0, 1])
    assert [ordinal[:2] for ordinal in ordinals(poll)] == [(0, 1), (1, 0), (1, 2), (0, 2)]
    assert [(r.partition, r.offset) for r in poll.rejections] == [(0, 0), (1, 1)]


def test_records_with_offsets_missing_between_are_found_by_their_number() -> None:
    chunks = [chunk_of([Raw(click(user=f"u{first + i}")) for i in range(3)], first, first) for first in (0, 5, 9)]
    poll, origin = decoder().decode(chunks, [0, 5, 9])
    places = [origin(number).place for number in range(9)]
    assert places == [f"clicks-{p}@{p + i}" for p in (0, 5, 9) for i in range(3)]
    assert [ordinal[2] for ordinal in ordinals(poll)] == list(range(9))
