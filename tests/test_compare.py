"""``scall compare`` from end to end: runs, pairing, what it leaves behind, what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulators.tape import Tape
from stream.__main__ import main
from stream.adapters.process import ThisProcess
from stream.commands import compare as command
from stream.commands import stage
from stream.ports import Source
from tests.doubles import comparable, read_report, write_clicks

SMALL = ("--window", "150events", "--seeds", "2")
WORLD = ("synthetic:drift", "--limit", "900", "--eval-sample", "0.5", *SMALL)
BUDGETS = ("--budgets", "30KiB,60KiB")

Told = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 240)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a comparison of three policies under two budgets has left."""
    return compared(tmp_path_factory.mktemp("usual"), *WORLD, *BUDGETS, "--policies", "powerlaw:1,pareto")


def compared(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["compare", *arguments, "--out", str(out), "--quiet"]) == 0
    fields: dict[str, Any] = json.loads((out / "compare.json").read_text())
    return fields


def repeatable(fields: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {name: row[name] for name in row if name not in ("resize_seconds", "events_per_second")}
        for row in fields["rows"]
    ]
    return fields | {"rows": rows, "runs": [comparable(run) for run in fields["runs"]]}


def asked_of(run: dict[str, Any]) -> tuple[int, int, str]:
    return run["seed"], run["settings"]["memory"]["budget_bytes"], run["settings"]["policy"]


