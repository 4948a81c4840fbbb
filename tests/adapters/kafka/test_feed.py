"""A topic that is fed holds what the file holds: every row one record, in order, and none means another thing."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulators.blocks import BLOCK
from simulators.broker import SimulatedBroker, SimulatedProducer
from simulators.datasets import open_dataset
from simulators.synthetic import WORLDS, open_world
from stream.adapters.columns import TextColumns
from stream.adapters.files import FileSource, Layout
from stream.adapters.kafka.client import BrokerError, ProducedRecord, RecordTooLargeError
from stream.adapters.kafka.encoding import MAX_FIELD_BYTES, encode
from stream.adapters.kafka.feed import RowSource, feed
from stream.errors import InputError, UsageError
from stream.ports import Source

QUICK = settings(derandomize=True, deadline=None, max_examples=100)
ISO = b"2017-10-01T03:00:00+02:00"


class Topic:
    """A producer that writes into a list."""

    def __init__(self, *, max_bytes: int = 2**20, flushes: Iterator[bool] | None = None) -> None:
        self.records: list[ProducedRecord] = []
        self.num_flushed = 0
        self._max_bytes = max_bytes
        self._flushes = flushes

    @property
    def values(self) -> list[bytes]:
        return [record.value or b"" for record in self.records]

    def send(self, topic: str, record: ProducedRecord) -> None:
        assert topic == "clicks"
        if len(record.value or b"") > self._max_bytes:
            raise RecordTooLargeError
        self.records.append(record)

    def flush(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        if self._flushes is not None and not next(self._flushes):
            return False
        self.num_flushed = len(self.records)
        return True

    def close(self, timeout_s: float) -> None: ...


class Clock:
    """Time that passes as told; a sleep lasts a little longer than asked for."""

    def __init__(self, oversleep_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.naps: list[float] = []
        self._oversleep_s = oversleep_s

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds + self._oversleep_s


class Rows:
    """A source of so many good rows."""

    def __init__(self, num_rows: int) -> None:
        self._left = num_rows

    def read_rows(self, max_rows: int) -> TextColumns | None:
        n = min(max_rows, self._left)
        self._left -= n
        return rows_of([(b"7", b"50", b"1506826800", None)] * n) if n else None


def rows_of(rows: list[tuple[bytes | None, ...]]) -> TextColumns:
    arrays = [pa.array(column, pa.large_binary()) for column in zip(*rows, strict=True)]
    return TextColumns.from_arrow(arrays, np.arange(len(rows)))


def record_of(*row: bytes | None) -> ProducedRecord:
    return encode(rows_of([row]))[0]


def fed(source: RowSource) -> list[ProducedRecord]:
    topic = Topic()
    assert feed(source, topic, "clicks") == topic.num_flushed == len(topic.records)
    return topic.records


# Round trips


def content(source: Source) -> tuple[list[tuple[Any, ...]], list[int]]:
    """Return all events, and the offsets of all rejections."""
    events: list[tuple[Any, ...]] = []
    rejected: list[int] = []
    while (poll := source.poll()) is not None:
        batch = poll.events
        spans = zip(batch.item_start.tolist(), batch.item_length.tolist(), strict=True)
        items = [batch.item_data[start : start + length].tobytes() for start, length in spans]
        columns = (batch.offset, batch.user, batch.timestamp_ms, batch.weight)
        events += zip(items, *(column.tolist() for column in columns), strict=True)
        rejected += [rejection.offset for rejection in poll.rejections]
    return events, rejected


def assert_same_through_a_topic(path: Path, layout: Layout | None = None) -> list[bytes]:
    """Feed a file, read the values as JSON lines, and hold both against each other."""
    with closing(FileSource(path, layout)) as source, closing(FileSource(path, layout)) as again:
        values = [record.value or b"" for record in fed(again)]
        assert not any(b"\n" in value for value in values)
        lines = path.parent / "fed.jsonl"
        lines.write_bytes(b"\n".join(values))
        with closing(FileSource(lines)) as received:
            assert content(received) == content(source)
    return values


def csv_of(rows: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([("user_id", "item_id", "timestamp", "weight"), *rows])
    return text.getvalue()


# The first row shows the reader of JSON lines which keys there are.
FIRST = ("u", "i", "1506826800", "2")
IDS = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.just("x" * 253))
NUMBERS = st.one_of(
    st.integers(-(10**19) - 9, 10**19 + 9).map(str),
    st.decimals(-(10**14), 10**14, places=4, allow_nan=False).map(str),
    st.floats().map(str),
    st.from_regex(r"[ +-]?0{0,3}[0-9]{0,20}(\.[0-9]{0,20})?(e-?[0-9])?", fullmatch=True),
)
TIMES = st.one_of(NUMBERS, st.sampled_from([ISO.decode(), "2017-10-01 03:00", "yesterday", "", " "]))


@given(rows=st.lists(st.tuples(IDS, IDS, TIMES, st.one_of(NUMBERS, st.just(""))), max_size=9))
@example(rows=[("7", "50", "1506826800.9999999999999999", "0.1"), ("7", "50", "-0.0", "-0"), ("7", "50", "01", "1.")])
@QUICK
def test_every_row_of_a_csv_file_comes_through(rows: list[tuple[str, str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.csv"
        path.write_text(csv_of([FIRST, *rows]), newline="")
        assert len(assert_same_through_a_topic(path)) == 1 + len(rows)


@given(junk=st.lists(st.binary(max_size=40), max_size=9))
@example(junk=[b'{"user":1,"item":2,"timestamp":3,"x":4,"y":5}'])
@example(junk=[b"\xff,50,1506826800,1", b"7,50,1506826800,\xff", b"7,50,\xff,1", b'"\xed\xa0\x80","\\""",1,1'])
@QUICK
def test_whatever_a_text_file_holds_comes_through_as_nothing_else(junk: list[bytes]) -> None:
    junk = [line for line in junk if line.strip()]  # a blank line is no row, and no JSON line either
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.csv"
        path.write_bytes(csv_of([FIRST]).encode() + b"\n".join(junk))
        values = assert_same_through_a_topic(path)
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b"\n".join([b'{"uid":1,"item":2,"ts":1506826800}', *junk, *values]))
        assert_same_through_a_topic(path)


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b'{"uid":[1],"item":2,"ts":3}',
        b'{"uid":[1],"user":1,"item":2,"ts":3,"timestamp":3}',
        b'{"uid":1,"item":2,"ts":NaN}',
        b'{"uid":"\\ud800","item":2,"ts":3}',
        b'{"x":' + b"[" * 100_000,
        b'{"uid":"\xff","item":2,"ts":3}',
        b'{"item":2,"ts":3}',
        b'{"uid":1,"item":null,"ts":3}',
        b'{"uid":1,"item":2,"ts":true}',
        b'{"uid":1,"item":2,"ts":3,"weight":"much"}',
        b'{"uid":7.0,"item":7.5,"ts":1e9,"weight":1e-3}',
        b'{"uid":true,"item":"\\u0000\\"\\\\/\\n","ts":"' + ISO + b'"}',
        b'{"uid":1,"item":2,"ts":12345678901234567890123}',
        b'{"uid":"' + b"\\u0001" * 170_000 + b'","item":2,"ts":3}',
        b'{"uid":1,"item":2,"ts":3,"title":"' + b"x" * 2**20 + b'"}',
    ],
)
def test_every_line_of_json_comes_through(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    good = b'{"uid":7,"item":50,"ts":1506826800,"weight":2}\n'
    path.write_bytes(good + line + b"\r\n\n" + good)
    values = assert_same_through_a_topic(path)
    assert len(values) == 3
    assert max(map(len, values)) < 2**20


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1506826800, None, 1], pa.timestamp("s")),
        pa.array([1506826800000999999, None, 1000000000], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([1506826800.25, float("nan"), 1e-9]),
        pa.array([Decimal("1506826800.000"), None, Decimal("1.000")]),
        pa.array([1506826800, 0, 1], pa.uint32()),
    ],
)
def test_every_row_of_a_parquet_file_comes_through(tmp_path: Path, times: Any) -> None:
    users = pa.array([7.0, None, 7.5])
    items = pa.array([b'"', b"\xc3", b"\\\n"])
    weights = pa.array([0.1, 1.0, None], pa.float32())
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"user": users, "item": items, "time": times, "weight": weights}), path)
    assert len(assert_same_through_a_topic(path)) == 3


