"""The service on a real broker: its rate beside bare polls and a file, how fresh it is, and what a checkpoint costs.

Rates are in wall time, for two threads work at once; ratios are of runs that follow each other on one machine.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ConfluentPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as PythonPartition

from simulators.nowhere import Silence
from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.files import FileSource
from stream.adapters.kafka.client import ProducedRecord
from stream.adapters.kafka.librdkafka_producer import LibrdkafkaProducer
from stream.adapters.process import ThisProcess
from stream.adapters.units import bytes_text
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, compile_kernels
from stream.commands.run import serve
from stream.compilation import fill_kernel_cache
from stream.config import make_settings
from stream.core.stats import Progress
from stream.pipeline import Pace, Pipeline, Ports
from stream.service_settings import Checkpoints, Client, Kafka, Service
from tests.benchmarks.saving import saves
from tests.integration.broker import Broker, find_jars, running_broker

Figures = dict[str, Any]
EVERY_S = 10.0
KIB, MIB = 2**10, 2**20
BUDGETS = (64 * KIB, MIB, 16 * MIB, 256 * MIB)
QUICK_BUDGETS = (64 * KIB, MIB, 16 * MIB)
SETTINGS = {
    "memory.budget_bytes": 16 * 2**20,
    "evaluation.sample": 0.01,
    "windows.allowed_lateness_s": 3600.0,
    "windows.learn_late": True,
}


def kafka(quick: bool = False) -> Figures:
    """Measure everything on one broker of its own; quick: a fifth of the records, one run of each."""
    fill_kernel_cache()
    compile_kernels()
    num, runs = (120_000, 1) if quick else (600_000, 5)
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder) / "broker") as broker:
        values = events(num)
        write_topic(broker, "few", values[: num // 2])
        write_topic(broker, "many", values)
        path = Path(folder) / "events.jsonl"
        path.write_bytes(b"\n".join(values))
        return {
            "broker": broker_version(),
            "bytes_per_record": round(sum(map(len, values)) / len(values)),
            "kafka_python": kafka_python(broker, num // 2, runs),
            "librdkafka": librdkafka(broker, path, num, runs),
            "freshness": freshness(broker, seconds=5 if quick else 20),
            "checkpoint": checkpoints(QUICK_BUDGETS if quick else BUDGETS, num_saves=3 if quick else 7),
        }


def broker_version() -> str | None:
    """Return the version of the broker's jars, None where their names do not tell."""
    folders = [Path(entry).parent.glob("*.jar") if entry.endswith("*") else [entry] for entry in find_jars().split(":")]
    names = " ".join(str(path) for paths in folders for path in paths)
    found = re.search(r"kafka-clients-([0-9][^ /]*)\.jar", names)
    return found[1] if found else None


def events(num: int) -> list[bytes]:
    """Return JSON values of some 200 bytes: 20,000 users, 20,000 items, steeply popular."""
    rng = np.random.default_rng(1)
    users = rng.integers(0, 20_000, num).tolist()
    items = (rng.pareto(0.5, num).clip(0, 1e9).astype(np.int64) % 20_000).tolist()
    padding = {"page": "/product/detail", "device": "mobile", "referrer": "search", "variant": "b"}
    begin_ms = 1_700_000_000_000
    return [
        msgspec.json.encode(
            {"user": f"u{u}", "item": f"i{i}", "timestamp": begin_ms + 100 * n, "session": f"{n * u:032x}"} | padding
        )
        for n, (u, i) in enumerate(zip(users, items, strict=True))
    ]


def write_topic(broker: Broker, topic: str, values: list[bytes]) -> None:
    """Write values into a new topic of one partition."""
    broker.create_topic(topic)
    producer = LibrdkafkaProducer(settings_of(broker, topic, "librdkafka"), "benchmark")
    for value in values:
        producer.send(topic, ProducedRecord(b"key", value))
    assert producer.flush(60)
    producer.close(1)


def settings_of(broker: Broker, topic: str, client: Client) -> Kafka:
    """Return settings with a group of their own."""
    group = f"{topic}-{time.time_ns()}"
    return Kafka(bootstrap_servers=(broker.bootstrap,), topics=(topic,), group=group, client=client)


class Watch(Silence):
    """A reporter that notes when the first events were learnt, and the last."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []

    def progress(self, progress: Progress) -> None:
        if progress.counts.learnt and (not self.marks or progress.counts.learnt > self.marks[-1][1]):
            self.marks.append((time.perf_counter(), progress.counts.learnt))

    def rate(self) -> float:
        (begin_s, begin), (end_s, end) = self.marks[0], self.marks[-1]
        return (end - begin) / (end_s - begin_s)

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr)


def serve_topic(broker: Broker, topic: str, client: Client) -> float:
    """Return the rate, in events a second, at which the service learns a topic."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as folder, ThisProcess() as host:
        service = Service(
            kafka=settings_of(broker, topic, client),
            checkpoints=Checkpoints(folder=folder, every_s=EVERY_S),
            settings=make_settings(SETTINGS),
        )
        serve(service, host, watch, until_end=True)
    return watch.rate()


def replay_file(path: Path) -> float:
    """Return the rate at which the same loop learns a file, with the same checkpoints."""
    watch = Watch()
    settings = make_settings(SETTINGS)
    with (
        tempfile.TemporaryDirectory() as folder,
        ThisProcess() as host,
        closing(FileSource(path)) as source,
        CheckpointFolder(Path(folder) / "checkpoints") as checkpoints,
        CheckpointWriter(checkpoints, background=True) as writer,
        closing(DeadLetterFile(Path(folder) / "dead")) as letters,
    ):
        ports = Ports(source, letters, writer, build_policy(settings), watch, host)
        pipeline = Pipeline(ports, build_trainer(settings), msgspec.to_builtins(settings), {}, Pace(EVERY_S))
        pipeline.start_afresh()
        pipeline.run()
    return watch.rate()


