"""Files become events, whatever they hold: every format alike, and no row stops the stream or vanishes."""

import bz2
import csv
import gzip
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.blocks import MAX_ROW_BYTES
from stream.adapters.files import Columns, FileSource, Layout
from stream.core.event import ITEM, MAX_ID_BYTES, USER, Rejection, hash_id
from stream.errors import InputError

DATA = Path(__file__).parents[2] / "../shared/data"
HEADER = b"user_id,item_id,timestamp\n"


class Event(NamedTuple):
    user: int
    item: str
    timestamp_ms: int
    weight: float
    offset: int


def event(user: str, item: str, timestamp_ms: int, offset: int = 0, weight: float = 1.0) -> Event:
    return Event(hash_id(user, USER), item, timestamp_ms, weight, offset)


def drain(source: FileSource) -> tuple[list[Event], list[Rejection]]:
    """Read a source to its end, checking what every batch promises."""
    events: list[Event] = []
    rejections: list[Rejection] = []
    while (poll := source.poll()) is not None:
        batch = poll.events
        assert [len(column) for column in batch[:-1]] == [batch.num_events] * (len(batch) - 1)
        assert (batch.partition == 0).all()
        for i in range(batch.num_events):
            data = batch.item_data[batch.item_start[i] :][: batch.item_length[i]].tobytes()
            assert batch.item[i] == hash_id(data.decode(), ITEM)
            events.append(
                Event(
                    int(batch.user[i]),
                    data.decode(),
                    int(batch.timestamp_ms[i]),
                    float(batch.weight[i]),
                    int(batch.offset[i]),
                )
            )
        rejections += poll.rejections
    offsets = [e.offset for e in events] + [r.offset for r in rejections]
    assert sorted(offsets) == list(range(min(offsets, default=0), min(offsets, default=0) + len(offsets)))
    return events, rejections


def read(path: Path, layout: Layout | None = None, **options: Any) -> tuple[list[Event], list[Rejection]]:
    with closing(FileSource(path, layout, **options)) as source:
        return drain(source)


def read_bytes(folder: Path, content: bytes, name: str = "events.csv") -> tuple[list[Event], list[Rejection]]:
    path = folder / name
    path.write_bytes(content)
    return read(path)