def refusal(capsys: Told, *arguments: str) -> str:
    assert main(["compare", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("scall: ")
    assert told.err.count("\n") == 1
    return told.err


# What is run, and what is left


def test_every_policy_runs_under_every_budget_and_seed_the_reference_first(usual: dict[str, Any]) -> None:
    policies, budgets = ("uniform", "powerlaw:1", "pareto"), (30 * 1024, 60 * 1024)
    assert [asked_of(run) for run in usual["runs"]] == [(s, b, p) for s in (1, 2) for b in budgets for p in policies]
    assert (usual["finished"], usual["planned_runs"], usual["reference"]) == (True, 12, "uniform")
    assert all(run["finished"] and run["learnt"] == 900 and len(run["windows"]) == 6 for run in usual["runs"])
    assert [row["budget_bytes"] for row in usual["rows"]] == [budgets[0]] * 3 + [budgets[1]] * 3
    assert {row["violations"] for row in usual["rows"]} == {0}
    assert all(row["peak_bytes"] <= row["budget_bytes"] for row in usual["rows"])


def test_runs_of_one_seed_are_tested_on_the_same_events_and_others_are_not(usual: dict[str, Any]) -> None:
    tested: dict[int, set[tuple[int, ...]]] = {}
    for run in usual["runs"]:
        tested.setdefault(run["seed"], set()).add(tuple(window["evaluated"] for window in run["windows"]))
    assert [len(counts) for counts in tested.values()] == [1, 1]
    assert tested[1] != tested[2]


def test_the_rows_are_the_means_of_the_windows_that_count(usual: dict[str, Any]) -> None:
    row = next(row for row in usual["rows"] if row["policy"] == "pareto")
    means, leads = [], []
    for seed in (1, 2):
        mine, theirs = (
            next(run for run in usual["runs"] if asked_of(run) == (seed, row["budget_bytes"], policy))["windows"][2:]
            for policy in ("pareto", "uniform")
        )
        tested = sum(window["evaluated"] for window in mine)
        means.append(sum(window["ndcg_at_20"] * window["evaluated"] for window in mine) / tested)
        leads.append(means[-1] - sum(window["ndcg_at_20"] * window["evaluated"] for window in theirs) / tested)
    assert row["ndcg_at_20"] == pytest.approx(sum(means) / 2)
    assert row["ndcg_at_20_difference"]["mean"] == pytest.approx(sum(leads) / 2)
    assert (row["ndcg_at_20_difference"]["over"], row["ndcg_at_20_difference"]["num"]) == ("windows", 4)


def test_the_same_command_again_gives_the_same_in_any_number_of_processes(
    usual: dict[str, Any], tmp_path: Path
) -> None:
    again = compared(tmp_path, *WORLD, *BUDGETS, "--policies", "powerlaw:1,pareto", "--jobs", "2")
    assert repeatable(again) == repeatable(usual)


def test_a_run_is_the_replay_of_the_same_options(clicks: Path, tmp_path: Path) -> None:
    options = ("--lateness", "60s", "--exclude-seen", "--users-share", "0.3", "--budget", "40KiB", "--window", "60")
    runs = compared(tmp_path, str(clicks), *options, "--seeds", "2", "--policies", "powerlaw:0.5")["runs"]
    assert [run["dead_letters"] for run in runs] == [27] * 4
    for run in runs:
        alone = ("--seed", str(run["seed"]), "--policy", run["policy"])
        assert main(["replay", str(clicks), *options, *alone, "--out", str(tmp_path / "one"), "--quiet"]) == 0
        assert comparable(run) == comparable(read_report(tmp_path / "one"))


def test_under_a_mean_size_everyone_could_own_it_and_the_file_is_read_once(
    clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Tape] = []

    def record(source: Source) -> Tape:
        read.append(Tape.record(source))
        return read[-1]

    monkeypatch.setattr(command, "Tape", SimpleNamespace(record=record))
    sized = ("--mean-sizes", "8,4,8", "--policies", "pareto", "--exclude-seen")
    fields = compared(tmp_path, str(clicks), *SMALL, *sized, "--set", "sizes.item_max=48")
    [tape] = read
    wanted = [tape.sized_for(words, pairs=True) for words in (4, 8)]
    assert fields["budgets"] == [memory["memory.budget_bytes"] for memory in wanted]
    assert fields["mean_sizes"] == [4, 8]
    sizes = {"user_min": 0, "user_max": 24, "item_min": 0, "item_max": 48, "resize_every_events": 2000}
    assert fields["settings"]["sizes"] == sizes
    for run in fields["runs"]:
        under = {f"memory.{name}": value for name, value in run["settings"]["memory"].items()}
        assert any(memory.items() <= under.items() for memory in wanted)


def test_a_run_under_a_mean_size_is_the_replay_under_it(clicks: Path, tmp_path: Path) -> None:
    options = (str(clicks), "--window", "60", "--set", "exclude_seen=true")
    compare = (*options, "--seeds", "1", "--jobs", "2", "--policies", "pareto", "--mean-sizes", "3")
    for run in compared(tmp_path, *compare)["runs"]:
        alone = ("--policy", run["policy"], "--mean-size", "3", "--out", str(tmp_path / "one"), "--quiet")
        assert main(["replay", *options, *alone]) == 0
        assert comparable(run) == comparable(read_report(tmp_path / "one"))


def test_all_seeds_of_a_world_have_the_budget_of_the_first(tmp_path: Path) -> None:
    runs = compared(tmp_path, *WORLD, "--policies", "uniform", "--mean-sizes", "6")["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    assert len({run["budget_bytes"] for run in runs}) == 1
    assert runs[0]["num_users"] != runs[1]["num_users"]


def test_the_table_goes_to_standard_output_and_progress_to_standard_error(tmp_path: Path, capsys: Told) -> None:
    assert main(["compare", *WORLD, "--budget", "30KiB", "--policies", "pareto", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert [line[:8] for line in told.err.splitlines()] == ["run 1 of", "run 2 of", "run 3 of", "run 4 of"]
    for part in ("synthetic:drift under 30 KiB", "pareto", "reference", str(tmp_path / "compare.html")):
        assert part in told.out.replace("\n", "")
    assert (tmp_path / "compare.html").read_text().startswith("<!DOCTYPE html>")


def test_grid_stands_for_every_plan_of_the_grid(tmp_path: Path) -> None:
    fields = compared(tmp_path, "synthetic:drift", "--limit", "20", "--seeds", "1", "--policies", "grid,pareto")
    assert len(fields["rows"]) == 62
    assert {"uniform", "pareto", "uniform/powerlaw:3@0.1"} <= {row["policy"] for row in fields["rows"]}


def test_names_and_budgets_given_twice_count_once(tmp_path: Path) -> None:
    twice = ("--policies", "pareto, uniform,pareto,", "--budgets", "60KiB,61440", "--seed", "5")
    runs = compared(tmp_path, *WORLD, *twice)["runs"]
    assert [asked_of(run) for run in runs] == [(seed, 61440, name) for seed in (5, 6) for name in ("uniform", "pareto")]


def test_data_without_an_event_has_no_figures_and_is_no_mistake(tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "clicks.csv").write_text("user,item,timestamp\n")
    arguments = ("--policies", "pareto", "--out", str(tmp_path))
    assert main(["compare", str(tmp_path / "clicks.csv"), *arguments]) == 0
    assert "nothing to hold against the reference" in capsys.readouterr().out
    fields = json.loads((tmp_path / "compare.json").read_text())
    assert [row["ndcg_at_20"] for row in fields["rows"]] == [None, None]


class Impatient(ThisProcess):
    """A process that someone asks to stop when a number of runs have begun."""

    runs_left = 0

    def stop_requested(self) -> bool:
        return type(self).runs_left < 0


@pytest.mark.parametrize(("num_whole", "told"), [(5, "Interrupted after 5 of 12 runs"), (0, "")])
def test_an_interrupted_comparison_tells_what_is_done(
    tmp_path: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch, num_whole: int, told: str
) -> None:
    build = command.build_policy
    # Each policy is tried beforehand, under each budget.
    Impatient.runs_left = 6 + num_whole

    def counted(*arguments: Any) -> Any:
        Impatient.runs_left -= 1
        return build(*arguments)

    monkeypatch.setattr(command, "ThisProcess", Impatient)
    for module in (command, stage):
        monkeypatch.setattr(module, "build_policy", counted)
    assert main(["compare", *WORLD, *BUDGETS, "--policies", "powerlaw:1,pareto", "--out", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert told in output.out.replace("\n", " ")
    assert ("nothing was written" in output.err) == (num_whole == 0)
    assert (tmp_path / "compare.json").exists() == (num_whole > 0)
    if num_whole:
        fields = json.loads((tmp_path / "compare.json").read_text())
        assert (fields["finished"], len(fields["runs"])) == (False, num_whole)


# What is refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--policies", "best"), "policy 'best'"),
        (("--policies", "pareto", "--reference", "grid"), "policy 'grid'"),
        (("--policies", ","), "--policies ',' names nothing"),
        (("--policies", "pareto", "--seeds", "0"), "--seeds 0"),
        (("--policies", "pareto", "--seed", "-1"), "seed = -1"),
        (("--policies", "pareto", "--jobs", "0"), "--jobs 0"),
        (("--policies", "pareto", "--warm", "1"), "--warm 1"),
        (("--policies", "pareto", "--warm", "nan"), "--warm nan"),
        (("--policies", "pareto", "--window", "growth:100"), "could not be paired"),
        (("--policies", "pareto", "--set", "windows.close_after=growth:9"), "could not be paired"),
        (("--policies", "pareto", "--set", "seed=4"), "--set seed: this is what is compared; give --seeds"),
        (("--policies", "pareto", "--budgets", "8MiB,huge"), "budget 'huge' is not a size"),
        (("--policies", "pareto", "--budgets", "8MiB,100"), "100"),
        (("--policies", "pareto", "--mean-sizes", "2,0"), "--mean-sizes: '0' is not a size"),
        (("--policies", "pareto", "--mean-sizes", "2,"), "--mean-sizes: '' is not a size"),
        (("--policies", "pareto", "--mean-sizes", "256"), "from 1 to 255"),
        (("--policies", "pareto", "--mean-sizes", "2", "--budgets", "1MiB"), "not allowed with"),
        (("--policies", "pareto", "--set", "sizes.item_max"), "NAME=VALUE"),
        (("--policies", "pareto", "--limit", "0"), "--limit 0"),
        ((), "policies"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_runs(
    tmp_path: Path, capsys: Told, options: tuple[str, ...], told: str
) -> None:
    assert told in refusal(capsys, "synthetic:drift", "--out", str(tmp_path / "out"), *options)
    assert not (tmp_path / "out").exists()


def test_missing_data_is_told_in_one_line(tmp_path: Path, capsys: Told) -> None:
    assert "nowhere.csv" in refusal(capsys, str(tmp_path / "nowhere.csv"), "--policies", "pareto")


def test_what_fails_in_a_process_of_its_own_is_told_in_one_line(tmp_path: Path, capsys: Told) -> None:
    broken = tmp_path / "clicks.jsonl.gz"
    broken.write_bytes(b"no gzip")
    assert "clicks.jsonl.gz" in refusal(
        capsys, str(broken), "--policies", "pareto", "--jobs", "2", "--out", str(tmp_path)
    )
