"""Public data sets are read as they were downloaded."""

import gzip
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from simulators.datasets import DATASETS, open_dataset, recognise
from stream.adapters.files import Columns, FileSource
from stream.core.event import USER, hash_id
from stream.errors import InputError

EVENT_MS = 978300760000
FILES = {
    "ml-100k/u.data": ("MovieLens 100K", "7\t50\t3\t978300760\n8\t51\t3\t978300759\n"),
    "ml-1m/ratings.dat": (
        "MovieLens 1M or 10M, or MovieTweetings",
        "7::50::5::978300760\n8::51::3::978300759\n",
    ),
    "ml-10m/ratings.dat": (
        "MovieLens 1M or 10M, or MovieTweetings",
        "7::50::3.5::978300760\n8::51::3::978300759\n",
    ),
    "ml-25m/ratings.csv": (
        "MovieLens 20M, 25M or 32M",
        "userId,movieId,rating,timestamp\r\n7,50,3.5,978300760\r\n8,51,4,978300759\r\n",
    ),
    "ratings_Books.csv": (
        "Amazon 2014, ratings only",
        "A2CX7LUOHB2NDG,0321732944,5.0,978300760\nA2CX7LUOHB2NDH,B000000001,1.0,978300759\n",
    ),
    "Books.csv": (
        "Amazon 2018, ratings only",
        "0321732944,A2CX7LUOHB2NDG,5.0,978300760\nB000000001,A2CX7LUOHB2NDH,1.0,978300759\n",
    ),
    "All_Beauty.csv": (
        "Amazon 2023, ratings only",
        "user_id,parent_asin,rating,timestamp\nAG,B00YQ6X8EO,5,978300760000\nAH,B00YQ6X8EP,4,978300759000\n",
    ),
    "reviews_Books.json": (
        "Amazon 2014 or 2018, reviews",
        '{"reviewerID": "A1", "asin": "0321732944", "reviewTime": "01 1", "unixReviewTime": 978300760}\n',
    ),
    "All_Beauty.jsonl": (
        "Amazon 2023, reviews",
        '{"rating": 5.0, "asin": "B0", "parent_asin": "B1", "user_id": "AG", "timestamp": 978300760000}\n',
    ),
}
IDS = {
    "ml-100k/u.data": ("7", "50"),
    "ml-1m/ratings.dat": ("7", "50"),
    "ml-10m/ratings.dat": ("7", "50"),
    "ml-25m/ratings.csv": ("7", "50"),
    "ratings_Books.csv": ("A2CX7LUOHB2NDG", "0321732944"),
    "Books.csv": ("A2CX7LUOHB2NDG", "0321732944"),
    "All_Beauty.csv": ("AG", "B00YQ6X8EO"),
    "reviews_Books.json": ("A1", "0321732944"),
    "All_Beauty.jsonl": ("AG", "B0"),
}


def write(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FILES[name][1], newline="")
    return path


def read(source: FileSource) -> list[tuple[int, str, int]]:
    """Return (user key, item, milliseconds) of each event."""
    found = []
    with closing(source):
        while (poll := source.poll()) is not None:
            events = poll.events
            assert poll.rejections == []
            assert (events.weight == 1).all()
            for i in range(events.num_events):
                item = events.item_data[events.item_start[i] :][: events.item_length[i]].tobytes().decode()
                found.append((int(events.user[i]), item, int(events.timestamp_ms[i])))
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_data_set_is_recognised_and_read(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    dataset = recognise(path)
    assert dataset is not None
    assert dataset.name == FILES[name][0]
    user, item = IDS[name]
    assert read(open_dataset(path))[0] == (hash_id(user, USER), item, EVENT_MS)


def test_every_data_set_is_tried() -> None:
    assert {dataset.name for dataset in DATASETS} == {name for name, _ in FILES.values()}


@pytest.mark.parametrize("name", [name for name in FILES if "json" not in name])
def test_the_line_to_sort_with_puts_a_data_set_in_the_order_of_time(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    dataset = recognise(path)
    assert dataset is not None
    ordered = tmp_path / f"sorted{path.suffix}"
    command = dataset.sort.replace("FILE", f"'{path}'").replace("SORTED", f"'{ordered}'")
    subprocess.run(["bash", "-c", command], check=True)
    events = read(open_dataset(ordered))
    assert [ms for _, _, ms in events] == [EVENT_MS - 1000, EVENT_MS]
    assert sorted(events) == sorted(read(open_dataset(path)))


def test_a_compressed_data_set_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "u.data.gz"
    path.write_bytes(gzip.compress(FILES["ml-100k/u.data"][1].encode()))
    assert len(read(open_dataset(path))) == 2


def test_given_columns_override_the_recognised_ones(tmp_path: Path) -> None:
    swapped = Columns(user="item_id", item="user_id")
    path = write(tmp_path, "ml-100k/u.data")
    assert read(open_dataset(path, swapped))[0] == (hash_id("50", USER), "7", EVENT_MS)
    path = write(tmp_path, "All_Beauty.jsonl")
    assert read(open_dataset(path, Columns(item="parent_asin")))[0] == (hash_id("AG", USER), "B1", EVENT_MS)
    with pytest.raises(InputError, match="--item-column"):
        open_dataset(path, Columns(item="nothing"))


def test_a_limit_is_kept(tmp_path: Path) -> None:
    assert len(read(open_dataset(write(tmp_path, "ml-1m/ratings.dat"), limit=1))) == 1


def test_other_files_are_read_by_their_usual_names(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("user,item,ts\n7,50,978300760\n")
    assert recognise(path) is None
    assert read(open_dataset(path)) == [(hash_id("7", USER), "50", EVENT_MS)]


@pytest.mark.parametrize(
    "first_line",
    [
        "7,50,3,978300760",
        "50\t7\t978300760",
        "A2CX7LUOHB2NDG,A2CX7LUOHB2NDG,5.0,978300760",
        "7::50::5::978300760::1",
        '{"user_id":1,"item_id":2,"timestamp":3}',
    ],
)
def test_nothing_is_recognised_by_half(tmp_path: Path, first_line: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(first_line + "\n")
    assert recognise(path) is None


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_dataset(tmp_path / "u.data")
