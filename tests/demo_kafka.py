"""``make demo-kafka``: a broker, a feed, and a service that is killed half way and goes on exactly where it was."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from stream.adapters.kafka.administration import ensure_topic
from stream.adapters.kafka.client import ProducedRecord
from stream.adapters.kafka.kafka_python_producer import KafkaPythonProducer
from stream.service_settings import Kafka
from tests.integration.broker import NoKafkaError, any_broker

NUM_EVENTS = 60_000
RATE = 3_000
POISON = (
    b'{"user": "u1", "item": ',
    b'{"user": {}, "item": "i1", "timestamp": 1704067200000}',
    b'{"item": "i1", "timestamp": 1704067200000}',
    None,
)
SETTINGS = """\
policy = "powerlaw"

[memory]
budget_bytes = "1MiB"

[windows]
close_after = "10000events"

[evaluation]
sample = 0.1

[kafka]
bootstrap_servers = ["{bootstrap}"]
topics = ["{topic}"]
group = "{topic}-demo"

[checkpoints]
folder = "checkpoints"
every_s = 2
"""
SCALL = (sys.executable, "-m", "stream")


def main() -> int:
    """Run the demonstration."""
    with TemporaryDirectory(prefix="scall-kafka-") as folder:
        say("Starting a Kafka broker on loopback (or taking the one that KAFKA_BOOTSTRAP names)")
        try:
            with any_broker(Path(folder)) as broker:
                return demonstrate(broker.bootstrap)
        except NoKafkaError as error:
            print(error, file=sys.stderr)
            return 2


def demonstrate(bootstrap: str) -> int:
    """Feed a world, kill the service half way, and hold what was learnt against what was fed."""
    out = Path("out/demo-kafka")
    topic = f"clicks-{int(time.time())}"
    out.mkdir(parents=True, exist_ok=True)
    config = out / "service.toml"
    config.write_text(SETTINGS.format(bootstrap=bootstrap, topic=topic).replace('"checkpoints"', f'"{topic}"'))
    kafka = Kafka(bootstrap_servers=(bootstrap,), topics=(topic,), group="demo")
    ensure_topic(kafka, topic)
    say(f"Starting the service: scall run --config {config}")
    service = [*SCALL, "run", "--config", str(config)]
    first = subprocess.Popen(service)
    say(f"Feeding {NUM_EVENTS:,} events of synthetic:drift into {topic}, {RATE:,} a second, and a few bad records")
    options = ["--topic", topic, "--bootstrap", bootstrap, "--limit", str(NUM_EVENTS), "--rate", str(RATE), "--quiet"]
    feed = subprocess.Popen([*SCALL, "feed", "synthetic:drift", *options])
    poison(kafka, topic)
    wait_for_checkpoint(out / topic, first)
    time.sleep(NUM_EVENTS / RATE / 3)
    say("kill -9")
    first.send_signal(signal.SIGKILL)
    first.wait()
    feed.wait()
    say("Starting it again; --until-end ends it once all is learnt")
    subprocess.run([*service, "--until-end", "--out", str(out)], check=True)
    return compare(out / topic)


def wait_for_checkpoint(folder: Path, service: "subprocess.Popen[bytes]") -> None:
    """Return once the service has saved something: the very first run compiles for half a minute."""
    while not list(folder.glob("*.scall")):
        if service.poll() is not None:
            sys.exit("the service has ended")
        time.sleep(0.1)


def poison(kafka: Kafka, topic: str) -> None:
    """Write records that nobody can use."""
    producer = KafkaPythonProducer(kafka, "poison")
    for value in POISON:
        producer.send(topic, ProducedRecord(b"u1", value))
    assert producer.flush(10)
    producer.close(1)


def compare(checkpoints: Path) -> int:
    """Say what was learnt of what was fed."""
    told = subprocess.run([*SCALL, "inspect", str(checkpoints)], check=True, capture_output=True, text=True).stdout
    found = json.loads(told)
    counts = found["counts"]
    fed = f"{NUM_EVENTS:,} events and {len(POISON)} bad records"
    say(f"Fed {fed}; learnt {counts['learnt']:,}, dead letters {counts['dead_letters']}")
    subprocess.run([*SCALL, "deadletters", "list", "--config", str(checkpoints.parent / "service.toml")], check=True)
    print(f"The page of the run: {checkpoints.parent / 'report.html'}")
    return 0 if (counts["learnt"], counts["dead_letters"]) == (NUM_EVENTS, len(POISON)) else 1


def say(text: str) -> None:
    """Print a step."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
