"""Requests against a service, as they come: at a rate of their own, whether earlier ones are answered or not.

``python -m tests.benchmarks.serving HOST:PORT [RATE [SECONDS]]`` asks a service that runs; :func:`serving` has one of
its own, whose learner goes on learning. A time begins when a request is due, so that waiting for others counts.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np

from stream.adapters.http.answerer import Answerer
from stream.adapters.http.wire import Setup
from stream.assembly import build_trainer
from stream.commands.assembly import compile_kernels
from stream.compilation import fill_kernel_cache
from stream.config import Settings, make_settings
from stream.core.event import ITEM, USER, EventBatch, hash_spans
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeDecision
from stream.service_settings import Http

Figures = dict[str, Any]
NUM_ITEMS, NUM_USERS, NUM_GROUPS, NUM_EVENTS = 100_000, 50_000, 200, 1_000_000
RATE, SECONDS = 200, 20
NUM_CONNECTIONS = 32
CHUNK, LEND_EVERY_S = 2_000, 0.7
DECISION = SizeDecision(0.5, Curve("powerlaw", 1.0), Curve("powerlaw", 1.0))


def serving(quick: bool = False) -> Figures:
    """Measure answers at 200 requests a second with 100,000 items, and what they cost the learner.

    The client asks three times over, and the run of the median p99 is told. Quick: once, and a quarter as long.
    """
    seconds, runs = (SECONDS / 4, 1) if quick else (SECONDS, 3)
    fill_kernel_cache()
    compile_kernels()
    settings = make_settings({"memory.budget_bytes": 24 * 2**20, "memory.max_entities": 170_000})
    recommender, events = build_trainer(settings).recommender, clicks()
    Learning(recommender, events).go_on(until_event=NUM_EVENTS)
    alone = Learning(recommender, events).go_on(seconds=seconds)
    with tempfile.TemporaryDirectory() as folder, Answerer(setup_of(settings, folder)) as answerer:
        answerer.wait_until_listening(lambda: False)
        learning = Learning(recommender, events, answerer)
        idle = learning.go_on(seconds=seconds)
        found, asked = [], []
        for _ in range(runs):
            command = [sys.executable, "-m", "tests.benchmarks.serving", f"127.0.0.1:{answerer.port}"]
            with subprocess.Popen([*command, str(RATE), str(seconds)], stdout=subprocess.PIPE) as asking:
                asked.append(learning.go_on(while_runs=asking))
                answered, _ = asking.communicate()
            found.append(json.loads(answered))
    found.sort(key=lambda run: run["p99_ms"])
    return {
        "items": recommender.num_items,
        **found[len(found) // 2],
        "runs_p99_ms": [run["p99_ms"] for run in found],
        "learner_events_per_s": round(alone),
        "share_while_publishing": round(idle / alone, 3),
        "share_while_answering": round(median(asked) / alone, 3),
    }


def setup_of(settings: Settings, folder: str) -> Setup:
    """Return what the answering process is told first."""
    return Setup(http=Http(port=0, max_requests_per_second=10**6), settings=settings, folder=folder)


class Learning:
    """A learner that goes round and round a stream, and lends copies of itself if there is somebody to lend to."""

    def __init__(self, recommender: Recommender, events: EventBatch, answerer: Answerer | None = None) -> None:
        self._recommender = recommender
        self._events = events
        self._answerer = answerer
        self._at = 0

    def go_on(
        self, *, seconds: float = np.inf, until_event: float = np.inf, while_runs: subprocess.Popen[bytes] | None = None
    ) -> float:
        """Learn for a while; return the events learnt a second, by the wall."""
        begin_s = lent_s = time.perf_counter()
        num_learnt = 0
        while num_learnt < until_event and time.perf_counter() - begin_s < seconds:
            end = min(self._at + CHUNK, NUM_EVENTS)
            reached = self._recommender.learn(self._events, self._at, end, NUM_EVENTS).reached
            num_learnt += reached - self._at
            self._at = reached % NUM_EVENTS
            self._recommender.resize(DECISION, items_only=reached == end)
            if self._answerer is not None:
                self._answerer.attend()
                if time.perf_counter() - lent_s > LEND_EVERY_S:
                    lent_s = time.perf_counter()
                    self._answerer.lend(self._recommender.state(), time.time(), int(self._events.timestamp_ms[end - 1]))
            if while_runs is not None and while_runs.poll() is not None:
                break
        return num_learnt / (time.perf_counter() - begin_s)


def clicks() -> EventBatch:
    """Return events of users and items in groups; within a group, as anywhere, some items are much more popular."""
    rng = np.random.default_rng(1)
    user_keys, *_ = keys_of("u", NUM_USERS, USER)
    item_keys, start, length, data = keys_of("i", NUM_ITEMS, ITEM)
    users = rng.integers(0, NUM_USERS, NUM_EVENTS)
    in_group = np.arange(1, NUM_ITEMS // NUM_GROUPS + 1) ** -0.8
    ranks = rng.choice(len(in_group), NUM_EVENTS, p=in_group / in_group.sum())
    groups = np.where(rng.random(NUM_EVENTS) < 0.8, users % NUM_GROUPS, rng.integers(0, NUM_GROUPS, NUM_EVENTS))
    items = ranks * NUM_GROUPS + groups
    # Each occurs.
    items[rng.permutation(NUM_EVENTS)[:NUM_ITEMS]] = np.arange(NUM_ITEMS)
    number = np.arange(NUM_EVENTS)
    return EventBatch(
        user=user_keys[users],
        item=item_keys[items],
        timestamp_ms=1_700_000_000_000 + 100 * number,
        weight=np.ones(NUM_EVENTS, np.float32),
        partition=np.zeros(NUM_EVENTS, np.int32),
        offset=number,
        number=number,
        item_start=start[items],
        item_length=length[items],
        item_data=data,
    )


def keys_of(prefix: str, num: int, side: int) -> tuple[Any, ...]:
    """Return the keys of ids, and where their bytes stand."""
    names = [f"{prefix}{number}".encode() for number in range(num)]
    length = np.array([len(name) for name in names], np.int32)
    start, data = np.cumsum(length, dtype=np.int64) - length, np.frombuffer(bytearray(b"".join(names)), np.uint8)
    return hash_spans(data, start, length, side), start, length, data


# The client


async def ask_all(host: str, port: int, rate: float, seconds: float) -> Figures:
    """Ask for recommendations at a rate, and for the metrics each second; return what became of it."""
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    times_s: list[float] = []
    statuses: list[int] = []
    scrapes: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    scraped_s: list[float] = []
    askers = [asyncio.create_task(_ask(host, port, due, times_s, statuses)) for _ in range(NUM_CONNECTIONS)]
    askers.append(asyncio.create_task(_ask(host, port, scrapes, scraped_s, [])))
    rng = np.random.default_rng(7)
    begin_s = time.perf_counter()
    for number in range(round(rate * seconds)):
        due_s = begin_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        if number % round(rate) == 0:
            scrapes.put_nowait((due_s, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))
        # One in eleven is not known.
        path = f"/v1/users/u{rng.integers(0, NUM_USERS * 11 // 10)}/recommendations?n=20&exclude_seen=true"
        due.put_nowait((due_s, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()))
    await asyncio.gather(due.join(), scrapes.join())
    for asker in askers:
        asker.cancel()
    p50, p90, p99, most = (1000 * np.percentile(times_s, [50, 90, 99, 100])).tolist()
    return {
        "requests_per_s": rate,
        "answered": statuses.count(200),
        "not_answered": len(statuses) - statuses.count(200),
        "p50_ms": round(p50, 2),
        "p90_ms": round(p90, 2),
        "p99_ms": round(p99, 2),
        "max_ms": round(most, 2),
        "scrape": {"p50_ms": round(1000 * median(scraped_s), 2), "max_ms": round(1000 * max(scraped_s), 2)},
    }


async def _ask(host: str, port: int, due: Any, times_s: list[float], statuses: list[int]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while True:
        due_s, request = await due.get()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            # It was idle for too long: the same again on a new one.
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        times_s.append(time.perf_counter() - due_s)
        statuses.append(int(head[9:12]))
        due.task_done()


if __name__ == "__main__":
    address, *others = sys.argv[1:]
    asked_host, _, asked_port = address.rpartition(":")
    asked_rate, asked_seconds = [*map(float, others), RATE, SECONDS][:2]
    print(json.dumps(asyncio.run(ask_all(asked_host, int(asked_port), asked_rate, asked_seconds))))
