"""What a run leaves behind: ``report.json`` for programs, ``report.html`` for people."""

import json
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream.adapters.page import render_page
from stream.core.stats import Counts, LedgerLine, Quality, Report, SizeSummary, WindowReport
from stream.errors import StorageError

JSON_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"


def report_fields(report: Report) -> dict[str, Any]:
    """Return the run in the public form of ``report.json``: flat and plain, None where a figure is not known.

    Bytes are whole numbers, times are seconds, event times are milliseconds since the epoch, quality and
    shares are in [0, 1]. The quality names carry the length of the list (``recall_at_20``). NaN and infinity
    become None.
    """
    last = report.windows[-1] if report.windows else None
    fields = {
        "data": report.data,
        "policy": report.policy,
        "guard_trips": report.guard_trips,
        "seed": report.seed,
        "finished": report.finished,
        "resumed": report.resumed,
        **_count_fields(report.counts),
        "dead_letter_reasons": report.dead_letter_reasons,
        "num_users": report.num_users,
        "num_items": report.num_items,
        "top_k": report.top_k,
        **report.quality.fields(report.top_k),
        "quality_by_gap": _gap_fields(report.quality_by_gap, report.top_k),
        "budget_bytes": report.budget_bytes,
        "peak_bytes": report.peak_bytes,
        "ledger": _line_fields(report.ledger),
        "fixed": _line_fields(report.fixed),
        "peak_rss_bytes": report.peak_rss_bytes,
        "user_sizes": _size_fields(last.user_sizes, histogram=True) if last else None,
        "item_sizes": _size_fields(last.item_sizes, histogram=True) if last else None,
        "events_per_second": report.events_per_second,
        "train_seconds": report.train_seconds,
        "eval_seconds": report.eval_seconds,
        "resize_seconds": report.resize_seconds,
        "checkpoint_seconds": report.checkpoint_seconds,
        "wall_seconds": report.wall_seconds,
        "digest": report.digest,
        "settings": report.settings,
        "versions": report.versions,
        "windows": [_window_fields(window) for window in report.windows],
    }
    plain: dict[str, Any] = _plain(fields)
    return plain


def _window_fields(window: WindowReport) -> dict[str, Any]:
    return {
        "index": window.index,
        "reason": window.reason,
        "first_event_ms": window.first_event_ms,
        "last_event_ms": window.last_event_ms,
        **_count_fields(window.counts),
        "num_users": window.num_users,
        "num_items": window.num_items,
        **window.quality.fields(window.top_k),
        "quality_by_gap": _gap_fields(window.quality_by_gap, window.top_k),
        "budget_bytes": window.budget_bytes,
        "ledger_bytes": window.ledger_bytes,
        "peak_bytes": window.peak_bytes,
        "arena_words": window.arena_words,
        "arena_used_words": window.arena_used_words,
        "peak_rss_bytes": window.peak_rss_bytes,
        # The histograms stand once, at the top, as they were at the end: nobody reads one for each window.
        "user_sizes": _size_fields(window.user_sizes, histogram=False),
        "item_sizes": _size_fields(window.item_sizes, histogram=False),
        "decision": window.decision,
        "guard_trips": window.guard_trips,
        "resizes": window.resizes,
        "events_per_second": window.events_per_second,
        "train_seconds": window.train_seconds,
        "eval_seconds": window.eval_seconds,
        "resize_seconds": window.resize_seconds,
        "checkpoint_seconds": window.checkpoint_seconds,
        "checkpoint_bytes": window.checkpoint_bytes,
    }


def _count_fields(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__struct_fields__}


def _gap_fields(by_gap: Mapping[str, Quality], top_k: int) -> dict[str, Any]:
    return {gap: quality.fields(top_k) for gap, quality in by_gap.items()}


def _line_fields(lines: Sequence[LedgerLine]) -> list[dict[str, Any]]:
    return [{"name": entry.name, "bytes": entry.bytes} for entry in lines]


def _size_fields(sizes: SizeSummary, *, histogram: bool) -> dict[str, Any]:
    fields = {"num": sizes.num, "mean": sizes.mean, **sizes.quantiles}
    return {**fields, "histogram": sizes.histogram} if histogram else fields


def _plain(value: Any) -> Any:
    """Return ``value`` in JSON's own types; what has no such type as its text."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, Set):
        return sorted(map(str, value))
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(entry) for entry in value]
    return str(value)


def save_report(report: Report, folder: Path) -> Path:
    """Write ``report.json`` and ``report.html`` into ``folder``, made if missing; return the page's path.

    Each file is written aside and renamed, so a reader finds the old one or the new one whole. Raises
    :class:`StorageError` where the disk refuses; ``report.json`` is written first.
    """
    text = json.dumps(report_fields(report), allow_nan=False, indent=1)
    write_aside(folder / JSON_NAME, text + "\n")
    write_aside(folder / PAGE_NAME, render_page(report))
    return folder / PAGE_NAME


def write_aside(path: Path, text: str) -> None:
    """Write a text file beside its name and rename it; raises :class:`StorageError` where the disk refuses."""
    aside = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An id may hold half a surrogate pair, which has no UTF-8 form.
        aside.write_bytes(text.encode("utf-8", "replace"))
        aside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"cannot write {path}: {reason}; make room there, or name another folder") from error
