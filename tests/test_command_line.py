"""The command line: what a run leaves behind, and what the options do."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from stream.__main__ import main
from stream.adapters.checkpoint_file import read_checkpoint
from stream.config import Settings
from tests.doubles import comparable, newest_checkpoint, read_report, write_clicks

SMALL = ("--budget", "30KiB", "--window", "100", "--lateness", "60s")
PER_WINDOW = {
    *("events", "learnt", "late", "dead_letters", "num_users", "num_items", "evictions", "budget_bytes", "peak_bytes"),
    *("violations", "peak_rss_bytes", "recall_at_20", "ndcg_at_20", "mrr", "first_sight_share", "events_per_second"),
    *("popularity_recall_at_20", "popularity_ndcg_at_20", "train_seconds", "eval_seconds", "user_sizes", "item_sizes"),
}
OF_THE_RUN = {"ledger", "fixed", "policy", "seed", "windows"}

Told = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clicks(tmp_path_factory.mktemp("clicks") / "clicks.csv", 240)


@pytest.fixture(scope="module")
def usual(clicks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that a replay of the clicks has left."""
    out = tmp_path_factory.mktemp("usual")
    replay(clicks, out)
    return out


@pytest.fixture
def copy(usual: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, to go on from."""
    return Path(shutil.copytree(usual, tmp_path / "copy"))


def replay(data: object, out: Path, *options: str) -> dict[str, Any]:
    assert main(["replay", str(data), "--out", str(out), "--quiet", *SMALL, *options]) == 0
    return read_report(out)


def arrays(out: Path) -> dict[str, bytes]:
    """Return the model that a run has left."""
    return {name: array.tobytes() for name, array in read_checkpoint(newest_checkpoint(out)).arrays.items()}


# What a run leaves behind


def test_a_run_leaves_a_report_a_page_dead_letters_and_checkpoints(usual: Path) -> None:
    report = read_report(usual)
    assert report.keys() >= PER_WINDOW | OF_THE_RUN
    assert all(window.keys() >= PER_WINDOW for window in report["windows"])
    assert (report["finished"], report["resumed"], report["seed"]) == (True, False, 1)
    assert report["policy"] == Settings().policy
    assert (
        sum(line["bytes"] for line in report["ledger"]) <= report["peak_bytes"] <= report["budget_bytes"] == 30 * 1024
    )
    assert [window["learnt"] for window in report["windows"]] == [100, 100, 15]
    assert report["settings"]["windows"]["close_after"] == "100"
    assert report["versions"].keys() >= {"scall-stream", "numpy", "numba"}
    assert (usual / "report.html").read_text().startswith("<!DOCTYPE html>")
    letters = (usual / "dead_letters.jsonl").read_text().splitlines()
    assert len(letters) == report["dead_letters"] == sum(report["dead_letter_reasons"].values()) == 27
    assert len(list((usual / "checkpoints").glob("*.scall"))) == 2


def test_the_same_command_again_gives_the_same_report(clicks: Path, usual: Path, tmp_path: Path, capsys: Told) -> None:
    assert comparable(replay(clicks, tmp_path)) == comparable(read_report(usual))
    assert arrays(tmp_path) == arrays(usual)
    # A quiet run, that is.
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_standard_error_and_the_result_to_standard_output(
    clicks: Path, tmp_path: Path, capsys: Told
) -> None:
    assert main(["replay", str(clicks), "--out", str(tmp_path), *SMALL]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("window    0  recall@20")
    assert "window" not in told.out
    for part in (str(clicks), "215 events", "recall@20", "30 KiB", "0 violations", "missing user id", "report.html"):
        assert part in told.out.replace("\n", ""), part


BAD_ROWS = [
    (b",i1,3,1", "missing user id"),
    (b"u1,,3,1", "missing item id"),
    (b"u1,i1,,1", "missing timestamp"),
    (b"u1,i1,soon,1", "unparseable timestamp"),
    (b"u1,i1,nan,1", "unparseable timestamp"),
    (b"u1,i1,3,heavy", "unparseable weight"),
    (b"u1,i1,3,nan", "weight not positive"),
    (b"u1,i1,3,-1", "weight not positive"),
    (b"u" * 253 + b",i1,3,1", "id too long"),
    (b"u\xff,i1,3,1", "invalid UTF-8"),
    (b"u1,i1", "malformed row"),
    (b"u1,i1,3,1,1,1", "malformed row"),
    (b"u1,i1,1,1", "late event"),
    (b"u1,i1,99999999999,1", "timestamp far in the future"),
]


def test_every_kind_of_bad_row_is_told_by_its_line_and_the_replay_goes_on(tmp_path: Path) -> None:
    rows = [row for bad, _ in BAD_ROWS for row in (bad, b"u2,i2,100,1")]
    data = tmp_path / "clicks.csv"
    data.write_bytes(b"\n".join([b"user,item,timestamp,weight", b"u1,i1,100,1", *rows]))
    report = replay(data, tmp_path / "out")
    letters = [json.loads(line) for line in (tmp_path / "out" / "dead_letters.jsonl").read_text().splitlines()]
    expected = [(3 + 2 * number, reason) for number, (_, reason) in enumerate(BAD_ROWS)]
    assert [(letter["line"], letter["reason"]) for letter in letters] == expected
    assert (report["dead_letters"], report["late"], report["learnt"]) == (len(BAD_ROWS), 1, 1 + len(BAD_ROWS))
    assert report["dead_letter_reasons"] == {
        reason: sum(reason == other for _, other in BAD_ROWS) for _, reason in BAD_ROWS
    }


# What the options do


def test_the_format_of_the_file_changes_nothing(clicks: Path, tmp_path: Path) -> None:
    good = [line for line in clicks.read_text().splitlines() if line[0] != "," and "yesterday" not in line]
    (tmp_path / "clicks.csv").write_text("\n".join(good))
    table = pyarrow.csv.read_csv(tmp_path / "clicks.csv")
    pq.write_table(table, tmp_path / "clicks.parquet")
    (tmp_path / "clicks.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    reports = []
    for suffix in ("csv", "parquet", "jsonl"):
        report = comparable(replay(tmp_path / f"clicks.{suffix}", tmp_path / suffix))
        reports.append(report | dict.fromkeys(("data", "settings")))
        assert arrays(tmp_path / suffix) == arrays(tmp_path / "csv")
    assert reports[0] == reports[1] == reports[2]


def test_the_limit_ends_the_stream(clicks: Path, tmp_path: Path) -> None:
    assert replay(clicks, tmp_path, "--limit", "50")["events"] == 50
    assert replay("synthetic:drift", tmp_path, "--limit", "70")["events"] == 70


def test_late_events_are_dead_letters_unless_they_are_to_be_learnt(clicks: Path, usual: Path, tmp_path: Path) -> None:
    strict = read_report(usual)
    lenient = replay(clicks, tmp_path / "lenient", "--late", "learn")
    patient = replay(clicks, tmp_path / "patient", "--lateness", "10min")
    assert strict["late"] == lenient["late"] == strict["dead_letter_reasons"]["late event"] > 0
    assert "late event" not in lenient["dead_letter_reasons"]
    assert lenient["learnt"] == strict["learnt"] + strict["late"]
    assert (patient["late"], patient["learnt"]) == (0, lenient["learnt"])


@pytest.mark.parametrize("option", ["--no-shuffle-ties", "--weight-column=", "--exclude-seen", "--seed=2"])
def test_an_option_makes_a_difference(clicks: Path, usual: Path, tmp_path: Path, option: str) -> None:
    assert replay(clicks, tmp_path, option)["learnt"] == 215
    assert arrays(tmp_path) != arrays(usual)


def test_columns_can_be_named(clicks: Path, usual: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(clicks.read_text().replace("user,item,timestamp,weight", "who,what,when,much", 1))
    names = ("--user-column=who", "--item-column=what", "--timestamp-column=when", "--weight-column=much")
    replay(renamed, tmp_path / "named", *names)
    assert arrays(tmp_path / "named") == arrays(usual)


def test_any_setting_can_be_set(clicks: Path, tmp_path: Path) -> None:
    options = ("--plain", "--policy", "powerlaw:0.5", "--users-share", "0.25", "--eval-sample", "0.5", "--seed", "7")
    report = replay(clicks, tmp_path, *options, "--set", "model.loss=bpr", "--set", "sizes.item_max = 9")
    settings = report["settings"]
    assert (settings["model"]["loss"], settings["model"]["history"], settings["sizes"]["item_max"]) == ("bpr", 0, 9)
    assert (settings["seed"], settings["users_share"], report["policy"]) == (7, 0.25, "powerlaw:0.5")
    assert report["item_sizes"]["max"] <= 9
    assert 0 < report["evaluated"] < report["learnt"]


def test_the_plain_setting_hides_what_was_taken_where_that_is_asked(clicks: Path, tmp_path: Path) -> None:
    assert replay(clicks, tmp_path / "plain", "--plain")["settings"]["memory"]["seen_share"] == 0
    settings = replay(clicks, tmp_path / "hiding", "--plain", "--exclude-seen")["settings"]
    assert settings["memory"]["seen_share"] > 0
    assert settings["model"]["loss"] == "logistic"


# Resuming


def test_a_run_can_be_resumed(clicks: Path, usual: Path, tmp_path: Path) -> None:
    replay(clicks, tmp_path, "--limit", "90")
    report, whole = replay(clicks, tmp_path, "--resume"), read_report(usual)
    assert report["resumed"]
    assert [window["reason"] for window in report["windows"]] == ["end of stream", "events", "end of stream"]
    for name in ("events", "learnt", "late", "dead_letter_reasons"):
        assert report[name] == whole[name]
    assert (tmp_path / "dead_letters.jsonl").read_bytes() == (usual / "dead_letters.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--seed=2", "seed = 1, not 2"),
        ("--window=99", "windows.close_after = '100', not '99'"),
        ("--no-shuffle-ties", "shuffle_ties = True, not False"),
        ("--weight-column=", "weight_column = None, not ''"),
    ],
)
def test_resuming_otherwise_than_begun_is_refused(
    clicks: Path, copy: Path, capsys: Told, option: str, told: str
) -> None:
    before = arrays(copy)
    assert main(["replay", str(clicks), "--out", str(copy), *SMALL, "--resume", option]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"scall: the checkpoint was made with {told}: ")
    assert error.count("\n") == 1
    assert arrays(copy) == before


def test_a_damaged_checkpoint_is_warned_of(clicks: Path, usual: Path, copy: Path, capsys: Told) -> None:
    newest = newest_checkpoint(copy)
    newest.write_bytes(newest.read_bytes()[:-1])
    assert comparable(replay(clicks, copy, "--resume")) == comparable(read_report(usual))
    told = capsys.readouterr().err
    assert re.fullmatch(r"scall: warning: \S+: \S+3\.scall is torn .*; \S+2\.scall is used instead\n", told)


def test_a_fresh_run_starts_over(clicks: Path, usual: Path, tmp_path: Path) -> None:
    replay("synthetic:churn", tmp_path, "--limit", "500", "--seed", "2")
    assert comparable(replay(clicks, tmp_path)) == comparable(read_report(usual))
    assert arrays(tmp_path) == arrays(usual)
    names = [sorted(path.name for path in (out / "checkpoints").iterdir()) for out in (tmp_path, usual)]
    assert names[0] == names[1]
