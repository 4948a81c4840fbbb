"""Every mistake of a user is told in one line that names the thing, the place and the remedy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.synthetic import WORLDS
from stream.__main__ import main
from tests.doubles import read_report

Told = pytest.CaptureFixture[str]


def refusal(capsys: Told, *arguments: str) -> str:
    """Return the one line with which a command is refused."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("scall: ")
    assert told.err.endswith("\n")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("scall: ").rstrip()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with one good file, and others that cannot be replayed."""
    (tmp_path / "good.csv").write_text("user,item,timestamp\n1,2,3\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "nameless.csv").write_text("a,b,timestamp\n1,2,3\n")
    (tmp_path / "two\nlines.csv").write_text("a,b\n1,2\n")
    (tmp_path / "clicks.xlsx").write_text("user,item,timestamp\n1,2,3\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing.csv", "missing.csv cannot be read: No such file or directory; check the path"),
        ("", "is a directory; name a file in it"),
        ("empty.csv", "empty.csv is empty: it has no row"),
        ("nameless.csv", "has no column that looks like the user; name it with --user-column (columns found: a, b, "),
        ("two\nlines.csv", r"two\nlines.csv has no column"),
        ("clicks.xlsx", "clicks.xlsx: cannot tell its format; rename it to one of .csv "),
        ("torn.parquet", "torn.parquet cannot be read as Parquet"),
    ],
)
def test_data_that_cannot_be_read_is_named(files: Path, capsys: Told, name: str, told: str) -> None:
    assert told in refusal(capsys, "replay", str(files / name), "--out", str(files / "out"))
    assert not (files / "out").exists()


def test_an_unknown_world_is_named_with_those_there_are(capsys: Told) -> None:
    worlds = ", ".join(f"synthetic:{name}" for name in WORLDS)
    assert refusal(capsys, "replay", "synthetic:flat") == f"synthetic:flat is no world: choose one of {worlds}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--user-column x", "has no column 'x'; name it with --user-column"),
        ("--budget 8bananas", "budget '8bananas' is not a size: write bytes as a number with KiB, MiB or GiB"),
        ("--budget 0", "budget '0' is not a size"),
        ("--budget -1", "budget '-1' is not a size"),
        ("--budget 1000", "budget of 1,000 bytes is too small: give at least --budget"),
        ("--policy best", "policy 'best': no such policy; write one of scall, scall-online, uniform, frequency"),
        ("--policy powerlaw:31", "'31' is no shape of powerlaw; write a number from 0.1 to 30 after the colon"),
        ("--policy powerlaw:", "'' is no shape of powerlaw"),
        ("--policy uniform:2", "'2' is no shape of uniform; write 'uniform' alone"),
        ("--window soon", "window 'soon' is not understood: write one of 50000events"),
        ("--window 0", "window '0' is not understood"),
        ("--window growth:", "window 'growth:' is not understood"),
        ("--lateness tomorrow", "--lateness 'tomorrow' is not a duration: write a number with s, min, h or d"),
        ("--lateness=-1s", "--lateness '-1s' is not a duration"),
        ("--late never", "--late: invalid choice: 'never' (choose from 'dead-letter', 'learn')"),
        ("--eval-sample 1.5", "evaluation.sample = 1.5 is out of range: give a value from 0 to 1"),
        ("--eval-sample half", "evaluation.sample: expected `float`, got `str`"),
        ("--users-share nan", "users_share = nan is out of range: give a value from 0 to 1"),
        ("--seed -1", "seed = -1 is out of range: give a value from 0"),
        ("--seed one", "seed: expected `int`, got `str`"),
        ("--limit 0", "--limit 0: give at least 1 event"),
        ("--limit many", "--limit: invalid int value: 'many'"),
        ("--set model.loss", "--set 'model.loss': write it as NAME=VALUE"),
        ("--set model.gain=1", "setting 'model.gain' is unknown: scall replay --help lists the settings"),
        ("--set model=1", "setting 'model' is unknown"),
        ("--set =1", "setting '' is unknown"),
        ("--set model.history=long", "setting model.history: expected `int`, got `str`"),
        ("--set model.history=65", "setting model.history = 65 is out of range: give a value from 0 to 64"),
        ("--set model.loss=hinge", "setting model.loss = 'hinge' is unknown: give one of softmax, logistic, bpr"),
        ("--colour red", "unrecognized arguments: --colour red (see scall --help)"),
    ],
)
def test_a_bad_option_is_named_with_its_remedy(files: Path, capsys: Told, options: str, told: str) -> None:
    out = ("--out", str(files / "out"))
    assert told in refusal(capsys, "replay", str(files / "good.csv"), *out, *options.split())
    assert not (files / "out").exists()


def test_a_command_is_asked_for(capsys: Told) -> None:
    assert refusal(capsys).endswith("required: COMMAND (see scall --help)")
    commands = ("replay", "compare", "search", "run", "feed", "validate", "inspect", "budget", "size", "deadletters")
    told = refusal(capsys, "play")
    assert f"invalid choice: 'play' (choose from {', '.join(map(repr, commands))})" in told
    assert "required: DATA (see scall replay --help)" in refusal(capsys, "replay")


def test_a_folder_that_cannot_be_written_is_named(files: Path, capsys: Told) -> None:
    file = files / "good.csv"
    for out, reason in ((file, "File exists"), (file / "below", "Not a directory"), (Path("/proc"), "")):
        told = refusal(capsys, "replay", str(file), "--out", str(out))
        assert told.startswith(f"--out {out}: {reason}")
        assert told.endswith("; name a folder that can be written")


@pytest.mark.parametrize("more", ["", "--exclude-seen"])
def test_the_smallest_budget_named_does_work(tmp_path: Path, capsys: Told, more: str) -> None:
    world = ("replay", "synthetic:churn", "--limit", "800", "--window", "400", "--out", str(tmp_path), "--quiet")
    named = re.search(r"at least --budget (\d+)KiB$", refusal(capsys, *world, "--budget", "1KiB", *more.split()))
    assert named
    smallest = int(named[1])
    assert main([*world, "--budget", f"{smallest}KiB", *more.split()]) == 0
    report = read_report(tmp_path)
    assert (report["learnt"], report["violations"]) == (800, 0)
    refusal(capsys, *world, "--budget", f"{smallest - 1}KiB", *more.split())


# The program as it is called


def scall(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "stream", *arguments], capture_output=True, text=True, check=False)


def test_help_is_given(capsys: Told) -> None:
    for arguments in (["--help"], ["replay", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    told = capsys.readouterr().out
    for part in ("usage: scall [-h] COMMAND", "--budget SIZE", "synthetic:churn", "model.rate_item=0.2"):
        assert part in told


def test_the_program_tells_an_error_in_one_line_too() -> None:
    called = scall("replay", "missing.csv")
    assert (called.returncode, called.stdout) == (2, "")
    assert called.stderr == "scall: missing.csv cannot be read: No such file or directory; check the path\n"


def test_a_file_of_any_name_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_text("user,item,timestamp\n1,2,3\n")
    called = scall("replay", str(path), "--out", str(tmp_path / "out"))
    assert called.returncode == 0, called.stderr
    assert r"caf\udce9.csv" in called.stdout
