"""The decoder judges every field on its own, and reads numbers and times exactly."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.columns import MAX_DETAIL_CHARS, TextColumns, decode
from stream.adapters.verdicts import MALFORMED, REASONS
from stream.core.event import ITEM, MAX_ID_BYTES, USER, Origin, Poll, hash_id

Row = tuple[bytes | None, ...]
GOOD: Row = (b"7", b"50", b"1506826800", b"2")


def decoded(rows: list[Row], fault: int = 0) -> Poll:
    arrays = [pa.array(column, pa.large_binary()) for column in zip(*rows, strict=True)]
    faults = np.full(len(rows), fault, np.uint8)
    numbers = np.arange(len(rows))
    rows_of_text = TextColumns.from_arrow(arrays, np.arange(len(rows)) + 17, faults)
    partition, offset = np.zeros(len(rows), np.int32), 100 + numbers
    return decode(rows_of_text, partition, offset, lambda number: Origin(f"line {number}"))


def times_of(texts: list[str]) -> list[int]:
    poll = decoded([(b"7", b"50", text.encode(), None) for text in texts])
    assert poll.rejections == []
    times: list[int] = poll.events.timestamp_ms.tolist()
    return times


def test_rows_become_columns_of_events() -> None:
    events, rejections, *_ = decoded([GOOD, (b"8", "\u00e9\0".encode(), b"-1", None)])
    assert rejections == []
    assert events.user.tolist() == [hash_id("7", USER), hash_id("8", USER)]
    assert events.item.tolist() == [hash_id("50", ITEM), hash_id("\u00e9\0", ITEM)]
    assert events.timestamp_ms.tolist() == [1506826800000, -1000]
    assert events.weight.tolist() == [2, 1]
    assert events.partition.tolist() == [0, 0]
    assert events.offset.tolist() == [100, 101]
    assert events.number.tolist() == [17, 18]
    kinds = [column.dtype.name for column in events]
    assert kinds == ["uint64", "uint64", "int64", "float32", "int32", "int64", "int64", "int64", "int32", "uint8"]


BAD_FIELDS = [
    (0, b"", "missing user id"),
    (0, None, "missing user id"),
    (1, None, "missing item id"),
    (2, None, "missing timestamp"),
    (2, b"", "missing timestamp"),
    (0, b"x" * (MAX_ID_BYTES + 1), "id too long"),
    (1, "\u00e9".encode() * (MAX_ID_BYTES // 2 + 1), "id too long"),
    (2, b"yesterday", "unparseable timestamp"),
    (2, b" ", "unparseable timestamp"),
    (2, b"NaN", "unparseable timestamp"),
    (2, b"inf", "unparseable timestamp"),
    (2, b"-", "unparseable timestamp"),
    (2, b"1e", "unparseable timestamp"),
    (2, b"1e+", "unparseable timestamp"),
    (2, b".", "unparseable timestamp"),
    (2, b"1.2.3", "unparseable timestamp"),
    (2, b"12 34", "unparseable timestamp"),
    (2, b"1_000", "unparseable timestamp"),
    (2, b"10000000000000000000", "unparseable timestamp"),
    (2, b"1e999", "unparseable timestamp"),
    (2, b"2017-10", "unparseable timestamp"),
    (2, b"2017-02-29", "unparseable timestamp"),
    (2, b"1900-02-29", "unparseable timestamp"),
    (2, b"2017-00-01", "unparseable timestamp"),
    (2, b"2017-13-01", "unparseable timestamp"),
    (2, b"2017-06-31", "unparseable timestamp"),
    (2, b"2017/10/01", "unparseable timestamp"),
    (2, b"2017-10-01T", "unparseable timestamp"),
    (2, b"2017-10-01X10:00", "unparseable timestamp"),
    (2, b"2017-10-01T10", "unparseable timestamp"),
    (2, b"2017-10-01T24:00", "unparseable timestamp"),
    (2, b"2017-10-01T10:60", "unparseable timestamp"),
    (2, b"2017-10-01T10:00:61", "unparseable timestamp"),
    (2, b"2017-10-01T10:00:00.", "unparseable timestamp"),
    (2, b"2017-10-01T10:00+", "unparseable timestamp"),
    (2, b"2017-10-01T10:00+0", "unparseable timestamp"),
    (2, b"2017-10-01T10:00+24:00", "unparseable timestamp"),
    (2, b"2017-10-01T10:00+02:0", "unparseable timestamp"),
    (2, b"2017-10-01T10:00+02:000", "unparseable timestamp"),
    (2, b"2017-10-01 10:00 CET", "unparseable timestamp"),
    (3, b"much", "unparseable weight"),
    (3, b"1,5", "unparseable weight"),
    (3, b"0", "weight not positive"),
    (3, b"-1", "weight not positive"),
    (3, b" nan ", "weight not positive"),
    (3, b"-Infinity", "weight not positive"),
    (3, b"1e39", "weight not positive"),
    (3, b"1e-60", "weight not positive"),
    (3, b"1e-9999", "weight not positive"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BAD_FIELDS)
def test_a_bad_field_costs_its_row_alone(field: int, value: bytes | None, reason: str) -> None:
    bad = tuple(value if f == field else good for f, good in enumerate(GOOD))
    events, rejections, *_ = decoded([GOOD, bad, GOOD])
    assert events.offset.tolist() == [100, 102]
    assert [(r.partition, r.offset, r.origin.place, r.reason) for r in rejections] == [(0, 101, "line 18", reason)]
    assert (value or b"").decode()[:100] in rejections[0].detail
    assert len(rejections[0].detail) <= MAX_DETAIL_CHARS


EDGES_OF_UTF_8 = {
    b"\x7f": True,
    b"\x80": False,
    b"\xc1\xbf": False,
    b"\xc2\x80": True,
    b"\xdf\xc0": False,
    b"\xe0\x9f\xbf": False,
    b"\xe0\xa0\x80": True,
    b"\xe2\x82": False,
    b"\xe2\x82\x41": False,
    b"\xed\x9f\xbf": True,
    b"\xed\xa0\x80": False,
    b"\xf0\x8f\xbf\xbf": False,
    b"\xf0\x90\x80\x80": True,
    b"\xf4\x8f\xbf\xbf": True,
    b"\xf4\x90\x80\x80": False,
    b"\xf5\x80\x80\x80": False,
}


def test_the_edges_of_utf_8_are_kept() -> None:
    events, *_ = decoded([(name, b"x", b"1", None) for name in EDGES_OF_UTF_8])
    assert events.offset.tolist() == [100 + i for i, good in enumerate(EDGES_OF_UTF_8.values()) if good]


ODD_BYTES = st.lists(st.sampled_from([0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF]))
LEADS = st.lists(st.sampled_from([0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF, 0x80, 0x90, 0xBF, 0x9F]))


@given(ids=st.lists(st.one_of(ODD_BYTES, LEADS).map(bytes).filter(len), min_size=1, max_size=30))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_an_id_is_refused_exactly_where_it_is_no_utf_8(ids: list[bytes]) -> None:
    def is_text(name: bytes) -> bool:
        try:
            name.decode()
        except UnicodeDecodeError:
            return False
        return True

    good = [100 + i for i, name in enumerate(ids) if is_text(name)]
    as_user: list[Row] = [(name, b"x", b"1", None) for name in ids]
    as_item: list[Row] = [(b"x", name, b"1", None) for name in ids]
    for rows in (as_user, as_item):
        events, rejections, *_ = decoded(rows)
        assert events.offset.tolist() == good
        assert {r.reason for r in rejections} <= {"invalid UTF-8"}
        assert all(r.detail.isprintable() for r in rejections)


def test_the_longest_id_is_accepted() -> None:
    long = b"x" * MAX_ID_BYTES
    events, rejections, *_ = decoded([(long, long, b"1", None)])
    assert rejections == []
    assert events.user.tolist() == [hash_id(long.decode(), USER)]


def test_a_row_with_several_faults_is_one_rejection() -> None:
    rejections = decoded([(None, b"", b"never", b"0"), (b"\xff", None, b"", None)]).rejections
    assert [r.reason for r in rejections] == ["missing user id", "missing item id"]


def test_a_rejection_shows_what_the_row_holds() -> None:
    found = [r.detail for r in decoded([(None, b"5'0", b"1", None), (b"7", None, b"\xff", b"2")]).rejections]
    assert found == [
        """user '', item "5'0", timestamp '1'""",
        "user '7', item '', timestamp '\\\\xff', weight '2'",
    ]


def test_a_fault_of_the_reader_shows_the_whole_row() -> None:
    events, rejections, *_ = decoded([(b"\xffhalf a row" * 100, None, None, None)], MALFORMED)
    assert events.num_events == 0
    assert [r.reason for r in rejections] == ["malformed row"]
    assert rejections[0].detail.startswith("\\xffhalf a row\\xff")
    assert len(rejections[0].detail) == MAX_DETAIL_CHARS


def test_reasons_are_told_apart() -> None:
    assert len(set(REASONS)) == len(REASONS)


def test_the_unit_of_a_number_is_told_by_its_size() -> None:
    texts = {
        "0": 0,
        "1506826800": 1506826800000,
        "1506826800.1239": 1506826800123,
        "99999999999": 99999999999000,
        "100000000000": 100000000000,
        "1506826800123": 1506826800123,
        "1506826800123.9": 1506826800123,
        "99999999999999": 99999999999999,
        "100000000000000": 100000000000,
        "1506826800123456": 1506826800123,
        "1506826800123456789": 1506826800123,
        "-1.5": -1500,
        "-1": -1000,
        "-1506826800123": -1506826800123,
        "-1506826800123456": -1506826800124,
        " +1506826800 ": 1506826800000,
        "1.5068268e+09": 1506826800000,
        "15068268E2": 1506826800000,
        ".5": 500,
        "5.": 5000,
        "-0.0001": -1,
        "1e-400": 0,
        "0e999": 0,
        "0000000000000000000000001": 1000,
        "1506826800.1234567890123456789": 1506826800123,
        "9300000000000000000": 9300000000000,
        "-1e-400": -1,
    }
    assert dict(zip(texts, times_of(list(texts)), strict=True)) == texts


@given(
    texts=st.lists(
        st.decimals(Decimal(-(10**11)) + 1, 10**11 - 1, places=5).map(lambda d: f"{d:f}"),
        min_size=1,
        max_size=20,
    )
)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_decimal_seconds_are_cut_to_the_millisecond_exactly(texts: list[str]) -> None:
    assert times_of(texts) == [int((Decimal(text) * 1000).__floor__()) for text in texts]


def iso(moment: datetime, form: int) -> str:
    text = moment.isoformat("T" if form & 1 else " ", "microseconds" if form & 2 else "milliseconds")
    if moment.utcoffset() == timedelta(0):
        return text.removesuffix("+00:00") + ("", "Z", " UTC", "+00")[form >> 2]
    return text[:-3] + text[-2:] if form & 4 else text


MOMENTS = st.tuples(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.one_of(st.just(0), st.integers(-14 * 60, 14 * 60)),
    st.integers(0, 15),
)


@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_iso_8601_is_read_in_its_zone(moments: list[tuple[datetime, int, int]]) -> None:
    zoned = [(m.replace(tzinfo=timezone(timedelta(minutes=zone))), form) for m, zone, form in moments]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert times_of([iso(m, form) for m, form in zoned]) == [(m - epoch) // timedelta(milliseconds=1) for m, _ in zoned]


def test_short_forms_of_iso_8601_are_read() -> None:
    texts = {
        "2017-10-01": 1506816000000,
        "2017-10-01 03:00": 1506826800000,
        "2017-10-01t03:00z": 1506826800000,
        "2017-10-01T03:00:00,5": 1506826800500,
        "2017-10-01 05:00:00 +0200": 1506826800000,
        "2016-02-29T00:00:60Z": 1456704060000,
    }
    assert dict(zip(texts, times_of(list(texts)), strict=True)) == texts


def test_an_empty_weight_is_one() -> None:
    weights = [None, b"", b"0.25", b" 1e2 ", b"+.5", b"3.4028235e38"]
    found = decoded([(b"7", b"50", b"1", weight) for weight in weights]).events.weight
    assert found.tolist() == [1, 1, 0.25, 100, 0.5, float(np.float32(3.4028235e38))]


@given(weights=st.lists(st.floats(2**-120, 2**120, width=32), min_size=1, max_size=20))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_a_weight_is_the_nearest_float32(weights: list[float]) -> None:
    found = decoded([(b"7", b"50", b"1", repr(weight).encode()) for weight in weights]).events.weight
    assert found.tolist() == weights