def poll_kafka_python(broker: Broker, topic: str, num: int) -> float:
    """Return the rate of a bare loop of polls."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, enable_auto_commit=False, max_poll_records=8192)
    partition = PythonPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    with closing(consumer):
        return polling(lambda: sum(map(len, consumer.poll(timeout_ms=1000).values())), num)


def poll_librdkafka(broker: Broker, topic: str, num: int) -> float:
    """Return the rate of a bare loop of consume calls."""
    options = {"bootstrap.servers": broker.bootstrap, "group.id": "bare", "fetch.queue.backoff.ms": 5}
    consumer = Consumer(options | {"enable.auto.commit": False})
    consumer.assign([ConfluentPartition(topic, 0, 0)])
    with closing(consumer):
        return polling(lambda: len(consumer.consume(1000, 1.0)), num)


def polling(poll: Callable[[], int], num: int) -> float:
    """Return the records a second of a poll called until so many were had; from the first records on, as in a watch."""
    while not (first := poll()):
        pass
    got, begin_s = first, time.perf_counter()
    while got < num:
        got += poll()
    return (got - first) / (time.perf_counter() - begin_s)


def kafka_python(broker: Broker, num: int, runs: int) -> Figures:
    """The service over kafka-python beside a bare poll loop, by turns."""
    pairs = [(serve_topic(broker, "few", "kafka-python"), poll_kafka_python(broker, "few", num)) for _ in range(runs)]
    return beside(pairs, "service_per_s", "bare_poll_per_s")


def librdkafka(broker: Broker, path: Path, num: int, runs: int) -> Figures:
    """The service over librdkafka beside a replay of the same events from a file, and a bare loop, by turns."""
    pairs, bare = [], []
    for _ in range(runs):
        pairs.append((serve_topic(broker, "many", "librdkafka"), replay_file(path)))
        bare.append(poll_librdkafka(broker, "many", num))
    return beside(pairs, "service_per_s", "file_per_s") | {"bare_poll_per_s": round(median(bare))}


def beside(pairs: list[tuple[float, float]], ours: str, theirs: str) -> Figures:
    """Return medians of two rates, and of their ratio within a pair."""
    ratios = sorted(a / b for a, b in pairs)
    return {
        ours: round(median(a for a, _ in pairs)),
        theirs: round(median(b for _, b in pairs)),
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def freshness(broker: Broker, rate: int = 5_000, seconds: int = 20) -> Figures:
    """Milliseconds from writing an event to its being learnt and servable, at a steady rate."""
    topic = f"fresh-{time.time_ns()}"
    broker.create_topic(topic)
    late_ms: list[np.ndarray[Any, np.dtype[np.float64]]] = []
    num = rate * seconds

    class Host(ThisProcess):
        def stop_requested(self) -> bool:
            return super().stop_requested() or sum(map(len, late_ms)) >= num

    def part(name: str, original: Any) -> Any:
        return Timed(original, late_ms) if name == "source" else original

    with tempfile.TemporaryDirectory() as folder, Host() as host, feeding(broker, topic, rate, num):
        service = Service(
            kafka=settings_of(broker, topic, "kafka-python"),
            checkpoints=Checkpoints(folder=folder, every_s=EVERY_S),
            settings=make_settings(SETTINGS | {"windows.close_after": "20000events"}),
        )
        serve(service, host, Watch(), part=part)
    # The first second is the group's beginning.
    found = np.concatenate(late_ms)[rate:]
    quantiles = {f"p{q:g}_ms": round(float(np.percentile(found, q)), 1) for q in (50, 90, 99, 99.9)}
    return {"events": len(found), "rate_per_s": rate, **quantiles, "max_ms": round(float(found.max()), 1)}


class Timed:
    """A source that notes, when it is asked for more, how old the events are that were just learnt."""

    def __init__(self, source: Any, late_ms: list[np.ndarray[Any, np.dtype[np.float64]]]) -> None:
        self._source = source
        self._late_ms = late_ms
        self._learnt_ms = np.empty(0)

    def poll(self) -> Any:
        if len(self._learnt_ms):
            self._late_ms.append(time.time() * 1000 - self._learnt_ms)
        poll = self._source.poll()
        self._learnt_ms = poll.events.timestamp_ms.copy()
        return poll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@contextmanager
def feeding(broker: Broker, topic: str, rate: int, num: int) -> Iterator[None]:
    """Let another process write events, stamped with the time of writing."""
    command = [sys.executable, "-m", "stream", "feed", "synthetic:stationary", "--topic", topic, "--now", "--quiet"]
    command += ["--bootstrap", broker.bootstrap, "--rate", str(rate), "--limit", str(num)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


def checkpoints(budgets: tuple[int, ...], num_saves: int) -> Figures:
    """How long learning stands still for a checkpoint written in the background, by the budget."""
    return {bytes_text(budget): checkpoint(budget, num_saves) for budget in budgets}


def checkpoint(budget: int, num_saves: int) -> Figures:
    """How long learning stands still for the checkpoint of a full budget."""
    trainer = build_trainer(make_settings({"memory.budget_bytes": budget}))
    arrays, meta = trainer.state(None, {})
    for array in arrays.values():
        # As after a long life: all pages are there.
        array.view(np.uint8)[...] |= 0
    return saves(arrays, meta, num_saves)
