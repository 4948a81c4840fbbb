"""The report: a JSON form for programs, a page for people."""

import io
import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

import stream
from stream.adapters.page import render_page
from stream.adapters.process import peak_rss_bytes, resident_bytes
from stream.adapters.progress import ConsoleReporter, LogLines, final_summary
from stream.adapters.report import report_fields, save_report
from stream.adapters.track import MAX_POINTS, Track, final
from stream.core.stats import Counts, LedgerLine, PartitionStatus, Progress, Quality, Report, SizeSummary, WindowReport
from stream.errors import StorageError
from tests.adapters.strict_html import Page

MIB = 2**20
HOSTILE = "<script>alert(1)</script>\"&'$\\frac{"
LEDGER = {
    "arena": 5.1,
    "user index": 0.9,
    "item index": 0.35,
    "row metadata": 0.62,
    "item ids": 0.41,
    "seen filter": 0.25,
    "resize scratch": 0.16,
    "negatives": 0.06,
    "window state": 0.04,
    "hot list": 0.02,
}


def a_quality(level: float, evaluated: int = 50_000) -> Quality:
    return Quality(
        evaluated=evaluated,
        recall=level,
        ndcg=level * 0.52,
        mrr=level * 0.4,
        popularity_recall=0.031 + level * 0.05,
        popularity_ndcg=0.0148 + level * 0.02,
        popularity_mrr=0.011,
        first_sight_share=0.02 + 0.1 * math.exp(-20 * level),
    )


