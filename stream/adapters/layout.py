"""Where a file keeps user, item, timestamp and weight."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream.errors import InputError


class Columns(NamedTuple):
    """Names of the columns to read; None takes the first column with a usual name (:data:`USUAL_NAMES`)."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    weight: str | None = None
    """None takes a column named exactly ``weight`` where there is one; ``""`` reads no weight at all."""


class Layout(NamedTuple):
    """How a file is laid out, as far as its suffix does not say so."""

    columns: Columns = Columns()
    delimiter: str | None = None
    """Between the columns of a text file, one or more characters; None: the likeliest of ``, TAB ; |``."""
    header: tuple[str, ...] | None = None
    """Names of the columns of a text file without a header line; None where the first line names them."""


USUAL_NAMES: Final = {
    "user": (
        "userid", "user", "uid", "reviewerid", "visitorid", "customerid", "memberid", "accountid", "customer",
    ),
    "item": (
        "itemid", "item", "iid", "movieid", "asin", "parentasin", "productid", "articleid", "newsid",
        "trackid", "songid", "artistid", "bookid", "businessid", "sku", "stockcode", "product", "article",
    ),
    "timestamp": (
        "timestamp", "timestampms", "time", "ts", "unixreviewtime", "eventtime", "datetime", "date",
        "createdat", "invoicedate", "clicktimestamp",
    ),
}  # fmt: skip
"""Usual names by field, first choice first; compared in lower case without ``_``, ``-`` and spaces."""

_SEPARATORS: Final = str.maketrans("", "", "_- ")


def match_columns(path: object, columns: Columns, names: Sequence[str]) -> list[str | None]:
    """Return the columns of user, item, timestamp and weight among ``names``; None: there is no weight.

    Raises :class:`InputError` where a column is missing, or where one column would serve as two.

    >>> match_columns("clicks.csv", Columns(item="sku"), ["visitorId", "sku", "movie_id", "ts", "rating"])
    ['visitorId', 'sku', 'ts', None]
    """
    found = [_find(path, field, getattr(columns, field), names) for field in USUAL_NAMES]
    found.append(_find_weight(path, columns.weight, names))
    for field, name in zip(Columns._fields, found, strict=True):
        if name is not None and names.count(name) > 1:
            raise InputError(
                f"{path} has {names.count(name)} columns called {name!r}; name another with --{field}-column"
            )
        if name is not None and found.count(name) > 1:
            raise InputError(
                f"{path}: column {name!r} cannot be the {field} and another field at once; "
                f"name another with --{field}-column"
            )
    return found


def _find(path: object, field: str, asked: str | None, names: Sequence[str]) -> str | None:
    if asked is not None:
        if asked not in names:
            raise _missing(path, field, f"has no column {asked!r}", names)
        return asked
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name.lower().translate(_SEPARATORS), name)
    for usual in USUAL_NAMES[field]:
        if usual in spellings:
            return spellings[usual]
    raise _missing(path, field, f"has no column that looks like the {field}", names)


def _find_weight(path: object, asked: str | None, names: Sequence[str]) -> str | None:
    # A rating is no weight: it says how much an item was liked, not how much the event should count.
    if asked is None:
        return "weight" if "weight" in names else None
    if asked and asked not in names:
        raise _missing(path, "weight", f"has no column {asked!r}", names)
    return asked or None


def _missing(path: object, field: str, what: str, names: Sequence[str]) -> InputError:
    shown = ", ".join(name[:40] for name in names[:20]) + (", ..." if len(names) > 20 else "")
    return InputError(f"{path} {what}; name it with --{field}-column (columns found: {shown})")