def test_a_data_set_without_a_header_comes_through(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    with closing(open_dataset(path, limit=1)) as source:
        records = fed(source)
    assert records == [ProducedRecord(b"1", b'{"user":"1","item":"1193","timestamp":978300760}')]


@pytest.mark.parametrize("name", WORLDS)
def test_every_event_of_a_world_comes_through(tmp_path: Path, name: str) -> None:
    num_events = BLOCK + 9
    path = tmp_path / "fed.jsonl"
    values = [record.value or b"" for record in fed(open_world(name, 3, num_events))]
    path.write_bytes(b"\n".join(values))
    with closing(FileSource(path)) as received:
        events, rejected = content(received)
    assert (events, rejected) == content(open_world(name, 3, num_events))
    assert len(events) == num_events


def test_a_world_is_read_in_pieces_of_any_size() -> None:
    whole, world = fed(open_world("churn", 3, BLOCK + 9)), open_world("churn", 3, BLOCK + 9)
    pieces = [encode(rows) for rows in iter(lambda: world.read_rows(1000), None) if rows is not None]
    assert [record for piece in pieces for record in piece] == whole
    assert max(map(len, pieces)) == 1000
    assert world.poll() is None


def test_reading_rows_and_polling_go_on_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(csv_of([("7", str(i), "1", "1") for i in range(9)]))
    for source in (FileSource(path, limit=8, chunk_rows=3), open_world("stationary", 1, 8)):
        with closing(source):
            rows = source.read_rows(2)
            assert rows is not None
            assert rows.num_rows == 2
            poll = source.poll()
            assert poll is not None
            assert poll.events.offset[0] == 2
            source.seek({0: 6})
            rows = source.read_rows(5)
            assert rows is not None
            assert rows.num_rows == 2
            assert source.read_rows(5) is None


# Records


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(user=TEXT, item=TEXT)
@example(user="".join(map(chr, range(256))), item='\\"/\u2028\U0001f600')
@QUICK
def test_any_id_is_a_json_string_and_the_users_is_the_key(user: str, item: str) -> None:
    record = record_of(user.encode(), item.encode(), b"1", None)
    assert record.key == user.encode()
    assert record.value is not None
    assert msgspec.json.decode(record.value) == {"user": user, "item": item, "timestamp": 1}
    assert json.loads(record.value) == {"user": user, "item": item, "timestamp": 1}


@pytest.mark.parametrize("text", ["0", "-7", "1506826800", "1506826800.25", "-0.5", "9" * 19, "10"])
def test_plain_numbers_stay_numbers(text: str) -> None:
    record = record_of(b"7", b"50", text.encode(), text.encode())
    assert record.value == f'{{"user":"7","item":"50","timestamp":{text},"weight":{text}}}'.encode()


@pytest.mark.parametrize(
    "text",
    ["+7", "07", "-", ".5", "5.", "1.2.3", "1e9", " 7", "7 ", "NaN", "9" * 20, "0.1234567890123456", "-00", "-.5"],
)
def test_what_json_or_float64_would_change_is_text(text: str) -> None:
    record = record_of(b"7", b"50", text.encode(), None)
    assert record.value == f'{{"user":"7","item":"50","timestamp":"{text}"}}'.encode()


def test_what_is_missing_has_no_key() -> None:
    assert record_of(None, b"50", b"1", None) == ProducedRecord(None, b'{"item":"50","timestamp":1}')
    assert record_of(b"", b"50", b"1", b"") == ProducedRecord(None, b'{"item":"50","timestamp":1}')
    assert record_of(b"7", None, b"", None) == ProducedRecord(b"7", b'{"user":"7"}')
    assert record_of(None, None, None, b"2") == ProducedRecord(None, b'{"weight":2}')
    assert record_of(None, None, None, None) == ProducedRecord(None, b"{}")


def test_a_malformed_row_is_written_as_it_is_without_a_key(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\n7,50\n")
    with closing(FileSource(path)) as source:
        assert fed(source) == [ProducedRecord(None, b"7,50")]


def test_text_too_long_for_anything_is_cut() -> None:
    long = b"\1" * 2**20
    record = record_of(long, long, long, long)
    assert record.key == long[:MAX_FIELD_BYTES]
    assert len(record.value or b"") < 2**20


# Feeding


def test_events_may_be_given_the_time_of_writing(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,time\n7,50,yesterday\n7\n8,50,1\n")
    topic = Topic()
    with closing(FileSource(path)) as source:
        feed(source, topic, "clicks", stamp_now=True, wall_clock=lambda: 1506826800.0004)
    stamped = b'{"user":"%d","item":"50","timestamp":1506826800000}'
    assert topic.values == [stamped % 7, b"7", stamped % 8]


@pytest.mark.parametrize("oversleep_s", [0.0, 0.004, 0.03])
@pytest.mark.parametrize("rate", [0.5, 30, 777.7, 50_000])
def test_the_rate_is_kept_though_sleeps_last_too_long(rate: float, oversleep_s: float) -> None:
    clock, topic, times_s = Clock(oversleep_s), Topic(), []
    num_records = max(5, int(2 * rate))
    feed(
        Rows(num_records), topic, "clicks", rate=rate, clock=clock, sleep=clock.sleep,
        progress=lambda _: times_s.append(clock.now_s),
    )  # fmt: skip
    assert len(topic.records) == num_records
    assert clock.now_s == pytest.approx(num_records / rate, abs=0.05 + 1 / rate)
    assert max(clock.naps) <= 0.1 + 1e-9
    assert len(times_s) >= num_records / max(1, rate / 50)


def test_a_delay_is_not_followed_by_a_burst() -> None:
    clock, written = Clock(), []

    def progress(num_records: int) -> None:
        written.append((clock.now_s, num_records))
        if len(written) == 50:
            clock.now_s += 10

    feed(Rows(3000), Topic(), "clicks", rate=1000, clock=clock, sleep=clock.sleep, progress=progress)
    for begin_s, before in written:
        soon = max(num_records for now_s, num_records in written if now_s < begin_s + 0.05)
        assert soon - before <= 0.1 * 1000
    assert clock.now_s == pytest.approx(10 + 3000 / 1000, abs=0.1)


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    counts: list[int] = []
    assert feed(Rows(20_000), Topic(), "clicks", clock=clock, sleep=clock.sleep, progress=counts.append) == 20_000
    assert clock.naps == []
    assert counts == sorted(set(counts))
    assert counts[-1] == 20_000


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match=r"--rate .* more than 0"):
        feed(Rows(1), Topic(), "clicks", rate=rate)


@pytest.mark.parametrize("rate", [None, 100.0])
def test_an_end_may_be_asked_for(rate: float | None) -> None:
    clock, topic = Clock(), Topic()
    count = feed(
        Rows(20_000), topic, "clicks", rate=rate, clock=clock, sleep=clock.sleep,
        should_stop=lambda: len(topic.records) >= 5,
    )  # fmt: skip
    assert 5 <= count < 20_000
    assert count == topic.num_flushed == len(topic.records)


def test_an_end_is_heard_while_waiting_for_the_next_record() -> None:
    clock, topic = Clock(), Topic()
    should_stop = lambda: clock.now_s >= 1  # noqa: E731
    assert feed(Rows(9), topic, "clicks", rate=0.01, clock=clock, sleep=clock.sleep, should_stop=should_stop) == 1
    assert clock.now_s < 1.2


def test_a_broker_that_is_gone_is_waited_for_until_an_end_is_asked_for() -> None:
    assert feed(Rows(3), Topic(flushes=iter([False] * 99 + [True])), "clicks") == 3
    topic = Topic(flushes=iter([False] * 99))
    with pytest.raises(BrokerError, match="clicks: the broker did not acknowledge"):
        feed(Rows(3), topic, "clicks", should_stop=lambda: bool(topic.records))


def test_the_rows_before_the_damage_are_written(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i * 7919 % 100_003},1506826800\n" for i in range(60_000))
    packed = bytes(pa.Codec("zstd").compress(("user,item,time\n" + rows).encode()))
    path = tmp_path / "events.csv.zst"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    topic = Topic()
    with closing(FileSource(path)) as source, pytest.raises(InputError, match="is damaged after line") as caught:
        feed(source, topic, "clicks")
    assert f"damaged after line {topic.num_flushed + 1} " in str(caught.value)
    assert topic.num_flushed > 1000


def test_every_row_has_its_offset_though_the_broker_is_away_for_a_while() -> None:
    broker, world = SimulatedBroker(), open_world("stationary", 3, 5000)
    broker.create_topic("clicks")
    producer = SimulatedProducer(broker)
    broker.stop()
    counts: list[int] = []

    def progress(num_records: int) -> None:
        counts.append(num_records)
        if len(counts) == 3:
            broker.start()

    assert feed(world, producer, "clicks", progress=progress) == 5000
    stored = broker.records("clicks")
    assert [record.offset for record in stored] == list(range(5000))
    assert [(r.key, r.value) for r in stored] == [(r.key, r.value) for r in fed(open_world("stationary", 3, 5000))]


def test_a_record_that_the_topic_refuses_is_explained() -> None:
    broker = SimulatedBroker()
    broker.create_topic("clicks", max_record_bytes=9)
    for producer in (Topic(max_bytes=9), SimulatedProducer(broker)):
        with pytest.raises(BrokerError, match=r"clicks refuses .* max\.message\.bytes"):
            feed(Rows(1), producer, "clicks")
