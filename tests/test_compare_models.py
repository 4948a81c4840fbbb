"""``scall compare --models``: one protocol for all, what it leaves behind, what it refuses."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stream.__main__ import main
from stream.adapters.process import ThisProcess
from stream.commands import compare_models as command
from tests.doubles import by_model, read_report, repeatable, write_clicks

WORLD = ("synthetic:drift", "--limit", "3000", "--eval-sample", "0.2", "--window", "1000events")
ALL = [
    "scall",
    "popularity",
    "itemknn",
    "itemknn-recent",
    "als",
    "als-recent",
    "bpr",
    "cooccurrence",
    "river-mf",
    "vw-mf",
    "oracle",
]

Told = pytest.CaptureFixture[str]


def compared(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["compare", *arguments, "--out", str(out), "--quiet"]) == 0
    fields: dict[str, Any] = json.loads((out / "models.json").read_text())
    return fields


def refusal(capsys: Told, *arguments: str) -> str:
    assert main(["compare", *arguments]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), told.err[:7]) == ("", 1, "scall: ")
    return told.err


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compared(tmp_path_factory.mktemp("all"), *WORLD, "--models", "all", "--seeds", "1", "--budget", "300KiB")


def test_all_models_are_compared_and_those_that_learn_users_beat_popularity(everything: dict[str, Any]) -> None:
    rows = by_model(everything)
    assert sorted(rows) == sorted(ALL)
    assert everything["reference"] == "scall"
    for name in ("scall", "cooccurrence", "itemknn-recent"):
        assert rows[name]["recall"]["mean"] > rows["popularity"]["recall"]["mean"] > 0
    assert rows["scall"]["num_bytes"] <= rows["scall"]["budget_bytes"] == 300 * 1024
    assert everything["rows"][0]["model"] == "oracle", "nobody recalls more"
    assert all(row["num_bytes"] > 0 and row["learn_seconds"] > 0 for name, row in rows.items() if name != "oracle")
    assert all(row["recall_difference"]["over"] == "users" for name, row in rows.items() if name != "scall")


def test_our_figures_are_those_of_the_replay_of_the_same_options(tmp_path: Path) -> None:
    clicks = write_clicks(tmp_path / "clicks.csv", 900)
    options = (str(clicks), "--budget", "60KiB", "--window", "100", "--policy", "powerlaw")
    assert main(["replay", *options, "--out", str(tmp_path / "one"), "--quiet"]) == 0
    options = (str(clicks), "--budgets", "60KiB", "--window", "100", "--policies", "powerlaw", "--warm", "0")
    row = by_model(compared(tmp_path, *options, "--models", "scall", "--seeds", "1"))["scall"]
    quality = read_report(tmp_path / "one")
    assert row["recall"]["mean"] == pytest.approx(quality["recall_at_20"])
    assert row["ndcg"]["mean"] == pytest.approx(quality["ndcg_at_20"])


def test_where_an_item_is_taken_once_nobody_hits_a_pair_again_not_even_one_that_our_filter_forgot(
    tmp_path: Path,
) -> None:
    """The second half of the stream is the first half again, of few items that all are easy to hit."""
    pairs = [f"u{user},i{item}" for item in range(10) for user in range(60)]
    lines = [f"{pair},{1_700_000_000 + second}" for second, pair in enumerate(pairs + pairs)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user,item,timestamp", *lines, ""]))
    options = (str(tmp_path / "clicks.csv"), "--budget", "60KiB", "--set", "memory.seen_share=0.01", "--warm", "0.5")
    asked = (*options, "--models", "scall,popularity", "--seeds", "1")
    fields = compared(tmp_path, *asked, "--exclude-seen")
    assert fields["no_place_share"] == 1.0
    assert [row["recall"]["mean"] for row in fields["rows"]] == [0.0, 0.0]
    assert [row["recall"]["mean"] for row in compared(tmp_path, *asked)["rows"]] == [1.0, 1.0]


def test_policies_budgets_and_seeds_are_told_apart_and_share_their_tests(tmp_path: Path) -> None:
    varied = (
        "--policies",
        "uniform,powerlaw",
        "--budgets",
        "100KiB,200KiB",
        "--seeds",
        "2",
        "--models",
        "scall,popularity",
    )
    fields = compared(tmp_path, *WORLD, *varied, "--reference", "scall powerlaw in 200 KiB")
    ours = [f"scall {policy} in {budget} KiB" for budget in (100, 200) for policy in ("uniform", "powerlaw")]
    assert sorted(by_model(fields)) == sorted([*ours, "popularity"])
    assert fields["seeds"] == [1, 2]
    assert by_model(fields)["scall powerlaw in 200 KiB"]["is_reference"]


def test_budgets_by_mean_size_are_named_by_it(tmp_path: Path) -> None:
    fields = compared(tmp_path, *WORLD, "--models", "scall", "--mean-sizes", "2,8", "--seeds", "1")
    assert sorted(by_model(fields)) == ["scall at 2 words", "scall at 8 words"]


def test_peers_alone_need_no_model_of_ours(tmp_path: Path) -> None:
    fields = compared(tmp_path, *WORLD, "--models", "popularity, cooccurrence,popularity", "--seeds", "1")
    assert (fields["reference"], len(fields["rows"])) == ("popularity", 2)


def test_the_same_command_gives_the_same_figures(tmp_path: Path) -> None:
    command = (*WORLD, "--models", "scall,popularity,cooccurrence,river-mf", "--seeds", "1", "--exclude-seen")
    assert repeatable(compared(tmp_path / "a", *command)) == repeatable(compared(tmp_path / "b", *command))


def test_the_table_goes_to_standard_output_and_progress_to_standard_error(tmp_path: Path, capsys: Told) -> None:
    chosen = ("--models", "scall,popularity", "--seeds", "1", "--out", str(tmp_path))
    assert main(["compare", *WORLD, *chosen]) == 0
    told = capsys.readouterr()
    assert [line[:13] for line in told.err.splitlines()] == ["run 1 of 2  s", "run 2 of 2  p"]
    for part in ("synthetic:drift", "popularity", "reference", str(tmp_path / "models.html")):
        assert part in told.out.replace("\n", "")


class Impatient(ThisProcess):
    """A process that someone asks to stop when it has been asked about it so often."""

    asked_left = 0

    def stop_requested(self) -> bool:
        type(self).asked_left -= 1
        return self.asked_left < 0


@pytest.mark.parametrize(("asked", "whole"), [(0, False), (700, False), (10**6, True)])
def test_an_interrupted_comparison_tells_nothing_of_a_seed_that_is_not_whole(
    tmp_path: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch, asked: int, whole: bool
) -> None:
    monkeypatch.setattr(command, "ThisProcess", Impatient)
    Impatient.asked_left = asked
    assert main(["compare", *WORLD, "--models", "popularity,cooccurrence", "--seeds", "1", "--out", str(tmp_path)]) == 0
    assert ("nothing was written" in capsys.readouterr().err) != whole
    assert (tmp_path / "models.json").exists() == whole


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--models", "scall,best"), "--models: 'best' is unknown; there are scall, popularity"),
        (("--models", ","), "--models ',' names nothing"),
        (("--models", "scall", "--jobs", "2"), "--jobs 2"),
        (("--models", "scall", "--warm", "1"), "--warm 1"),
        (("--models", "scall", "--reference", "als"), "--reference als: it is not among the models; there are scall"),
        (("--models", "scall", "--policies", "best"), "policy 'best'"),
        (("--models", "popularity", "--limit", "10", "--eval-sample", "0.01"), "no test counts"),
        ((), "--policies"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, capsys: Told, options: Sequence[str], told: str) -> None:
    assert told in refusal(capsys, "synthetic:drift", "--quiet", "--out", str(tmp_path / "out"), *options)


def test_nobody_is_an_oracle_of_real_data(tmp_path: Path, capsys: Told) -> None:
    clicks = str(write_clicks(tmp_path / "clicks.csv", 50))
    assert f"--models oracle: nobody knows what made {clicks}" in refusal(capsys, clicks, "--models", "scall,oracle")


def test_a_missing_library_is_told_with_what_installs_it(
    tmp_path: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    told = refusal(capsys, "synthetic:drift", "--models", "scall,als", "--out", str(tmp_path / "out"))
    assert "pip install 'scall-stream[peers]'" in told
    assert not (tmp_path / "out").exists()
