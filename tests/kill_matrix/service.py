"""A service to be killed: its settings file, the checkpoints it leaves, and the dead letters it writes."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

from stream.adapters.checkpoint import Header, newest_file, read_header
from stream.errors import CheckpointError
from tests.integration.broker import Broker
from tests.kill_matrix.trouble import SETTINGS

KAFKA: Mapping[str, Any] = {"session_timeout_s": 6.0, "drain_timeout_s": 3.0, "new_partitions_s": 0.5}
PATIENCE_MS = 20_000


class Service(NamedTuple):
    """One model: a group, a checkpoint folder, and the settings file that names both."""

    group: str
    config: Path
    checkpoints: Path
    log: Path
    """What its processes say."""

    def saved(self) -> Header | None:
        """Return what its newest checkpoint says of itself; None before the first."""
        try:
            return read_header(newest_file(self.checkpoints))
        except (CheckpointError, FileNotFoundError):
            return None

    def position(self) -> dict[int, int]:
        """Return where its newest checkpoint stands, by partition."""
        header = self.saved()
        return {} if header is None else {int(number): end for number, end in header.meta["position"].items()}

    def told(self) -> str:
        """Return all that its processes have said so far."""
        return self.log.read_text() if self.log.exists() else ""


def set_up(folder: Path, broker: Broker, topic: str, group: str, **more: Mapping[str, Any] | str | int) -> Service:
    """Write a settings file; ``more`` are sections, or single settings, that differ from the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    kafka = {**KAFKA, "bootstrap_servers": [broker.bootstrap], "topics": [topic], "group": group}
    checkpoints = {"folder": str(folder / "checkpoints"), "every_s": 0.1}
    sections: dict[str, Any] = {
        **SETTINGS,
        "policy": "powerlaw:0.5",
        "kafka": kafka,
        "schema": {"weight": "weight"},
        "checkpoints": checkpoints,
    }
    for name, value in more.items():
        sections[name] = {**sections.get(name, {}), **value} if isinstance(value, Mapping) else value
    config = folder / "service.toml"
    config.write_text(as_toml(sections))
    return Service(group, config, folder / "checkpoints", folder / "log")


def as_toml(settings: Mapping[str, Any], prefix: str = "") -> str:
    """Return settings as TOML, with dotted keys.

    >>> as_toml({"seed": 7, "kafka": {"topics": ["clicks"]}})
    'seed = 7\\nkafka.topics = ["clicks"]\\n'
    """
    lines = ""
    for name, value in settings.items():
        is_section = isinstance(value, Mapping)
        lines += as_toml(value, f"{prefix}{name}.") if is_section else f"{prefix}{name} = {json.dumps(value)}\n"
    return lines


def read_letters(broker: Broker, topic: str, group: str) -> Counter[tuple[int, int, str]]:
    """Return how often the letters of a group stand in a topic: by original partition, offset, and reason."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap, isolation_level="read_committed", metrics_enabled=False
    )
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        end = consumer.end_offsets([partition])[partition]
        found: Counter[tuple[int, int, str]] = Counter()
        while consumer.position(partition) < end:
            for record in consumer.poll(PATIENCE_MS).get(partition, ()):
                headers = {name: value.decode() for name, value in record.headers}
                if headers["scall-group"] == group:
                    origin = int(headers["scall-partition"]), int(headers["scall-offset"])
                    found[*origin, headers["scall-reason"]] += 1
        return found
    finally:
        consumer.close()