def some_sizes(num: int, middle: float) -> SizeSummary:
    names = ("min", "p10", "p25", "p50", "p75", "p90", "p99", "max")
    factors = (0.0, 0.25, 0.5, 1.0, 1.8, 3.2, 9.0, 14.0)
    quantiles = {name: round(middle * factor) for name, factor in zip(names, factors, strict=True)}
    return SizeSummary(num=num, mean=middle * 1.4, quantiles=quantiles, histogram=[num // 2, num - num // 2])


def a_window(index: int, evicts_from: int) -> WindowReport:
    wave = math.sin(index * 1.7) * 0.004
    quality = a_quality(0.085 - 0.055 * math.exp(-index / 5) + wave)
    users, items = (
        round(14_000 * (1 - math.exp(-(index + 1) / 6))),
        round(3_900 * (1 - math.exp(-(index + 1) / 4))),
    )
    evictions = 0 if index < evicts_from else 400 + 37 * (index % 5)
    counts = Counts(
        events=50_012,
        learnt=50_000,
        late=3,
        dead_letters=12,
        evictions=evictions,
        evicted_users=evictions - evictions // 9,
        evicted_items=evictions // 9,
    )
    arena_words = round(LEDGER["arena"] * MIB) // 4
    return WindowReport(
        index=index,
        reason="events",
        first_event_ms=1_500_000_000_000 + index * 86_400_000,
        last_event_ms=1_500_000_000_000 + (index + 1) * 86_400_000,
        counts=counts,
        num_users=users,
        num_items=items,
        quality=quality,
        quality_by_gap={"first": a_quality(0.03, 2_000), "over_1h": quality},
        top_k=20,
        budget_bytes=8 * MIB,
        ledger_bytes=round(sum(LEDGER.values()) * MIB),
        peak_bytes=round(sum(LEDGER.values()) * MIB),
        arena_words=arena_words,
        arena_used_words=round(arena_words * (0.97 - 0.5 * math.exp(-index / 2))),
        peak_rss_bytes=182 * MIB + min(index, 3) * MIB // 4,
        user_sizes=some_sizes(users, 30 - index * 0.9 if index < 20 else 12),
        item_sizes=some_sizes(items, 40 - index * 0.8 if index < 20 else 24),
        decision={"users_share": 0.71, "users": ["power", 0.8], "items": ["power", 1.2]},
        guard_trips={},
        resizes=1,
        train_seconds=1.05 + 0.1 * wave,
        eval_seconds=0.74,
        resize_seconds=0.012,
        checkpoint_seconds=0.031,
        checkpoint_bytes=8 * MIB,
        events_per_second=50_000 / (1.05 + 18 * wave),
    )


def a_report(num_windows: int = 20) -> Report:
    """Return a run such as a real one would leave: evictions set in halfway."""
    windows = [a_window(index, num_windows // 2) for index in range(num_windows)]

    def total(name: str) -> int:
        return sum(getattr(window.counts, name) for window in windows)

    return Report(
        data="ratings.csv.gz",
        policy="sac",
        guard_trips={},
        seed=7,
        counts=Counts(**{name: total(name) for name in Counts.__struct_fields__}),
        dead_letter_reasons={"missing user id": 9 * num_windows, "bad timestamp": 3 * num_windows} if windows else {},
        num_users=windows[-1].num_users if windows else 0,
        num_items=windows[-1].num_items if windows else 0,
        quality=a_quality(0.0712, 50_000 * num_windows) if windows else Quality(evaluated=0),
        quality_by_gap={
            "first": a_quality(0.034, 14_000),
            "under_1h": a_quality(0.081, 830_000),
            "over_1h": a_quality(0.052, 156_000),
        }
        if windows
        else {},
        top_k=20,
        budget_bytes=8 * MIB,
        peak_bytes=round(sum(LEDGER.values()) * MIB),
        ledger=[LedgerLine(name, round(size * MIB)) for name, size in LEDGER.items()],
        fixed=[LedgerLine("policy networks", 410_000), LedgerLine("replay buffer", 1_900_000)],
        peak_rss_bytes=183 * MIB,
        train_seconds=1.05 * num_windows,
        eval_seconds=0.74 * num_windows,
        resize_seconds=0.012 * num_windows,
        checkpoint_seconds=0.031 * num_windows,
        wall_seconds=2.2 * num_windows,
        events_per_second=47_619.0 if windows else None,
        finished=True,
        resumed=False,
        settings={
            "memory": {"budget_bytes": 8 * MIB},
            "window": {"num_events": 50_000},
            "learning_rate": 0.05,
        },
        versions={"scall-stream": "0.1.0", "numpy": "2.4.6", "python": "3.11"},
        digest="00c0ffee00c0ffee",
        windows=windows,
    )


@pytest.fixture(scope="module")
def page_text() -> str:
    return render_page(a_report())


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


REQUIRED = [
    "events",
    "learnt",
    "late",
    "dead_letters",
    "num_users",
    "num_items",
    "evictions",
    "budget_bytes",
    "peak_bytes",
    "violations",
    "ledger",
    "fixed",
    "peak_rss_bytes",
    "recall_at_20",
    "ndcg_at_20",
    "mrr",
    "popularity_recall_at_20",
    "popularity_ndcg_at_20",
    "first_sight_share",
    "events_per_second",
    "train_seconds",
    "eval_seconds",
    "policy",
    "seed",
    "windows",
    "quality_by_gap",
    "versions",
    "settings",
    "finished",
    "resumed",
    "drift_alarms",
    "dead_letter_reasons",
    "data",
    "wall_seconds",
]


@pytest.mark.parametrize("key", REQUIRED)
def test_a_report_has_the_public_field(key: str) -> None:
    assert key in report_fields(a_report(2))


def test_every_figure_of_the_run_and_of_its_windows_is_in_the_report() -> None:
    fields = report_fields(a_report(2))
    nested = {"counts", "quality"}
    assert set(Report.__struct_fields__) - nested <= set(fields)
    assert set(WindowReport.__struct_fields__) - nested - {"top_k"} <= set(fields["windows"][0])
    assert set(Counts.__struct_fields__) <= set(fields["windows"][0])


def test_the_figures_are_those_of_the_run() -> None:
    report = a_report(3)
    fields = report_fields(report)
    assert fields["recall_at_20"] == report.quality.recall
    assert fields["learnt"] == 150_000
    assert fields["ledger"][0] == {"name": "arena", "bytes": round(5.1 * MIB)}
    assert fields["windows"][1]["user_sizes"]["p90"] == report.windows[1].user_sizes.quantiles["p90"]
    assert fields["item_sizes"]["histogram"] == report.windows[-1].item_sizes.histogram


def test_the_length_of_the_list_names_the_quality() -> None:
    fields = report_fields(msgspec.structs.replace(a_report(1), top_k=5))
    assert "ndcg_at_5" in fields
    assert "ndcg_at_20" not in fields


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_figure_that_is_no_number_is_null(value: float) -> None:
    report = msgspec.structs.replace(
        a_report(1),
        quality=Quality(evaluated=1, recall=value),
        settings={"deep": [{"rate": value}], "array": np.array([1.0, value])},
    )
    read = json.loads(json.dumps(report_fields(report), allow_nan=False))
    assert read["recall_at_20"] is None
    assert read["settings"] == {"deep": [{"rate": None}], "array": [1.0, None]}


def test_settings_of_any_kind_can_be_reported() -> None:
    settings = {"path": Path("a/b"), 3: (np.int64(4), {"b", "a"}), "blob": b"x"}
    fields = report_fields(msgspec.structs.replace(a_report(0), settings=settings))
    assert fields["settings"] == {"path": "a/b", "3": [4, ["a", "b"]], "blob": "b'x'"}


def test_both_files_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    page = save_report(a_report(1), tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["report.html", "report.json"]
    assert json.loads(page.with_name("report.json").read_text()) == report_fields(a_report(1))


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*report\.json: .*; make room there") as caught:
        save_report(a_report(0), tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_the_page_is_well_formed_with_unique_ids(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert ids
    assert len(ids) == len(set(ids))


def test_every_reference_within_the_page_finds_its_target(page: Page, page_text: str) -> None:
    ids = {attributes.get("id") for _, attributes in page.elements}
    clips = {str(attributes["clip-path"])[5:-1] for _, attributes in page.elements if "clip-path" in attributes}
    uses = {str(attributes["href"])[1:] for attributes in page.named("use")}
    assert clips | uses
    assert clips | uses <= ids
    assert "url(" not in page_text.replace("url(#", "")


def test_the_page_needs_nothing_from_outside_and_runs_nothing(page: Page, page_text: str) -> None:
    assert "://" not in page_text
    assert not {"script", "link", "img", "iframe", "object", "a"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_every_plot_says_in_words_what_it_shows(page: Page) -> None:
    plots = page.named("svg")
    assert len(plots) == 12
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    assert len(page.named("figure")) == len(page.named("figcaption")) == 12


def test_the_plots_take_their_colours_from_the_page(page_text: str) -> None:
    plots = page_text[page_text.index("<svg") : page_text.rindex("</svg>")]
    assert "var(--run)" in plots
    assert "fill: #" not in plots
    assert "stroke: #" not in plots
    for role in ("ink", "muted", "grid", "track", "run", "popularity", "users", "items", "alarm"):
        assert page_text.count(f"--{role}: #") == 2, f"{role} needs a colour for light and one for dark"


def test_the_headline_figures_are_on_the_page(page: Page) -> None:
    text = " ".join(page.texts)
    for figure in (
        "0.0712",
        "2.06\N{MULTIPLICATION SIGN} popularity",
        "7.91 MiB",
        "of 8 MiB",
        "0 violations",
    ):
        assert figure in text


def test_violations_and_an_interruption_are_on_the_page() -> None:
    report = a_report(1)
    counts = msgspec.structs.replace(report.counts, violations=2)
    text = " ".join(Page(render_page(msgspec.structs.replace(report, counts=counts, finished=False))).texts)
    assert "2 budget violations" in text
    assert "--resume" in text
    assert "budget kept" not in text


def test_what_the_guard_stepped_in_for_is_on_the_page_and_in_the_summary() -> None:
    quiet, guarded = a_report(1), msgspec.structs.replace(a_report(1), guard_trips={"not finite": 1, "drop": 2})
    told = "policy's guard stepped in 3 times: drop 2, not finite 1"
    assert [text for text in Page(render_page(guarded)).texts if told in text] == [f"The {told}"]
    assert f"the {told}" in final_summary(guarded)
    assert "guard" not in " ".join(Page(render_page(quiet)).texts) + final_summary(quiet)


def hostile_report() -> Report:
    lines = [LedgerLine(HOSTILE, MIB), LedgerLine("\ud800 half a pair, 名前", MIB)]
    return msgspec.structs.replace(
        a_report(2),
        data=HOSTILE,
        policy=HOSTILE,
        guard_trips={HOSTILE: 1},
        dead_letter_reasons={HOSTILE: 3, "$x^": 1},
        quality_by_gap={HOSTILE: a_quality(0.1)},
        ledger=lines,
        fixed=lines,
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
    )


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    text = save_report(hostile_report(), tmp_path).read_text()
    page = Page(text)
    assert not page.named("script")
    assert "<script" not in text
    assert HOSTILE in page.texts


@pytest.mark.parametrize("num_windows", [0, 1, 2])
def test_a_short_run_has_a_page(num_windows: int) -> None:
    page = Page(render_page(a_report(num_windows)))
    assert len(page.named("figure")) == 12


@pytest.mark.parametrize("unknown", [Quality(0), Quality(0, *[math.nan] * 7)])
def test_a_run_without_a_figure_has_a_page_that_says_so(unknown: Quality) -> None:
    window = msgspec.structs.replace(
        a_window(0, 0),
        quality=unknown,
        quality_by_gap={},
        events_per_second=None,
        user_sizes=SizeSummary(0, 0.0, {}, []),
        decision={},
    )
    report = msgspec.structs.replace(
        a_report(0),
        windows=[window],
        quality=unknown,
        quality_by_gap={"first": unknown},
        ledger=[],
        budget_bytes=0,
    )
    page = Page(render_page(report))
    assert page.texts.count("Nothing was evaluated.") == 3
    assert "nan" not in " ".join(page.texts).lower().split()


def test_a_window_without_quality_leaves_a_gap_in_the_line() -> None:
    windows = [a_window(index, 9) for index in range(3)]
    windows[1] = msgspec.structs.replace(windows[1], quality=Quality(evaluated=0))
    column = Track(windows).mean(lambda window: window.quality.recall, lambda window: window.quality.evaluated)
    assert np.isfinite(column).tolist() == [True, False, True]
    Page(render_page(msgspec.structs.replace(a_report(3), windows=windows)))


def test_many_windows_are_drawn_as_few_points_that_keep_sums_and_means() -> None:
    windows = [a_window(index, 500) for index in range(1_001)]
    track = Track(windows)
    assert len(track.x) == MAX_POINTS
    assert track.x[-1] == 1_000
    assert track.total(lambda window: window.counts.evictions).sum() == sum(w.counts.evictions for w in windows)
    assert final(track.last(lambda window: window.num_users)) == windows[-1].num_users
    assert track.mean(lambda _: 0.25, lambda window: window.index + 1) == pytest.approx(0.25)
    assert "up to 7 windows" in track.note


def test_a_mean_of_windows_weighs_them_by_their_events() -> None:
    windows = [a_window(0, 9)] * (2 * MAX_POINTS)
    windows[1] = msgspec.structs.replace(windows[1], quality=Quality(evaluated=150_000, recall=0.4))
    windows[0] = msgspec.structs.replace(windows[0], quality=Quality(evaluated=50_000, recall=0.2))
    column = Track(windows).mean(lambda window: window.quality.recall, lambda window: window.quality.evaluated)
    assert column[0] == pytest.approx(0.35)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path, page_text: str) -> None:
    save_report(a_report(), tmp_path)
    assert (tmp_path / "report.html").read_text() == page_text
    first = (tmp_path / "report.json").read_bytes()
    save_report(a_report(), tmp_path)
    assert (tmp_path / "report.json").read_bytes() == first


def test_a_page_of_sixty_windows_is_small() -> None:
    assert len(render_page(a_report(60)).encode()) < 250_000


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render_page(a_report(1))
    assert dict(mpl.rcParams) == before


def test_matplotlib_is_not_imported_before_something_is_drawn() -> None:
    code = "import sys, stream.adapters.report, stream.adapters.progress; sys.exit('matplotlib' in sys.modules)"
    root = Path(stream.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def watch(reporter: ConsoleReporter, num_windows: int) -> None:
    report = a_report(num_windows)
    with reporter:
        for window in report.windows:
            counts = Counts(events=50_000 * (window.index + 1), learnt=50_000 * window.index)
            reporter.progress(Progress(counts, 0.071, 8 * MIB, None))
            reporter.window(window)
        reporter.finish(report)


def a_terminal(out: io.StringIO) -> Console:
    # The width and the colours of the terminal that runs the tests must not matter.
    return Console(file=out, force_terminal=True, width=120, height=25, color_system=None, _environ={})


def test_progress_goes_to_standard_error_only(capsys: pytest.CaptureFixture[str]) -> None:
    watch(ConsoleReporter(1_000_000, 8 * MIB), 1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "recall@20" in captured.err


def test_without_a_terminal_every_tenth_window_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    watch(ConsoleReporter(None, 8 * MIB), 21)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[:2] for line in lines] == [["window", "0"], ["window", "10"], ["window", "20"]]
    assert "\x1b" not in "".join(lines)


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    watch(ConsoleReporter(10, 8 * MIB, quiet=True), 2)
    assert capsys.readouterr() == ("", "")
    out = io.StringIO()
    watch(ConsoleReporter(10, 8 * MIB, quiet=True, console=a_terminal(out)), 2)
    assert out.getvalue() == ""


def a_log(out: io.StringIO) -> Console:
    return Console(file=out, force_terminal=False, width=40, color_system=None, _environ={})


def lines_of_a_service(shown: Iterable[tuple[float, Progress]], *, quiet: bool = False) -> list[str]:
    """Return what is printed where progress is shown at these times, in seconds."""
    out, now_s = io.StringIO(), 0.0
    with ConsoleReporter(None, 8 * MIB, quiet=quiet, console=a_log(out), clock=lambda: now_s) as reporter:
        for now_s, progress in shown:  # noqa: B007 - the clock reads it
            reporter.progress(progress)
    return out.getvalue().splitlines()


def a_progress(num: int, lag: int | None = 0, dead_letters: int = 0) -> Progress:
    partitions = None if lag is None else [PartitionStatus("clicks", 0, num, lag)]
    counts = Counts(events=num + dead_letters, learnt=num, dead_letters=dead_letters)
    return Progress(counts, 0.25 if num else None, 2 * MIB, partitions)


def test_a_service_without_a_terminal_prints_a_line_every_ten_seconds() -> None:
    lines = lines_of_a_service((number / 2, a_progress(1000 * number)) for number in range(61))
    assert [line.split(" events")[0] for line in lines] == ["0", "20k", "40k", "60k"]


def test_a_line_of_a_service_says_what_is_learnt_what_waits_and_what_is_dead() -> None:
    begin = [(0, a_progress(0, 61_234)), *((10 * number, a_progress(1000 * number)) for number in range(1, 5))]
    lines = lines_of_a_service([*begin, (50, a_progress(5000, 17, dead_letters=1))])
    assert lines[0] == "0 events, 2 MiB of 8 MiB, 61.2k waiting"
    assert lines[-1] == "5k events, 100/s, 2 MiB of 8 MiB, hits 25%, 17 waiting, 1 dead letter"


def test_a_service_at_rest_says_so_once() -> None:
    resting = [(10.0 * number, a_progress(500)) for number in range(9)]
    assert len(lines_of_a_service(resting)) == 1
    assert len(lines_of_a_service([*resting, (90.0, a_progress(501)), (100.0, a_progress(501, 3))])) == 3


def test_a_replay_without_a_terminal_and_a_quiet_service_print_no_progress() -> None:
    assert lines_of_a_service((10.0 * number, a_progress(number, None)) for number in range(9)) == []
    assert lines_of_a_service(((10.0 * number, a_progress(number)) for number in range(9)), quiet=True) == []


@pytest.mark.parametrize("quiet", [False, True])
def test_a_warning_is_one_line_as_it_is_also_where_all_else_is_quiet(quiet: bool) -> None:
    out = io.StringIO()
    text = "cannot use [bold]folder[/bold] /a/very/long/path: no space left; free some, and mind the [i]"
    with ConsoleReporter(None, MIB, quiet=quiet, console=a_log(out)) as reporter:
        reporter.warn(text)
    assert out.getvalue() == f"scall: warning: {text}\n"


def test_a_warning_stays_above_what_a_terminal_shows() -> None:
    out = io.StringIO()
    with ConsoleReporter(10, MIB, console=a_terminal(out)) as reporter:
        reporter.warn("the disk is full")
    assert "scall: warning: the disk is full\n" in out.getvalue().replace("\r", "")


# What the parts of a service log


@pytest.fixture
def logged() -> Iterator[logging.Logger]:
    logger = logging.getLogger("scall")
    level = logger.level
    yield logger.getChild("kafka")
    logger.setLevel(level)


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_what_is_logged_is_shown_by_its_weight(level: int, logged: logging.Logger) -> None:
    out = io.StringIO()
    with ConsoleReporter(None, MIB, console=a_log(out)) as reporter, LogLines(reporter, level):
        logged.debug("not worth a line")
        logged.info("owns all %d of %s", 3, "[clicks]")
        logged.warning("the broker is gone")
        logged.error("it does not come back")
    told = ["scall: owns all 3 of [clicks]"] * (level == logging.INFO)
    assert out.getvalue().splitlines() == [
        *told,
        "scall: warning: the broker is gone",
        "scall: warning: it does not come back",
    ]


def test_nothing_is_shown_of_what_others_log_or_of_what_is_logged_later(logged: logging.Logger) -> None:
    out = io.StringIO()
    with ConsoleReporter(None, MIB, console=a_log(out)) as reporter:
        with LogLines(reporter, logging.INFO):
            logging.getLogger("kafka").error("a library is chatty")
        logged.error("after the end")
    assert out.getvalue() == ""


@pytest.mark.parametrize("total", [1_000_000, None])
def test_a_terminal_shows_events_memory_hits_and_the_newest_windows(total: int | None) -> None:
    out, now = io.StringIO(), iter(range(1_000))
    watch(ConsoleReporter(total, 8 * MIB, console=a_terminal(out), clock=lambda: float(next(now))), 9)
    text = out.getvalue()
    for part in ("350k events", "8 MiB of 8 MiB", "hits 7.1%", "window    8", "evictions"):
        assert part in text
    newest = text[text.rindex("window    8") - 1_200 :]
    assert "window    3" in newest
    assert "window    2" not in newest
    assert ("%" in text.replace("7.1%", "")) == (total is not None)


def test_a_terminal_is_as_before_after_an_error() -> None:
    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), ConsoleReporter(10, MIB, console=a_terminal(out)):
        raise KeyboardInterrupt
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert out.getvalue().count(hide) == out.getvalue().count(show) == 1


def test_the_summary_says_what_was_learnt_how_well_and_in_how_many_bytes() -> None:
    text = final_summary(a_report(), Path("out/report.html"))
    for part in (
        "1M events",
        "0.0712",
        "popularity 0.0346",
        "7.91 MiB of 8 MiB",
        "0 violations",
        "out/report.html",
    ):
        assert part in text
    assert "set aside" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_summary_of_an_empty_interrupted_run_says_so() -> None:
    text = final_summary(msgspec.structs.replace(a_report(0), finished=False))
    assert "nothing was evaluated" in text
    assert "--resume" in text
    assert "page" not in text


def test_names_in_the_summary_are_not_read_as_markup() -> None:
    text = final_summary(msgspec.structs.replace(a_report(1), data="[bold]file[/nonsense]"))
    assert "[bold]file[/nonsense]" in text


def test_memory_that_is_held_counts_in_the_resident_memory() -> None:
    before = resident_bytes()
    held = np.ones(256 * MIB, np.uint8)
    assert resident_bytes() - before > 128 * MIB
    assert peak_rss_bytes() >= before + len(held) // 2


def test_resident_memory_is_the_peak_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import stream.adapters.process as process

    monkeypatch.setattr(process, "_STATM", tmp_path / "missing")
    assert resident_bytes() == peak_rss_bytes()
