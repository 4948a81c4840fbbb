"""Starts lives without waiting for imports: a process that has everything loaded forks one for each.

It has one thread, so that what it forks is as good as new; the lives are processes with threads of their own. Orders
come as JSON lines on its standard input, what became of them goes to its standard output.
"""

import gc
import os
import selectors
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple, Self

import msgspec

from stream.adapters.kafka.client import Chunk, TopicPartition
from stream.adapters.kafka.librdkafka_client import load_library
from stream.adapters.kafka.records import RecordDecoder
from stream.commands.assembly import compile_kernels
from stream.compilation import fill_kernel_cache
from stream.service_settings import Schema
from tests.kill_matrix.life import Life, live
from tests.kill_matrix.trouble import MAX_RECORD_BYTES, Trouble

_ROOT: Final = Path(__file__).parents[2]
_NO_THREADS: Final = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""For libraries that start threads when they are imported."""
_START_S: Final = 120
"""Kernels may have to be compiled first."""


class Living(NamedTuple):
    """A life that was started."""

    pid: int
    ending: "Future[int]"
    """Its exit status once it ended, negative where a signal killed it."""

    def send(self, number: signal.Signals) -> None:
        if not self.ending.done():
            os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Return the exit status; raises :class:`TimeoutError`."""
        return self.ending.result(timeout_s)


class Launcher:
    """Starts lives; in a ``with`` statement, at whose end all of them are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kill_matrix.launcher"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _NO_THREADS,
        )
        self._started: Future[Living] = Future()
        self._living: dict[int, Living] = {}
        self._reader = Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        self._started.result(_START_S)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_START_S)
        self._reader.join()
        self._process.stdout.close()

    def start(self, life: Life) -> Living:
        """Start a life."""
        assert self._process.stdin is not None
        self._started = Future()
        self._process.stdin.write(msgspec.json.encode(life, enc_hook=str) + b"\n")
        self._process.stdin.flush()
        return self._started.result(_START_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            pid, status = msgspec.json.decode(line, type=tuple[int, int | None])
            if status is None:
                self._living[pid] = Living(pid, Future())
                self._started.set_result(self._living[pid])
            else:
                self._living.pop(pid).ending.set_result(status)
        if not self._started.done():
            self._started.set_exception(RuntimeError("the launcher died"))


# The process


def main() -> None:
    """Fork a life for each order, until there can be no more."""
    _load_everything()
    threads = Path("/proc/self/task")
    assert not threads.exists() or len(list(threads.iterdir())) == 1, "what is forked would lack the other threads"
    gc.freeze()
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    living: set[int] = set()
    _tell(0, None)
    with selectors.DefaultSelector() as selector:
        selector.register(woken, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        while True:
            descriptors = {key.fd for key, _ in selector.select()}
            if woken in descriptors:
                os.read(woken, 100)
                _bury(living)
            if 0 in descriptors:
                order = _read_line()
                if not order:
                    break
                living.add(_fork(msgspec.json.decode(order, type=Life, dec_hook=lambda kind, value: kind(value))))
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _load_everything() -> None:
    fill_kernel_cache()
    compile_kernels()
    load_library()
    rows = Trouble(0).take(200)
    columns = [[row.timestamp_ms for row in rows], [row.key for row in rows], [row.value for row in rows]]
    chunk = Chunk(TopicPartition("clicks", 0), list(range(len(rows))), *columns)
    RecordDecoder(Schema(), MAX_RECORD_BYTES).decode([chunk], [0])


def _fork(life: Life) -> int:
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        sys.exit(live(life))
    _tell(pid, None)
    return pid


def _bury(living: set[int]) -> None:
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.remove(pid)
            _tell(pid, os.waitstatus_to_exitcode(status))


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            return b""
        line += more
    return line


def _tell(pid: int, status: int | None) -> None:
    os.write(1, msgspec.json.encode((pid, status)) + b"\n")


if __name__ == "__main__":
    main()
