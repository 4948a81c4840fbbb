"""Recognising public data sets by how their files look, so that they replay as they were downloaded.

Many of these files are not in the order of time: MovieLens 100K, ML-1M, ML-10M, ML-20M to ML-32M and Amazon
are listed by user or by item. Nothing is sorted in secret: events that come later than the allowed lateness
are dead letters, counted as late. To replay such a file in time, sort it once; the line to type stands beside
each data set in :data:`DATASETS`.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from stream.adapters.files import Columns, FileSource, Layout, first_line

_RATINGS: Final = ("user_id", "item_id", "rating", "timestamp")
_RATINGS_ITEM_FIRST: Final = ("item_id", "user_id", "rating", "timestamp")
_AMAZON_USER: Final = r"A[0-9A-Z]{9,20}"
_AMAZON_ITEM: Final = r"(?:B[0-9A-Z]{9}|[0-9]{9}[0-9X])"
_AMAZON_RATING: Final = r"[1-5](?:\.0)?,[0-9]{9,10}"


class Dataset(NamedTuple):
    """A data set that is known by the first line of its file."""

    name: str
    pattern: str
    """Regular expression for the whole first line."""
    layout: Layout
    sort: str
    """Shell line (bash) that sorts FILE by time into SORTED."""


def _sort(delimiter: str, field: int, *, header: bool = False) -> str:
    by_time = f"sort -s -t {delimiter} -k {field},{field}n"
    return f"(head -n 1 FILE; tail -n +2 FILE | {by_time}) > SORTED" if header else f"{by_time} FILE > SORTED"


DATASETS: Final = (
    Dataset(
        "MovieLens 100K",
        r"\d+\t\d+\t[1-5]\t\d{9}",
        Layout(delimiter="\t", header=_RATINGS),
        _sort(r"$'\t'", 4),
    ),
    Dataset(
        "MovieLens 1M or 10M, or MovieTweetings",
        r"\d+::\d+::\d+(\.5)?::\d{9,10}",
        Layout(delimiter="::", header=_RATINGS),
        # To sort, the separator is one colon and every second column is empty.
        _sort(":", 7),
    ),
    Dataset(
        "MovieLens 20M, 25M or 32M",
        r"userId,movieId,rating,timestamp",
        Layout(Columns("userId", "movieId", "timestamp"), ","),
        _sort(",", 4, header=True),
    ),
    Dataset(
        "Amazon 2014, ratings only",
        f"{_AMAZON_USER},{_AMAZON_ITEM},{_AMAZON_RATING}",
        Layout(delimiter=",", header=_RATINGS),
        _sort(",", 4),
    ),
    Dataset(
        "Amazon 2018, ratings only",
        f"{_AMAZON_ITEM},{_AMAZON_USER},{_AMAZON_RATING}",
        Layout(delimiter=",", header=_RATINGS_ITEM_FIRST),
        _sort(",", 4),
    ),
    Dataset(
        "Amazon 2023, ratings only",
        r"user_id,parent_asin,rating,timestamp(,history)?",
        Layout(Columns("user_id", "parent_asin", "timestamp"), ","),
        _sort(",", 4, header=True),
    ),
    Dataset(
        "Amazon 2014 or 2018, reviews",
        r'\{(?=.*"reviewerID":)(?=.*"asin":)(?=.*"unixReviewTime":).*',
        Layout(Columns("reviewerID", "asin", "unixReviewTime")),
        "jq -c -s 'sort_by(.unixReviewTime)[]' FILE > SORTED",
    ),
    Dataset(
        "Amazon 2023, reviews",
        r'\{(?=.*"user_id":)(?=.*"asin":)(?=.*"timestamp":).*',
        Layout(Columns("user_id", "asin", "timestamp")),
        "jq -c -s 'sort_by(.timestamp)[]' FILE > SORTED",
    ),
)
"""Data sets that are recognised, the surest sign first."""


def recognise(path: Path | str) -> Dataset | None:
    """Return the data set that a file looks like, None where it looks like none.

    Raises :class:`~stream.errors.InputError` where the file cannot be read.
    """
    line = first_line(Path(path)).decode("utf-8", "replace").strip()
    return next((dataset for dataset in DATASETS if re.fullmatch(dataset.pattern, line)), None)


def open_dataset(path: Path | str, columns: Columns | None = None, limit: int | None = None) -> FileSource:
    r"""Open a file as a source, with the layout of the data set that it looks like.

    Columns that are given override those of the data set; in a file without a header they are called
    ``user_id``, ``item_id``, ``rating`` and ``timestamp``. Any other file is read as :class:`FileSource`
    reads it.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "ratings.dat"
    >>> _ = path.write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    >>> recognise(path).name
    'MovieLens 1M or 10M, or MovieTweetings'
    >>> source = open_dataset(path)
    >>> source.poll().events.timestamp_ms
    array([978300760000, 978302109000])
    >>> source.close()
    >>> folder.cleanup()

    Raises :class:`~stream.errors.InputError` where the file cannot be read.
    """
    dataset = recognise(path)
    layout = Layout() if dataset is None else dataset.layout
    if columns is not None:
        pairs = zip(columns, layout.columns, strict=True)
        layout = layout._replace(columns=Columns(*(usual if given is None else given for given, usual in pairs)))
    return FileSource(path, layout, limit)
