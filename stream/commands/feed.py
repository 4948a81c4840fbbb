"""``scall feed``: a data set or a world into a topic."""

import argparse
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from simulators.datasets import open_dataset
from simulators.synthetic import open_world
from stream.adapters.files import Columns
from stream.adapters.kafka.administration import ensure_topic
from stream.adapters.kafka.client import Producer
from stream.adapters.kafka.feed import RowSource, feed
from stream.adapters.kafka.kafka_python_producer import KafkaPythonProducer
from stream.adapters.kafka.librdkafka_producer import LibrdkafkaProducer
from stream.adapters.process import ThisProcess
from stream.adapters.units import count_text
from stream.commands.options import WORLD
from stream.errors import UsageError
from stream.service_settings import CLIENTS, Client, Kafka

_SECONDS_PER_LINE: Final = 5.0


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "feed",
        help="write a data set or a synthetic world into a topic",
        description="Writes one JSON record for each row, in the file's order, keyed by user; bad rows too, so that a "
        "service meets what a replay meets. The producer is idempotent.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("data", metavar="DATA", help=f"CSV (also .gz), Parquet or JSON lines, or {WORLD}NAME")
    option("--topic", required=True, metavar="T", help="created with --partitions if it is missing")
    option("--bootstrap", default="localhost:9092", metavar="HOST:PORT", help="a broker (localhost:9092)")
    option("--rate", type=float, metavar="N", help="records a second; as fast as possible, if left out")
    option("--limit", type=int, metavar="N", help="stop after N records")
    option("--seed", type=int, default=1, metavar="N", help="of a synthetic world (1)")
    option("--now", action="store_true", help="give every event the time of writing")
    option("--partitions", type=int, default=1, metavar="N", help="of a topic that is created (1)")
    option("--client", choices=CLIENTS, help="librdkafka, if it is installed, else kafka-python")
    option("--user-column", metavar="NAME", help="column of the user ids, where the name is not a usual one")
    option("--item-column", metavar="NAME", help="column of the item ids")
    option("--timestamp-column", metavar="NAME", help="column of the event times")
    option("--weight-column", metavar="NAME", help="column of the events' weights")
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=run_feed)


def run_feed(options: argparse.Namespace) -> int:
    """Feed a topic."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: give at least 1 record, or leave it out")
    client: Client = options.client or ("librdkafka" if find_spec("confluent_kafka") else "kafka-python")
    kafka = Kafka(
        bootstrap_servers=tuple(options.bootstrap.split(",")),
        topics=(options.topic,),
        group="scall-feed",
        client=client,
    )
    shown = _Shown(options.quiet)
    with closing(_open_rows(options)) as rows, ThisProcess() as process:
        ensure_topic(kafka, options.topic, options.partitions)
        producer: Producer = (LibrdkafkaProducer if client == "librdkafka" else KafkaPythonProducer)(kafka, "feed")
        try:
            num = feed(
                rows,
                producer,
                options.topic,
                rate=options.rate,
                stamp_now=options.now,
                progress=shown.progress,
                should_stop=process.stop_requested,
            )
        finally:
            producer.close(1.0)
    shown.finish(num, options.topic)
    return 0


def _open_rows(options: argparse.Namespace) -> Any:
    source: RowSource
    if options.data.startswith(WORLD):
        return open_world(options.data.removeprefix(WORLD), options.seed, options.limit)
    columns = Columns(options.user_column, options.item_column, options.timestamp_column, options.weight_column)
    source = open_dataset(Path(options.data), columns, options.limit)
    return source


class _Shown:
    """What is told on the way."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._begin_s = self._told_s = time.monotonic()

    def progress(self, num_records: int) -> None:
        now_s = time.monotonic()
        if not self._quiet and now_s - self._told_s > _SECONDS_PER_LINE:
            self._told_s = now_s
            print(f"{count_text(num_records)} records, {count_text(self._rate(num_records))}/s", file=sys.stderr)

    def finish(self, num_records: int, topic: str) -> None:
        if not self._quiet:
            rate = count_text(self._rate(num_records))
            print(f"{count_text(num_records)} records written to {topic}, all acknowledged, {rate}/s")

    def _rate(self, num_records: int) -> float:
        return num_records / max(1e-9, time.monotonic() - self._begin_s)
