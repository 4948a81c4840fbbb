"""Dead letters are kept as lines of JSON, and go back to a mark exactly."""

import json
from pathlib import Path
from typing import Any

import pytest

from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.files import FileSource
from stream.core.event import Origin, Rejection
from stream.errors import StorageError


def letter(offset: int, detail: str = "user ''", place: str = "topic/0@7") -> Rejection:
    return Rejection(0, offset, Origin(place), "missing user id", detail)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_there_before_its_first_letter(tmp_path: Path) -> None:
    path = tmp_path / "new" / "dead_letters.jsonl"
    DeadLetterFile(path).close()
    assert path.read_bytes() == b""


def test_a_rejection_is_one_line_with_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = DeadLetterFile(path)
    letters.write([Rejection(3, 122, Origin("topic/3@122"), "late", "by 5 s"), letter(15, place="line 17")])
    letters.write([])
    letters.write([letter(16, place="row 17")])
    letters.close()
    reason = "missing user id"
    assert lines(path) == [
        {"partition": 3, "offset": 122, "place": "topic/3@122", "reason": "late", "detail": "by 5 s"},
        {"partition": 0, "offset": 15, "place": "line 17", "line": 17, "reason": reason, "detail": "user ''"},
        {"partition": 0, "offset": 16, "place": "row 17", "line": 17, "reason": reason, "detail": "user ''"},
    ]


@pytest.mark.parametrize("place", ["line", "line x", "line 1 2", "topic line 3", "line \u00b2"])
def test_only_the_place_of_a_file_has_a_line(tmp_path: Path, place: str) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = DeadLetterFile(path)
    letters.write([letter(1, place=place)])
    letters.close()
    assert lines(path)[0]["place"] == place
    assert "line" not in lines(path)[0]


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("x" * 300, "x" * 200),
        ("\ud800" * 300, ("\\ud800" * 200)[:200]),
        ("two\nlines\0\u2028", "two\nlines\0\u2028"),
    ],
)
def test_any_detail_is_one_readable_line(tmp_path: Path, detail: str, shown: str) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = DeadLetterFile(path)
    letters.write([letter(1, detail)])
    letters.close()
    assert path.read_bytes().count(b"\n") == 1
    assert json.loads(path.read_bytes())["detail"] == shown


def test_a_mark_makes_letters_durable_and_a_rewind_forgets_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = DeadLetterFile(path)
    assert letters.mark() == {0: 0}
    letters.write([letter(1)])
    mark = letters.mark()
    assert mark == {0: path.stat().st_size}
    letters.write([letter(2)])
    letters.rewind(mark)
    assert mark == {0: path.stat().st_size}
    letters.write([letter(3)])
    letters.close()
    assert [line["offset"] for line in lines(path)] == [1, 3]


def test_a_later_run_goes_on_from_a_mark_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    first = DeadLetterFile(path)
    first.write([letter(1)])
    mark = first.mark()
    first.write([letter(2)])
    first.close()
    second = DeadLetterFile(path)
    second.rewind(mark)
    second.write([letter(3)])
    second.close()
    assert [line["offset"] for line in lines(path)] == [1, 3]


def test_a_rewind_never_makes_a_file_longer(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters.jsonl"
    letters = DeadLetterFile(path)
    letters.write([letter(1)])
    mark = letters.mark()
    letters.rewind({0: mark[0] + 100})
    assert letters.mark() == mark
    letters.rewind({})
    assert letters.mark() == {0: 0}
    letters.close()


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"dead letters cannot be written \(Is a directory\); .* then resume"):
        DeadLetterFile(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="dead letters cannot be written"):
        DeadLetterFile(blocked / "dead_letters.jsonl")


def test_the_bad_rows_of_a_file_can_be_found_again(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(b"user,item,time\n7,50,1\n7,\xff,1\n,50,1\n")
    source, letters = FileSource(path), DeadLetterFile(tmp_path / "dead_letters.jsonl")
    poll = source.poll()
    assert poll is not None
    letters.write(poll.rejections)
    source.close()
    letters.close()
    written = lines(letters.path)
    assert [(line["line"], line["reason"]) for line in written] == [
        (3, "invalid UTF-8"),
        (4, "missing user id"),
    ]
