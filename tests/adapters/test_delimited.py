"""Text is split into rows that keep their line numbers, and a broken row costs nothing but itself."""

import csv
import io
import tempfile
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.blocks import ByteBlocks
from stream.adapters.delimited import DelimitedReader
from stream.adapters.jsonlines import JsonLinesReader
from stream.adapters.layout import Layout
from stream.adapters.verdicts import MALFORMED

HEADER = b"user,item,time\n"
FIRST_OBJECT = b'{"user":7,"item":50,"time":3}\n'
Split = list[tuple[int, tuple[str, ...]]]
"""Line number and fields of each row; a malformed row is one field."""


def split(content: bytes, block_bytes: int = 1 << 20, max_rows: int = 1000, layout: Layout | None = None) -> Split:
    reader_type = JsonLinesReader if content.startswith(b"{") else DelimitedReader
    rows: Split = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_bytes(content)
        with closing(reader_type(ByteBlocks(path, block_bytes), layout or Layout())) as reader:
            while (columns := reader.read(max_rows)) is not None:
                assert 1 <= columns.num_rows <= max_rows
                for i in range(columns.num_rows):
                    fields = range(1 if columns.fault[i] else 3)
                    rows.append((int(columns.number[i]), tuple(columns.text(f, i) for f in fields)))
    return rows


TEXT = st.text(st.sampled_from("a\u00e9,\"\r\n\0 '"), max_size=5)


@given(rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=10), plain=st.booleans())
@settings(derandomize=True, deadline=None, max_examples=100)
def test_what_a_writer_of_csv_wrote_is_read_back(rows: list[tuple[str, str, str]], plain: bool) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file) if plain else csv.writer(file, quoting=csv.QUOTE_ALL)
    lines = []
    for row in [("user", "item", "time"), *rows]:
        lines.append(file.getvalue().count("\n") + 1)
        writer.writerow(row)
    assert split(file.getvalue().encode()) == list(zip(lines[1:], rows, strict=True))


LINES = st.lists(
    st.lists(st.sampled_from([b"7", b",", b",", b'"', b"\r", b"\n", b"\0", b"\xff"]), max_size=12).map(b"".join),
    max_size=20,
)


@pytest.mark.parametrize("first_line", [HEADER, FIRST_OBJECT])
@given(lines=LINES, block_bytes=st.integers(3, 60), max_rows=st.integers(1, 5))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_rows_do_not_depend_on_how_the_file_is_cut_into_blocks(
    first_line: bytes, lines: list[bytes], block_bytes: int, max_rows: int
) -> None:
    content = first_line + b"\n".join(lines)
    rows = split(content)
    assert split(content, block_bytes, max_rows) == rows
    assert all(row[0] < following[0] for row, following in pairwise(rows))


@given(lines=LINES)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_no_line_vanishes(lines: list[bytes]) -> None:
    content = b"\n".join(lines)
    rows = split(HEADER + content)
    seen: set[int] = set()
    for number, fields in rows:
        num_lines = 1 if len(fields) == 1 else 1 + sum(field.count("\n") for field in fields)
        seen.update(range(number, number + num_lines))
    wanted = {i for i, line in enumerate(content.split(b"\n"), 2) if line not in (b"", b"\r")}
    assert wanted <= seen


WRONG_WIDTHS = ["7,50", "7,50,1506826800,9", "7", " ", '"7,50,1506826800', '7,50,"1506826800']


@pytest.mark.parametrize("row", WRONG_WIDTHS)
def test_a_row_of_the_wrong_width_is_malformed(row: str) -> None:
    content = HEADER + row.encode() + b"\n8,50,1\n"
    assert split(content) == [(2, (row,)), (3, ("8", "50", "1"))]
    assert split(HEADER + row.encode()) == [(2, (row,))]


def test_lines_are_counted_through_quoted_line_ends_and_blank_lines() -> None:
    content = HEADER + b'"two\nlines",5,1\n\nx,,2\n\r\n"a\r\n\nb",,2\r\n,,2'
    wanted = [
        (2, ("two\nlines", "5", "1")),
        (5, ("x", "", "2")),
        (7, ("a\r\n\nb", "", "2")),
        (10, ("", "", "2")),
    ]
    assert split(content) == wanted


def test_a_stray_quote_costs_its_line_alone() -> None:
    good, stray = b"7,50,1\n", b'"8,51,1\n'
    rows = split(HEADER + good + stray + good + good + b'9,"52,1\n' + good)
    assert [(n, len(fields)) for n, fields in rows] == [(2, 3), (3, 1), (4, 3), (5, 3), (6, 1), (7, 3)]


def test_a_stray_quote_in_a_huge_file_costs_its_line_alone() -> None:
    good = b"7," + b"50" * 200 + b",1\n"
    rows = split(HEADER + b'"8,51,1\n' + good * 4000, 1 << 19)
    assert rows[0] == (2, ('"8,51,1',))
    assert [number for number, _ in rows] == list(range(2, 4003))


def test_text_behind_a_closing_quote_belongs_to_the_field() -> None:
    assert split(HEADER + b'"7" inch,5"0,""\n') == [(2, ("7 inch", '5"0', ""))]


def test_a_separator_may_be_several_characters() -> None:
    layout = Layout(delimiter="::", header=("user", "item", "time"))
    rows = split(b'a:b::"::"::1\nx::y::\n:::::1', layout=layout)
    assert rows == [(1, ("a:b", "::", "1")), (2, ("x", "y", "")), (3, ("", "", ":1"))]


def test_a_malformed_row_is_marked_so() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text"
        path.write_bytes(HEADER + b"7\n7,50,1\n")
        with closing(DelimitedReader(ByteBlocks(path), Layout())) as reader:
            rows = reader.read(10)
            assert rows is not None
            assert rows.fault.tolist() == [MALFORMED, 0]
