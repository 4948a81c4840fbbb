"""``scall run``: the service on Kafka."""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from stream.adapters.budgets import RequestedBudgets
from stream.adapters.checkpoint import DISK, CheckpointFolder, FolderInUseError
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.figures import Figures
from stream.adapters.http.answerer import Answerer
from stream.adapters.http.wire import Setup
from stream.adapters.kafka.administration import ensure_topic, require_topics
from stream.adapters.kafka.client import GroupConsumer, Producer
from stream.adapters.kafka.dead_letters import DeadLetterTopic
from stream.adapters.kafka.kafka_python import KafkaPythonConsumer
from stream.adapters.kafka.kafka_python_producer import KafkaPythonProducer
from stream.adapters.kafka.librdkafka import LibrdkafkaConsumer
from stream.adapters.kafka.librdkafka_producer import LibrdkafkaProducer
from stream.adapters.kafka.records import RecordDecoder
from stream.adapters.kafka.source import KafkaSource
from stream.adapters.process import ThisProcess
from stream.adapters.progress import ConsoleReporter, LogLines, final_summary
from stream.adapters.publisher import Publisher
from stream.adapters.report import save_report
from stream.adapters.reporters import Together
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, compile_kernels, versions
from stream.compilation import fill_kernel_cache
from stream.core.stats import Report
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Host, Reporter
from stream.service_settings import Kafka, Service
from stream.settings_file import load_service

_SWITCH_S: Final = 0.00001
"""How long the reader may keep the interpreter from the learner, whose kernels are many and short.

With 0.2 ms, 4 % fewer records a second were learnt over kafka-python, and 6 % fewer over librdkafka.
"""
_STANDBY_S: Final = 0.2
_MAX_WINDOWS: Final = 100
_LIBRDKAFKA: Final = "librdkafka"

Part = Callable[[str, Any], Any]
"""Takes the name of a part and the part, returns what is put in its place: the place to inject faults."""


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "run",
        help="learn from Kafka topics, each event exactly once",
        description="Reads the topics as a member of a consumer group, learns every event exactly once, saves "
        "model and offsets together. Ctrl-C or SIGTERM ends it in good order; after kill -9 it goes on where it was.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option(
        "--config", type=Path, required=True, metavar="FILE", help="settings, TOML (docker/service.toml explains each)"
    )
    option(
        "--standby", action="store_true", help="wait while another service has the checkpoint folder, then take over"
    )
    option("--until-end", action="store_true", help="end once all that the topics hold is learnt")
    option("--out", type=Path, metavar="DIR", help="folder for a report when it ends")
    option("--quiet", action="store_true", help="print nothing but warnings and errors")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the service until it is asked to stop."""
    service = load_service(options.config, os.environ, build_policy)
    with (
        ThisProcess() as process,
        ConsoleReporter(None, service.settings.memory.budget_bytes, quiet=options.quiet) as reporter,
        LogLines(reporter, logging.WARNING if options.quiet else logging.INFO),
    ):
        fill_kernel_cache()
        compile_kernels()
        report = serve(service, process, reporter, standby=options.standby, until_end=options.until_end)
    if report is not None:
        page = save_report(report, options.out) if options.out else None
        if not options.quiet:
            print(final_summary(report, page, "by starting it again"))
    return 0


def serve(
    service: Service,
    host: Host,
    reporter: Reporter,
    *,
    standby: bool = False,
    until_end: bool = False,
    part: Part = lambda _, original: original,
) -> Report | None:
    """Learn until the host asks to stop, or to the end; None where that was before there was anything to learn with."""
    kafka, saving, settings = service.kafka, service.checkpoints, service.settings
    sys.setswitchinterval(_SWITCH_S)
    with ExitStack() as stack:
        folder = _wait_for_folder(service, host, standby, part)
        if folder is None:
            return None
        stack.enter_context(folder)
        host = RequestedBudgets(host, folder.path)
        # It takes a moment to start: meanwhile the rest is put together.
        answerer = _start_answerer(service, folder, stack, part)
        require_topics(kafka, kafka.topics)
        (ensure_topic if service.dead_letters.create else _require_topic)(kafka, service.dead_letter_topic)
        writer = stack.enter_context(CheckpointWriter(folder, background=saving.background))
        producer = stack.enter_context(closing(_Closing(_open_producer(kafka))))
        letters = stack.enter_context(
            closing(DeadLetterTopic(producer.producer, kafka, service.dead_letter_topic, host.stop_requested))
        )
        decoder = RecordDecoder(service.schema, kafka.max_record_bytes)
        client = part("client", _open_consumer(kafka, folder.instance()))
        source = stack.enter_context(
            closing(KafkaSource(client, part("decoder", decoder), kafka, stop_at_end=until_end))
        )
        ports = Ports(
            part("source", source),
            part("dead_letters", letters),
            part("checkpoints", writer),
            part("policy", build_policy(settings)),
            reporter,
            host,
        )
        pace = Pace(saving.every_s, saving.on_disk_error == "continue", _MAX_WINDOWS)
        trainer = build_trainer(settings)
        writer.reserve(trainer.recommender.state())
        trainer = part("trainer", trainer)
        publisher = None
        if answerer is not None:
            figures = Figures(ports, trainer, settings.seed, versions())
            publisher = part("publisher", Publisher(answerer, trainer, figures))
            ports = ports._replace(reporter=Together((reporter, publisher)))
        pipeline = Pipeline(ports, trainer, service.identity(), versions(), pace)
        is_resumed = pipeline.resume()
        if not is_resumed:
            pipeline.start_afresh()
        for warning in folder.warnings:
            reporter.warn(warning)
        if publisher is not None:
            publisher.open(pipeline.windows, folder.newest() if is_resumed else None, host.stop_requested)
        return pipeline.run()


def _start_answerer(service: Service, folder: CheckpointFolder, stack: ExitStack, part: Part) -> Answerer | None:
    """Start the process that answers requests, to be ended with the stack; None where nobody is to ask."""
    if service.http.port is None:
        return None
    setup = Setup(service.settings, service.http, str(folder.path.absolute()))
    answerer: Answerer = part("answerer", stack.enter_context(Answerer(setup)))
    return answerer


class _Closing:
    """A producer with the time-out that closing it takes."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    def close(self) -> None:
        self.producer.close(_STANDBY_S)


def _wait_for_folder(service: Service, host: Host, standby: bool, part: Part) -> CheckpointFolder | None:
    waits = False
    while not host.stop_requested():
        try:
            disk = part("disk", DISK)
            return CheckpointFolder(Path(service.checkpoints.folder), service.checkpoints.keep, disk)
        except FolderInUseError as error:
            if not standby:
                raise
            if not waits:
                logging.getLogger("scall").info("%s; standing by", error)
            waits = True
            time.sleep(_STANDBY_S)
    return None


def _require_topic(kafka: Kafka, topic: str) -> None:
    require_topics(kafka, [topic])


def _open_consumer(kafka: Kafka, instance: str) -> GroupConsumer:
    kind = LibrdkafkaConsumer if kafka.client == _LIBRDKAFKA else KafkaPythonConsumer
    return kind(kafka, instance)


def _open_producer(kafka: Kafka) -> Producer:
    kind = LibrdkafkaProducer if kafka.client == _LIBRDKAFKA else KafkaPythonProducer
    return kind(kafka, "dead letters")
