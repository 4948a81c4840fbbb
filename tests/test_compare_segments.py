"""``scall compare --protocol scall`` from end to end: what it leaves behind, what it refuses."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.__main__ import main
from stream.adapters.process import ThisProcess
from stream.commands import compare_segments as command
from tests.doubles import by_model, repeatable

USUAL = ("--protocol", "scall", "--core", "3", "--window", "growth:25")
SMALL = (*USUAL, "--mean-sizes", "8", "--policies", "uniform,powerlaw", "--seeds", "3", "--set", "evaluation.top_k=5")

Told = pytest.CaptureFixture[str]


def write_tastes(path: Path) -> Path:
    """Write a file, not in the order of time, of users of five kinds who take what their kind likes, each item once."""
    rng = np.random.default_rng(3)
    lines, taken = [], set()
    for step in range(6000):
        user, kind_item = int(rng.integers(0, 10 + step // 60)), int(rng.integers(0, 4 + step // 400))
        pair = (user, 5 * kind_item + user % 5)
        if pair not in taken:
            taken.add(pair)
            lines.append(f"u{pair[0]},i{pair[1]},{1_700_000_000 + 60 * step}")
    order = rng.permutation(len(lines)).tolist()
    path.write_text("\n".join(["user,item,timestamp", *(lines[line] for line in order), ""]))
    return path


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tastes(tmp_path_factory.mktemp("tastes") / "tastes.csv"))


def compared(out: Path, *arguments: str) -> dict[str, Any]:
    assert main(["compare", *arguments, "--out", str(out), "--quiet"]) == 0
    fields: dict[str, Any] = json.loads((out / "segments.json").read_text())
    return fields


@pytest.fixture(scope="module")
def usual(tastes: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compared(tmp_path_factory.mktemp("usual"), tastes, *SMALL)


def test_models_stand_side_by_side_and_the_one_that_learns_tastes_is_best(usual: dict[str, Any]) -> None:
    rows = by_model(usual)
    assert sorted(rows) == ["popularity", "scall powerlaw", "scall uniform"]
    assert usual["reference"] == "scall uniform"
    assert usual["rows"][-1]["model"] == "popularity"
    for name in ("scall uniform", "scall powerlaw"):
        row = rows[name]
        assert row["recall"]["mean"] > 1.5 * rows["popularity"]["recall"]["mean"] > 0
        assert row["fitness"]["mean"] == pytest.approx((row["recall"]["mean"] + row["ndcg"]["mean"]) / 2)
        assert row["recall"]["mean"] == pytest.approx(np.mean(row["recall_by_segment"][1:]))
        assert row["ndcg"]["low"] < row["ndcg"]["mean"] < row["ndcg"]["high"]
        assert row["recall"]["over"] == "seeds"
        assert row["num_bytes"] <= row["budget_bytes"]
        assert row["violations"] == 0
    assert rows["scall uniform"]["fitness_difference"] is None
    assert rows["popularity"]["fitness_difference"]["mean"] < 0
    assert rows["popularity"]["budget_bytes"] is None


def test_at_the_end_of_the_stream_everyone_owns_the_mean_size_and_before_never_more_than_the_widest(
    usual: dict[str, Any],
) -> None:
    sizes = [one["mean_size"] for one in by_model(usual)["scall uniform"]["widths_by_segment"]]
    assert len(sizes) == len(usual["segments"])
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] <= 64
    assert sizes[-1] >= 8 * 0.95


def test_the_protocol_and_its_settings_are_told(usual: dict[str, Any]) -> None:
    assert usual["protocol"]["growth"] == 25
    assert usual["protocol"]["core"] == 3
    assert usual["top_k"] == 5
    assert list(usual["mean_sizes"].values()) == [8]
    assert sum(one["learnt"] + one["tested"] for one in usual["segments"]) == usual["protocol"]["events"]
    assert usual["settings"]["exclude_seen"] is True
    assert usual["settings"]["sizes"]["user_max"] == usual["settings"]["sizes"]["item_max"] == 64


def test_the_same_command_gives_the_same_figures(usual: dict[str, Any], tastes: str, tmp_path: Path) -> None:
    assert repeatable(compared(tmp_path, tastes, *SMALL)) == repeatable(usual)


def test_what_is_replayed_or_learnt_twice_makes_a_difference_to_our_model_alone(
    usual: dict[str, Any], tastes: str, tmp_path: Path
) -> None:
    other = compared(tmp_path, tastes, *SMALL, "--replay", "--passes", "2")
    before, after = by_model(usual), by_model(other)
    assert after["popularity"]["recall"] == before["popularity"]["recall"]
    assert after["scall uniform"]["recall"] != before["scall uniform"]["recall"]


def test_all_peers_and_worlds_can_take_part(tmp_path: Path) -> None:
    options = ("synthetic:churn", "--limit", "2500", "--protocol", "scall", "--core", "2", "--window", "growth:300")
    asked = ("--models", "scall,cooccurrence,river-mf", "--seeds", "2", "--budget", "200KiB", "--eval-sample", "0")
    fields = compared(tmp_path, *options, *asked, "--reference", "cooccurrence")
    assert sorted(by_model(fields)) == ["cooccurrence", "river-mf", "scall"]
    assert by_model(fields)["cooccurrence"]["is_reference"]
    assert fields["seeds"] == [1, 2]


def test_the_table_goes_to_standard_output_and_the_page_needs_nothing_else(
    tastes: str, tmp_path: Path, capsys: Told
) -> None:
    asked = ("--budget", "100KiB", "--models", "scall", "--seeds", "1", "--out", str(tmp_path))
    assert main(["compare", tastes, *USUAL, *asked]) == 0
    told = capsys.readouterr()
    for part in (
        "SCALL's protocol",
        "recall@20",
        "fitness",
        "3-core",
        "102,400 bytes",
        str(tmp_path / "segments.html"),
    ):
        assert part in told.out.replace("\n", "")
    assert told.err.startswith("run 1 of 1  scall, seed 1")
    page = (tmp_path / "segments.html").read_text()
    assert "Recall@20 by segment" in page
    assert "<script" not in page


class Impatient(ThisProcess):
    """A process that someone asks to stop when it has been asked about it so often."""

    asked_left = 0

    def stop_requested(self) -> bool:
        type(self).asked_left -= 1
        return self.asked_left < 0


@pytest.mark.parametrize("asked", [0, 40])
def test_an_interrupted_comparison_tells_nothing_of_a_seed_that_is_not_whole(
    tastes: str, tmp_path: Path, capsys: Told, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    monkeypatch.setattr(command, "ThisProcess", Impatient)
    Impatient.asked_left = asked
    assert main(["compare", tastes, *SMALL, "--out", str(tmp_path)]) == 0
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "segments.json").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--window", "50000events"), "--window 50000events: segments are by growth"),
        (("--window", "growth:100000"), "--window growth:100000: "),
        (("--core", "0"), "--core 0"),
        (("--core", "5000"), "--core 5000: nobody in"),
        (("--passes", "0"), "--passes 0"),
        (("--warm", "0.2"), "--warm 0.2"),
        (("--jobs", "2"), "--jobs 2"),
        (("--models", "oracle"), "--models: 'oracle' is unknown under --protocol"),
        (("--reference", "als"), "--reference als: it is not among the models"),
        (("--policies", "best"), "policy 'best'"),
        (("--set", "policy=uniform"), "--set policy"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tastes: str, tmp_path: Path, capsys: Told, options: Sequence[str], told: str
) -> None:
    assert main(["compare", tastes, *USUAL, *options, "--quiet", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n"), said.err[:7]) == ("", 1, "scall: ")
    assert told in said.err


def test_segments_are_those_of_the_released_code_unless_told_otherwise(
    tastes: str, tmp_path: Path, capsys: Told
) -> None:
    assert main(["compare", tastes, "--protocol", "scall", "--quiet", "--out", str(tmp_path)]) == 2
    assert "--window growth:15000: " in capsys.readouterr().err
