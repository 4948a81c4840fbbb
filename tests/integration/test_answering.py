"""The process that answers requests, for real: killed, orphaned, refused its port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

PATIENCE_S = 120


class Learning:
    """A process that learns without end, and its child."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.adapters.http.learning", str(folder), str(port)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )
        self.children: list[int] = []
        self.port = 0

    def hear(self) -> int:
        """Wait until a child listens; return its process id."""
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        assert words, self.log.read_text()
        self.port, child = map(int, words)
        self.children.append(child)
        return child

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def num_learnt(self) -> int:
        num: int = self.get("/v1/state")["status"]["counts"]["learnt"]
        return num

    def close(self) -> None:
        for pid in (self.process.pid, *self.children):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        _close(self.process.stdout)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Learning]:
    learning = Learning(tmp_path)
    yield learning
    learning.close()


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def has_snapshot(learning: Learning) -> bool:
    with suppress(OSError):
        return learning.get("/v1/state")["sides"] is not None
    return False


def test_a_child_killed_comes_back_and_a_learner_killed_leaves_no_orphan(learning: Learning) -> None:
    first = learning.hear()
    wait_until(lambda: has_snapshot(learning))
    before = learning.num_learnt()
    os.kill(first, signal.SIGKILL)
    second = learning.hear()
    assert second != first
    wait_until(lambda: has_snapshot(learning))
    # The learner went on meanwhile, and the windows closed before are known to the new child.
    wait_until(lambda: learning.num_learnt() > before)
    windows = learning.get("/v1/windows")
    assert [window["index"] for window in windows][: len(windows)] == list(range(len(windows)))
    assert "starting it again" in learning.log.read_text()
    answer = learning.get("/v1/users/nobody/recommendations?n=5")
    assert (answer["reason"], len(answer["items"])) == ("cold", 5)
    learning.process.kill()
    wait_until(lambda: not is_alive(second))


def test_asked_to_end_both_end_and_signals_to_all_are_for_the_learner(learning: Learning) -> None:
    child = learning.hear()
    os.kill(child, signal.SIGINT)
    os.kill(child, signal.SIGTERM)
    wait_until(lambda: has_snapshot(learning))
    learning.process.send_signal(signal.SIGTERM)
    assert learning.process.wait(PATIENCE_S) == 0
    assert not is_alive(child)


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        learning = Learning(tmp_path, port)
        try:
            assert learning.process.wait(PATIENCE_S) == 1
        finally:
            learning.close()
    told = learning.log.read_text()
    assert told.startswith(f"scall: http.port {port}"), told
    assert len(told.splitlines()) == 1
