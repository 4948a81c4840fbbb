"""The harness: every benchmark becomes a row, whatever comes of it, and quick figures stay out of the way."""

import io
from pathlib import Path
from pkgutil import resolve_name

import pytest
from rich.console import Console

from tests.benchmarks import __main__ as command
from tests.benchmarks.entries import KEPT, QUICK, Entries, Entry, file_for, read_entries, write_entries
from tests.benchmarks.harness import FAILED, MEASURED, SKIPPED, Outcome, Run
from tests.benchmarks.registry import BENCHMARKS, Benchmark, chosen

HERE = "tests.benchmarks.samples"
MEASURES = Benchmark("measures", f"{HERE}:measures", 1, 1, goals={"events_per_s": 500}, libraries=("rich", "no-such"))
FAILS = Benchmark("fails", f"{HERE}:fails", 1, 1)
DIES = Benchmark("dies", f"{HERE}:dies", 1, 1)
IS_MISSING = Benchmark("is_missing", "tests.benchmarks.no_such_peer:learning", 1, 1)
TAKES_TOO_LONG = Benchmark("takes_too_long", f"{HERE}:takes_too_long", 1, 1)
TAKES_AN_HOUR = Benchmark("takes_an_hour", f"{HERE}:takes_too_long", 3600, 1)


def measure(path: Path, *benchmarks: Benchmark, budget_s: float | None = None, quick: bool = False) -> list[Outcome]:
    console = Console(file=io.StringIO(), width=200)
    return Run(path, path.parent / "logs", quick=quick, console=console).measure_all(benchmarks, budget_s)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "benchmarks.json"


def test_an_entry_says_when_where_and_with_what_it_was_measured(path: Path) -> None:
    (outcome,) = measure(path, MEASURES)
    entry = read_entries(path)["measures"]
    assert (outcome.name, outcome.state) == ("measures", MEASURED)
    assert entry.figures == {"events_per_s": 1000}
    assert entry.goals == {"events_per_s": 500}
    assert entry.measured_at.startswith("20")
    assert entry.seconds == round(outcome.seconds, 1)
    assert not entry.quick
    assert entry.versions is not None
    assert entry.versions.keys() >= {"scall-stream", "numpy", "numba", "rich"}
    assert "no-such" not in entry.versions
    assert entry.machine is not None
    assert entry.machine.processor
    assert entry.machine.cores


def test_what_fails_is_a_row_that_says_why_and_does_not_stop_the_rest(path: Path) -> None:
    outcomes = measure(path, FAILS, DIES, IS_MISSING, MEASURES)
    entries = read_entries(path)
    assert [outcome.state for outcome in outcomes] == [FAILED, FAILED, FAILED, MEASURED]
    assert entries["fails"].why == "LookupError: no peer is installed, quick False"
    assert entries["dies"].why == "ended with status 3"
    assert entries["is_missing"].why == "ModuleNotFoundError: No module named 'tests.benchmarks.no_such_peer'"
    assert all(entries[name].figures is None for name in ("fails", "dies", "is_missing"))


def test_what_it_said_is_kept(path: Path) -> None:
    measure(path, FAILS)
    assert "Traceback" in (path.parent / "logs" / "fails.log").read_text()


def test_what_does_not_fit_into_the_time_is_skipped_and_says_so(path: Path) -> None:
    hour, small = measure(path, TAKES_AN_HOUR, MEASURES, budget_s=60)
    assert (hour.state, small.state) == (SKIPPED, MEASURED)
    assert hour.why is not None
    assert hour.why.startswith("takes some 1 h, and ")
    assert read_entries(path)["takes_an_hour"].why == f"skipped: {hour.why}"


def test_what_is_skipped_keeps_the_figures_it_had(path: Path) -> None:
    before = Entry(figures={"events_per_s": 7}, measured_at="2026-01-01")
    write_entries(path, {"takes_an_hour": before})
    measure(path, TAKES_AN_HOUR, budget_s=60)
    assert read_entries(path) == {"takes_an_hour": before}


def test_what_takes_longer_than_what_is_left_is_ended(path: Path) -> None:
    (outcome,) = measure(path, TAKES_TOO_LONG, budget_s=1.5)
    assert outcome.state == FAILED
    assert outcome.why is not None
    assert outcome.why.startswith("not done within the 1.5 s")


def test_others_entries_stay(path: Path) -> None:
    other = Entry(figures={"rate": 1}, measured_at="2026-11-22", note="from before")
    write_entries(path, {"other": other})
    measure(path, MEASURES)
    assert read_entries(path)["other"] == other
    assert read_entries(path).keys() == {"other", "measures"}


def test_quick_figures_are_told_apart(path: Path) -> None:
    measure(path, MEASURES, quick=True)
    entry = read_entries(path)["measures"]
    assert entry.quick
    assert entry.figures == {"events_per_s": 10}


def test_a_quick_run_overwrites_no_full_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, quick, rendered = tmp_path / "benchmarks.json", tmp_path / "quick.json", []
    write_entries(kept, {"measures": Entry(figures={"events_per_s": 7}, measured_at="2026-01-01")})
    before = kept.read_bytes()
    monkeypatch.setattr(command, "file_for", lambda quick: {True: tmp_path / "quick.json", False: kept}[quick])
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "chosen", lambda names, quick: [MEASURES])  # noqa: ARG005
    monkeypatch.setattr(command.render, "write", rendered.append)
    monkeypatch.setattr(command.sys, "argv", ["benchmarks", "--quick"])
    assert command.main() == 0
    assert (kept.read_bytes(), rendered) == (before, [])
    assert read_entries(quick)["measures"].quick
    monkeypatch.setattr(command.sys, "argv", ["benchmarks"])
    assert command.main() == 0
    assert read_entries(kept)["measures"].figures == {"events_per_s": 1000}
    assert [entries.keys() for entries in rendered] == [{"measures"}]


def test_quick_figures_have_a_file_of_their_own() -> None:
    assert file_for(quick=False) == KEPT
    assert file_for(quick=True) == QUICK
    assert not any(entry.quick for entry in read_entries(KEPT).values())


def test_an_unknown_name_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command.sys, "argv", ["benchmarks", "lerning"])
    with pytest.raises(SystemExit):
        command.main()
    assert "there is no benchmark 'lerning': there are learning," in capsys.readouterr().err


def test_every_benchmark_can_be_found() -> None:
    for benchmark in BENCHMARKS.values():
        assert callable(resolve_name(benchmark.measures)), benchmark.name


def test_a_run_has_what_belongs_to_it() -> None:
    full, quick = ({benchmark.name for benchmark in chosen([], quick=quick)} for quick in (False, True))
    assert full == {name for name, benchmark in BENCHMARKS.items() if not benchmark.by_name}
    assert quick == {name for name, benchmark in BENCHMARKS.items() if benchmark.quick_seconds is not None}
    for quick in (False, True):
        assert [benchmark.name for benchmark in chosen(["policies"], quick=quick)] == ["policies"]


def test_a_run_fits_into_its_time() -> None:
    assert sum(benchmark.seconds for benchmark in chosen([], quick=False)) < 60 * 60
    assert sum(benchmark.quick_seconds or 0 for benchmark in chosen([], quick=True)) < 5 * 60


def test_entries_are_read_as_they_were_written(path: Path) -> None:
    entries: Entries = {"a": Entry(figures=None, why="no broker", measured_at="2026-11-22")}
    write_entries(path, entries)
    assert read_entries(path) == entries
    assert read_entries(path.with_name("none.json")) == {}
