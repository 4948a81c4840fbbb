"""The program killed and interrupted for real: what is resumed ends as a run that nothing came across."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stream.__main__ import main
from stream.adapters.checkpoint_file import read_checkpoint
from tests.doubles import comparable, newest_checkpoint, read_report

COMMAND = (
    "replay",
    "synthetic:churn",
    "--limit",
    "25000",
    "--budget",
    "48KiB",
    "--window",
    "1000",
    "--eval-sample=.05",
)
PATIENCE_S = 300
"""A first run compiles its kernels."""


def finish(out: Path, *options: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Run the command to its end in this process; return its report and the model it leaves."""
    assert main([*COMMAND, "--quiet", "--out", str(out), *options]) == 0
    arrays = read_checkpoint(newest_checkpoint(out)).arrays
    return comparable(read_report(out)), {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, bytes]]:
    return finish(tmp_path_factory.mktemp("whole"))


@contextmanager
def running(out: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-m", "stream", *COMMAND, "--resume", "--out", str(out)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_checkpoint(process: subprocess.Popen[str], out: Path, after: set[Path]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not set((out / "checkpoints").glob("*.scall")) - after:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_process_killed_again_and_again_ends_the_same(
    whole: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    rng = random.Random(11)
    for _ in range(3):
        before = set((tmp_path / "checkpoints").glob("*.scall"))
        with running(tmp_path) as process:
            wait_for_checkpoint(process, tmp_path, before)
            time.sleep(rng.uniform(0, 0.15))
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "report.json").exists()
    assert finish(tmp_path, "--resume") == whole


def test_a_process_that_is_interrupted_ends_in_good_order_and_goes_on(
    whole: tuple[dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    with running(tmp_path) as process:
        wait_for_checkpoint(process, tmp_path, set())
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    report = read_report(tmp_path)
    assert not report["finished"]
    assert report["windows"][-1]["reason"] == "interrupted"
    assert "--resume" in told
    assert (tmp_path / "report.html").exists()
    assert 1000 <= report["learnt"] < 25000
    assert finish(tmp_path, "--resume") == whole