def refusal(path: Path, layout: Layout | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(path, layout)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


# All formats alike

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TIMES_MS = st.one_of(st.integers(10**11, 10**14 - 1), st.integers(1 - 10**14, -(10**11)))
ROWS = st.lists(st.tuples(TEXT, TEXT, TIMES_MS, st.floats(2**-20, 2**20, width=32)), min_size=1, max_size=12)


@given(rows=ROWS, plain=st.booleans())
@settings(derandomize=True, deadline=None, max_examples=40)
def test_the_same_rows_give_the_same_events_from_every_format(
    rows: list[tuple[str, str, int, float]], plain: bool
) -> None:
    names = ("user_id", "item_id", "timestamp", "weight")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"events.{suffix}" for suffix in ("csv", "jsonl", "parquet")]
        with paths[0].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file) if plain else csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerows([names, *rows])
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=plain) for row in rows]
        paths[1].write_text("\n".join(lines), encoding="utf-8")
        types = (pa.string(), pa.string(), pa.int64(), pa.float32())
        columns = zip(names, zip(*rows, strict=True), types, strict=True)
        write_parquet(paths[2], {name: pa.array(values, kind) for name, values, kind in columns})
        wanted = [event(u, i, ms, offset, w) for offset, (u, i, ms, w) in enumerate(rows)]
        for path in paths:
            assert read(path) == (wanted, [])


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".zst", pa.Codec("zstd").compress)],
)
@pytest.mark.parametrize("name", ["events.csv", "events.jsonl"])
def test_compressed_text_is_read_as_it_is(
    tmp_path: Path, name: str, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    rows = {
        "events.csv": HEADER + b"7,50,1506826800\n",
        "events.jsonl": b'{"uid":7,"item":50,"ts":1506826800}',
    }
    content = bytes(compress(rows[name]))
    assert read_bytes(tmp_path, content, name + suffix) == ([event("7", "50", 1506826800000)], [])


# Columns


@pytest.mark.parametrize(
    "header",
    [
        "user_id,item_id,timestamp",
        "userId,movieId,time",
        "uid,asin,ts",
        "reviewerID,asin,unixReviewTime",
        "visitorid,itemid,event_time",
        "customer_id,article_id,date",
        "user,parent_asin,datetime",
        "Customer ID,StockCode,InvoiceDate",
    ],
)
def test_columns_with_usual_names_are_found_anywhere(tmp_path: Path, header: str) -> None:
    user, item, timestamp = header.split(",")
    content = f"rating,{timestamp},x,{item},{user}\n4,1506826800,,50,7\n".encode()
    assert read_bytes(tmp_path, content)[0] == [event("7", "50", 1506826800000)]


def test_named_columns_come_before_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,who,item_id,timestamp,weight,rating\n1,7,50,1506826800,2,5\n")
    assert read(path, Layout(Columns(user="who")))[0] == [event("7", "50", 1506826800000, weight=2)]
    assert read(path, Layout(Columns(weight="rating")))[0] == [event("1", "50", 1506826800000, weight=5)]
    assert read(path, Layout(Columns(weight="")))[0] == [event("1", "50", 1506826800000, weight=1)]


def test_a_rating_is_no_weight(tmp_path: Path) -> None:
    content = b"user_id,item_id,rating,timestamp\n7,50,3.5,1506826800\n"
    assert read_bytes(tmp_path, content)[0][0].weight == 1


def write_without_user(path: Path) -> Path:
    if path.suffix == ".parquet":
        return write_parquet(path, {"who": ["7"], "item_id": ["50"], "timestamp": [1]})
    line = '{"who":7,"item_id":50,"timestamp":1}' if path.suffix == ".json" else "who,item_id,timestamp\n7,50,1"
    path.write_text(line + "\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_missing_column_is_named_with_the_columns_found_and_the_remedy(tmp_path: Path, suffix: str) -> None:
    path = write_without_user(tmp_path / f"events.{suffix}")
    for layout in (None, Layout(Columns(user="nobody")), Layout(Columns(user="who", weight="nobody"))):
        message = refusal(path, layout)
        assert ("user" if layout is None else "'nobody'") in message
        assert "(columns found: who, item_id, timestamp)" in message
        option = "--weight-column" if layout and layout.columns.weight else "--user-column"
        assert option in message


def test_one_column_cannot_serve_as_two(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(HEADER)
    assert "'item_id'" in refusal(path, Layout(Columns(user="item_id")))
    path.write_text("user_id,item_id,item_id,timestamp\n")
    assert "2 columns called 'item_id'" in refusal(path)


def test_files_without_a_header_and_with_long_separators_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::1193::5::978300760\n1::a:b::3::978302109\n")
    layout = Layout(Columns("u", "i", "t"), "::", ("u", "i", "r", "t"))
    assert read(path, layout)[0] == [event("1", "1193", 978300760000), event("1", "a:b", 978302109000, 1)]


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_the_separator_is_told_by_the_header(tmp_path: Path, delimiter: str) -> None:
    content = HEADER.replace(b",", delimiter.encode()) + f"7{delimiter}5,0{delimiter}1506826800".encode()
    assert read_bytes(tmp_path, content)[0] == [event("7", "5,0", 1506826800000)]


# Files that cannot be read at all


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("events.csv", None, "No such file"),
        ("events.csv", b"", "is empty"),
        ("events.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("events.csv", b"\n\r\n", "is empty"),
        ("events.jsonl", b" \n\n", "is empty"),
        ("events.parquet", b"", "is empty"),
        ("events.txt", b"user_id,item_id,timestamp\n", "rename it"),
        ("events", b"user_id,item_id,timestamp\n", "rename it"),
        ("events.parquet.gz", b"PAR1", "rename it"),
        ("events.csv.gz", b"user_id,item_id,timestamp\n", "damaged after line 0"),
        ("events.parquet", b"user_id,item_id,timestamp\n", "as Parquet"),
        ("events.json", b'[{"user":1,"item":2,"time":3}]', "JSON array"),
        ("events.json", b"user_id,item_id,timestamp\n", "no JSON object"),
        ("events.csv", b"user_id\rritem_id\rtimestamp\r", "first line"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, word: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert word in refusal(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "events.csv"
    folder.mkdir()
    assert "is a directory" in refusal(folder)


def test_a_nested_parquet_column_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "e.parquet", {"user": [[1]], "item": ["a"], "time": [1]})
    assert "'user' holds list" in refusal(path)


# Rows that cannot be used

BAD_FIELDS = [
    ("user", "", "missing user id"),
    ("item", "", "missing item id"),
    ("time", "", "missing timestamp"),
    ("user", "x" * (MAX_ID_BYTES + 1), "id too long"),
    ("time", "yesterday", "unparseable timestamp"),
    ("weight", "much", "unparseable weight"),
    ("weight", "NaN", "weight not positive"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BAD_FIELDS)
def test_a_bad_field_costs_its_row_alone_in_every_format(tmp_path: Path, field: str, value: str, reason: str) -> None:
    good = {"user": "7", "item": "50", "time": "1506826800", "weight": "2"}
    rows = [good, good | {field: value}, good]
    texts = {
        "csv": "\n".join([",".join(good), *(",".join(row.values()) for row in rows)]),
        "jsonl": "\n".join(json.dumps(row) for row in rows),
    }
    places = {"csv": "line 3", "jsonl": "line 2", "parquet": "row 2"}
    for suffix, place in places.items():
        path = tmp_path / f"events.{suffix}"
        if suffix == "parquet":
            write_parquet(path, {key: [row[key] for row in rows] for key in good})
        else:
            path.write_text(texts[suffix])
        events, rejections, *_ = read(path)
        assert events == [event("7", "50", 1506826800000, offset, 2) for offset in (0, 2)]
        assert [(r.partition, r.offset, r.origin.place, r.reason) for r in rejections] == [(0, 1, place, reason)]
        assert value[:100] in rejections[0].detail


def test_invalid_utf_8_in_an_id_costs_its_row_alone(tmp_path: Path) -> None:
    events, rejections, *_ = read_bytes(tmp_path, HEADER + b"\xff,50,1\n7,50,1\n")
    assert [e.offset for e in events] == [1]
    assert [(r.origin.place, r.reason) for r in rejections] == [("line 2", "invalid UTF-8")]
    path = write_parquet(
        tmp_path / "e.parquet",
        # Together the halves of a character are valid; they are checked one by one.
        {"user": pa.array([b"\xc3", b"\xa9"]), "item": ["b", "b"], "time": [1, 1]},
    )
    assert [r.reason for r in read(path)[1]] == ["invalid UTF-8"] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "malformed row"),
        (b"[1]", "malformed row"),
        (b'{"user":[1],"item":2,"time":3}', "malformed row"),
        (b'{"user":1,"item":2,"time":NaN}', "malformed row"),
        (b'{"user":"\\ud800","item":2,"time":3}', "malformed row"),
        (b'{"x":' + b"[" * 100_000, "malformed row"),
        (b'{"user":"\xff","item":2,"time":3}', "invalid UTF-8"),
        (b'{"item":2,"time":3}', "missing user id"),
        (b'{"user":1,"item":null,"time":3}', "missing item id"),
        (b'{"user":1,"item":2,"time":true}', "unparseable timestamp"),
    ],
)
def test_a_bad_line_of_json_costs_its_row_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    good = b'{"user":7,"item":50,"time":1506826800,"title":"\xff"}\n'
    events, rejections, *_ = read_bytes(tmp_path, good + line + b"\r\n" + good, "events.jsonl")
    assert [e.offset for e in events] == [0, 2]
    assert [(r.offset, r.origin.place, r.reason) for r in rejections] == [(1, "line 2", reason)]
    assert len(rejections[0].detail) <= 200


@pytest.mark.parametrize("name", ["events.csv", "events.jsonl"])
def test_an_endless_row_is_passed_over(tmp_path: Path, name: str) -> None:
    rows = {
        "events.csv": (b"user,item,time,title\n", b"7,50,1506826800,%s\n"),
        "events.jsonl": (b"", b'{"user":7,"item":50,"time":1506826800,"title":"%s"}\n'),
    }
    header, row = rows[name]
    for length in (MAX_ROW_BYTES + 1, 6 * MAX_ROW_BYTES):
        content = header + row % b"" + row % (b"x" * length) + row % b""
        events, rejections, *_ = read_bytes(tmp_path, content, name)
        assert [e.offset for e in events] == [0, 2]
        place = f"line {2 + len(header[:1])}"
        assert [(r.origin.place, r.reason) for r in rejections] == [(place, "malformed row")]


# Text as it is found


def test_byte_order_marks_and_carriage_returns_are_passed_over(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + (HEADER + b"7,50,1506826800\n\n8,51,1506826801").replace(b"\n", b"\r\n")
    wanted = [event("7", "50", 1506826800000), event("8", "51", 1506826801000, 1)]
    assert read_bytes(tmp_path, content) == (wanted, [])
    line = b'\xef\xbb\xbf{"user":7,"item":50,"time":1506826800}\r\n'
    assert read_bytes(tmp_path, line, "events.json") == (wanted[:1], [])


# Types


@pytest.mark.parametrize(
    "times",
    [
        pa.array([1506826800, 1], pa.timestamp("s")),
        pa.array([1506826800000, 1000], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([1506826800000999, 1000000], pa.timestamp("us", "UTC")),
        pa.array([1506826800000999999, 1000000000], pa.timestamp("ns")),
        pa.array([1506826800, 1], pa.uint32()),
        pa.array([1506826800, 1], pa.float64()),
        pa.array(["2017-10-01T03:00:00Z", "1"], pa.large_string()),
        pa.array(["1506826800", "1"], pa.string()).dictionary_encode(),
        pa.array([Decimal("1506826800.000"), Decimal("1.000")]),
    ],
)
def test_every_parquet_type_of_time_is_read(tmp_path: Path, times: Any) -> None:
    path = write_parquet(tmp_path / "e.parquet", {"user": [1, 2], "item": [1, 2], "time": times})
    assert [e.timestamp_ms for e in read(path)[0]] == [1506826800000, 1000]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([7, None], pa.int8()),
        pa.array([7, None], pa.float32()),
        pa.array([7.0, float("nan")]),
        pa.array(["7", None], pa.string()).dictionary_encode(),
        pa.array([7, None]).dictionary_encode(),
        pa.array([b"7", None], pa.large_binary()),
        pa.array([b"7", b""], pa.binary()),
        pa.array([b"7", None], pa.binary(1)),
    ],
)
def test_every_parquet_type_of_id_is_text(tmp_path: Path, ids: Any) -> None:
    path = write_parquet(tmp_path / "e.parquet", {"user": ids, "item": [50.5, 1e300], "time": [1, 2]})
    events, rejections, *_ = read(path)
    assert events == [event("7", "50.5", 1000)]
    assert [(r.origin.place, r.reason) for r in rejections] == [("row 2", "missing user id")]


def test_a_missing_or_nan_parquet_time_is_told_apart(tmp_path: Path) -> None:
    times = pa.array([None, float("nan")])
    path = write_parquet(tmp_path / "e.parquet", {"user": ["a", "a"], "item": ["b", "b"], "time": times})
    assert [r.reason for r in read(path)[1]] == ["missing timestamp", "unparseable timestamp"]


@pytest.mark.parametrize(
    ("value", "text"),
    [("7", "7"), ("7.0", "7"), ("7.5", "7.5"), ('"7.0"', "7.0"), ("1e16", "1" + "0" * 16), ("true", "true")],
)
def test_json_ids_are_text(tmp_path: Path, value: str, text: str) -> None:
    line = f'{{"user":{value},"item":{value},"time":1506826800.5}}'.encode()
    assert read_bytes(tmp_path, line, "e.ndjson")[0] == [event(text, text, 1506826800500)]


def test_keys_may_be_missing_from_the_first_objects(tmp_path: Path) -> None:
    lines = b'{"user":1}\nnonsense\n{"user":1,"item":2,"time":3,"weight":2}\n'
    events, rejections, *_ = read_bytes(tmp_path, lines, "e.jsonl")
    assert events == [event("1", "2", 3000, 2, 2)]
    assert [r.reason for r in rejections] == ["missing item id", "malformed row"]


# Positions


def write_mixed(folder: Path, suffix: str, num_rows: int) -> Path:
    """Write rows of which every fifth has no user."""
    path = folder / f"events.{suffix}"
    users = ["" if i % 5 == 4 else f"u{i % 7}" for i in range(num_rows)]
    if suffix == "parquet":
        items, times = [f"i{i}" for i in range(num_rows)], list(range(num_rows))
        return write_parquet(path, {"user": users, "item": items, "time": times}, row_group_size=7)
    if suffix == "csv":
        lines = ["user,item,time", *(f"{user},i{i},{i}" for i, user in enumerate(users))]
    else:
        lines = [json.dumps({"user": user, "item": f"i{i}", "time": i}) for i, user in enumerate(users)]
    path.write_text("\n".join(lines))
    return path


@given(
    suffix=st.sampled_from(["csv", "jsonl", "parquet"]),
    position=st.integers(0, 45),
    chunk_rows=st.integers(1, 50),
    num_polls=st.integers(0, 3),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_seeking_gives_what_reading_on_would_have_given(
    suffix: str, position: int, chunk_rows: int, num_polls: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_mixed(Path(folder), suffix, 40)
        events, rejections, *_ = read(path)
        with closing(FileSource(path, chunk_rows=chunk_rows)) as source:
            for _ in range(num_polls):
                source.poll()
            source.seek({0: position})
            found = drain(source)
    wanted = [e for e in events if e.offset >= position], [r for r in rejections if r.offset >= position]
    assert found == wanted
    assert len(events) == 32


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_limit_counts_rows_good_or_bad(tmp_path: Path, suffix: str) -> None:
    path = write_mixed(tmp_path, suffix, 40)
    with closing(FileSource(path, limit=11, chunk_rows=4)) as source:
        assert source.num_records == (11 if suffix == "parquet" else None)
        events, rejections, *_ = drain(source)
        assert len(events) + len(rejections) == 11
        source.seek({0: 9})
        events, rejections, *_ = drain(source)
        assert [e.offset for e in events] + [r.offset for r in rejections] == [10, 9]
        source.seek({})
        assert len(drain(source)[0]) == 9


def test_parquet_tells_its_number_of_rows(tmp_path: Path) -> None:
    with closing(FileSource(write_mixed(tmp_path, "parquet", 40))) as source:
        assert source.num_records == 40


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_large_file_is_read_a_part_at_a_time(tmp_path: Path, suffix: str) -> None:
    path, row = tmp_path / f"events.{suffix}", {"user": "7" * 200, "item": "50" * 100, "time": 1506826800}
    num_rows = 12_000
    if suffix == "parquet":
        write_parquet(path, {key: [value] * num_rows for key, value in row.items()})
    elif suffix == "csv":
        path.write_text("user,item,time\n" + (",".join(map(str, row.values())) + "\n") * num_rows)
    else:
        path.write_text((json.dumps(row) + "\n") * num_rows)
    with closing(FileSource(path, chunk_rows=5000)) as source:
        poll = source.poll()
        assert poll is not None
        assert poll.events.num_events == 5000
        assert poll.events.item_data.nbytes < 6_000_000
        assert 0 < source.fraction_read < 0.95
        while source.poll() is not None:
            pass
        assert source.fraction_read == 1


# Damage


def noisy_csv(num_rows: int) -> bytes:
    rng = np.random.default_rng(7)
    rows = rng.integers(0, 10**9, (num_rows, 2))
    return HEADER + b"".join(b"%d,%d,1506826800\n" % (user, item) for user, item in rows)


def read_until_damage(source: FileSource) -> tuple[int, str]:
    num_events = 0
    while True:
        try:
            poll = source.poll()
        except InputError as error:
            return num_events, str(error)
        assert poll is not None
        assert poll.rejections == []
        num_events += poll.events.num_events


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_the_rows_before_the_damage_are_given(tmp_path: Path, suffix: str) -> None:
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": pa.Codec("zstd").compress}[suffix]
    packed = bytes(compress(noisy_csv(60_000)))
    path = tmp_path / f"events.csv{suffix}"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    with closing(FileSource(path, chunk_rows=1000)) as source:
        num_events, message = read_until_damage(source)
        assert read_until_damage(source) == (0, message)
    assert 10_000 < num_events < 60_000
    assert message.startswith(f"{path} is damaged after line {num_events + 1} (")
    assert "\n" not in message


def test_lines_before_the_damage_are_given_from_json_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    lines = b"".join(b'{"user":%d,"item":1,"time":1}\n' % user for user in rng.integers(0, 10**9, 9000))
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:-2000])
    with closing(FileSource(path)) as source:
        num_events, message = read_until_damage(source)
    assert 1000 < num_events < 9000
    assert f"is damaged after line {num_events} (" in message


def test_a_damaged_parquet_file_is_told_with_its_row(tmp_path: Path) -> None:
    users = [f"user{i}" for i in range(5000)]
    columns = {"user": users, "item": users, "time": list(range(5000))}
    path = write_parquet(tmp_path / "e.parquet", columns, row_group_size=1000, compression="zstd")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    message = refusal(path)
    assert "is damaged after row " in message


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="the real data sets are not beside the checkout")
def test_a_real_data_set_has_the_counts_it_is_known_for() -> None:
    users: set[int] = set()
    items: set[int] = set()
    num_events = 0
    with closing(FileSource(DATA / "movietweetings_142k.csv.gz")) as source:
        while (poll := source.poll()) is not None:
            assert poll.rejections == []
            num_events += poll.events.num_events
            users.update(poll.events.user.tolist())
            items.update(poll.events.item.tolist())
    assert (num_events, len(users), len(items)) == (141_695, 21_081, 12_611)
