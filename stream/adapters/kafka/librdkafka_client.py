"""Opening librdkafka's clients, by confluent-kafka, and its errors in words."""

import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, Final

from stream.adapters.kafka import contact
from stream.adapters.kafka.client import BrokerError
from stream.adapters.kafka.security import check_certificates, librdkafka_options
from stream.errors import UsageError
from stream.service_settings import Kafka

PROBE_S: Final = 0.2


class LibrdkafkaClient:
    """What a consumer and a producer have in common: the library, how it is opened, and the errors it calls back."""

    def __init__(self, kafka: Kafka) -> None:
        check_certificates(kafka.security)
        self.library = load_library()
        self.kafka = kafka
        self.is_down = False
        """No broker was connected, when last heard of."""
        self.failure: BrokerError | None = None

    def open(self, kind: Callable[[dict[str, Any]], Any], options: Mapping[str, Any]) -> Any:
        """Return a client of a kind; raises :class:`BrokerError` where no broker answers in time or it refuses us."""
        common = {
            "bootstrap.servers": ",".join(self.kafka.bootstrap_servers),
            "reconnect.backoff.max.ms": 1_000,
            "socket.keepalive.enable": True,
            "socket.timeout.ms": 15_000,
            "allow.auto.create.topics": False,
            "error_cb": self.note,
            "logger": contact.keep_quiet("confluent_kafka"),
            **librdkafka_options(self.kafka.security),
        }
        try:
            client = kind(common | dict(options))
        except self.library.KafkaException as error:
            raise UsageError(f"librdkafka does not take the settings in kafka: {error.args[0].str()}") from error
        deadline = time.monotonic() + contact.FIRST_CONTACT_S
        while True:
            try:
                client.cluster_id(timeout=PROBE_S)
                return client
            except self.library.KafkaException:
                client.poll(0)  # lets it call back
                if self.failure or time.monotonic() > deadline:
                    client.close()
                    raise self.failure or contact.unreachable(self.kafka) from None

    def note(self, error: Any) -> None:
        """Take an error that concerns no single record; most are about one connection, and are retried."""
        code, codes = error.code(), self.library.KafkaError
        if code == codes._ALL_BROKERS_DOWN:
            self.is_down = True
        elif code == codes._AUTHENTICATION or code in self._forbidden() or error.fatal() or code == codes._FATAL:
            self.failure = self.failure or self.explain(error, f"to work on {', '.join(self.kafka.topics)}")

    def explain(self, error: Any, what: str) -> BrokerError:
        """Return the one line for an error; ``what`` was asked, as in ``"to read clicks"``."""
        code, codes = error.code(), self.library.KafkaError
        if code in (codes._AUTHENTICATION, codes.SASL_AUTHENTICATION_FAILED, codes.UNSUPPORTED_SASL_MECHANISM):
            return contact.wrong_credentials(self.kafka)
        if code in self._forbidden():
            return contact.not_allowed(self.kafka, what)
        if code in (codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_TOPIC, codes._UNKNOWN_PARTITION):
            return contact.unusable(self.kafka, f"asked {what}, it knows no such topic or partition")
        if error.retriable() or code in (codes._TRANSPORT, codes._TIMED_OUT, codes._ALL_BROKERS_DOWN):
            return contact.unreachable(self.kafka)
        return contact.unusable(self.kafka, f"asked {what}, it says {error.str()}")

    def _forbidden(self) -> tuple[int, ...]:
        codes = self.library.KafkaError
        return (
            codes.TOPIC_AUTHORIZATION_FAILED,
            codes.GROUP_AUTHORIZATION_FAILED,
            codes.CLUSTER_AUTHORIZATION_FAILED,
        )


def load_library() -> Any:
    """Return the package confluent_kafka; raises :class:`UsageError` where it is not installed."""
    try:
        import confluent_kafka
    except ImportError as error:
        raise UsageError(
            "kafka.client = librdkafka needs a package that is not installed: pip install 'scall-stream[librdkafka]'"
        ) from error
    return confluent_kafka


def run_aside(call: Callable[[], object], timeout_s: float) -> None:
    """Call something that blocks for as long as it likes, but wait for ``timeout_s`` only."""
    thread = Thread(target=call, name="librdkafka", daemon=True)
    thread.start()
    thread.join(timeout_s)


def consumer_options(kafka: Kafka, instance: str | None) -> dict[str, Any]:
    """Return the options of a consumer; ``instance`` makes it a static member."""
    session_timeout_ms = round(kafka.session_timeout_s * 1000)
    static = {"group.instance.id": instance} if instance else {}
    return static | {
        "group.id": kafka.group,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_timeout_ms,
        "heartbeat.interval.ms": min(3_000, session_timeout_ms // 3),
        "max.poll.interval.ms": max(300_000, round(2_000 * kafka.drain_timeout_s)),
        "topic.metadata.refresh.interval.ms": round(kafka.new_partitions_s * 1000),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.max.bytes": 2**23,
        "max.partition.fetch.bytes": 2**21,
        "queued.max.messages.kbytes": 2**14,
        # What is assigned or sought anew is fetched only when the request before it is answered.
        "fetch.wait.max.ms": 100,
        # While the queue is full; the default, a second, lets it run empty.
        "fetch.queue.backoff.ms": 5,
    }
