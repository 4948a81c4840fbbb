"""Questions and requests about topics and groups, by kafka-python's administrator; and how its clients are opened."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaError,
    NoError,
    RetriableError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from stream.adapters.kafka import contact
from stream.adapters.kafka.client import BrokerError
from stream.adapters.kafka.security import check_certificates, kafka_python_options
from stream.service_settings import Kafka

WRONG_CREDENTIALS: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, IllegalSaslStateError)
MAX_HANG_UPS: Final = 3

Client = TypeVar("Client")


class Connection(Generic[Client]):
    """One of kafka-python's clients, opened with our settings, and what runs beneath it.

    ``open_client`` is its class, ``options`` are its keyword arguments beside addresses and security. Raises
    :class:`BrokerError` where no broker answers within ``timeout_s`` or the broker refuses us.
    """

    def __init__(
        self, open_client: Callable[..., Client], kafka: Kafka, timeout_s: float | None = None, **options: Any
    ) -> None:
        contact.keep_quiet("kafka")
        check_certificates(kafka.security)
        self._net: KafkaNetClient | None = None
        try:
            self.client = open_client(
                bootstrap_servers=list(kafka.bootstrap_servers),
                bootstrap_timeout_ms=round(1000 * (contact.FIRST_CONTACT_S if timeout_s is None else timeout_s)),
                reconnect_backoff_max_ms=1_000,
                kafka_client=self._open_net,
                **kafka_python_options(kafka.security),
                **options,
            )
        except KafkaError as error:
            self.abandon()
            raise explain(error, kafka, "to connect") from error
        except BaseException:
            self.abandon()
            raise

    def _open_net(self, **options: Any) -> KafkaNetClient:
        self.loop = NetworkSelector(**options)
        self._connections = _Connections(self.loop, **options)
        self._net = KafkaNetClient(net=self.loop, manager=self._connections, **options)
        # The clients do not pass this one on, and would ask the broker to create topics that they miss.
        self._net.cluster.config["allow_auto_create_topics"] = False
        return self._net

    def abandon(self) -> None:
        """Close sockets and the thread beneath a client that could not be opened or closed in good order."""
        if self._net:
            self._net.close()

    def has_contact(self) -> bool:
        """Return whether a broker is connected now."""
        assert self._net
        return any(self._net.connected(broker.node_id) for broker in self._net.cluster.brokers())

    @property
    def refusal(self) -> KafkaError | None:
        """What the broker said when it refused our credentials."""
        return self._connections.refusal

    def ask_for_topics(self) -> None:
        """Have it asked soon which topics there are."""
        assert self._net
        self._net.cluster.request_update()

    def num_partitions(self, topic: str) -> int | None:
        """Return how many partitions a topic has, as last heard; None where it was not heard of."""
        assert self._net
        partitions = self._net.cluster.partitions_for_topic(topic)
        return None if partitions is None else len(partitions)


def explain(error: KafkaError, kafka: Kafka, what: str) -> BrokerError:
    """Return the one line for an error of kafka-python; ``what`` was asked, as in ``"to read clicks"``."""
    if isinstance(error, WRONG_CREDENTIALS):
        return contact.wrong_credentials(kafka)
    if isinstance(error, AuthorizationError):
        return contact.not_allowed(kafka, what)
    if isinstance(error, RetriableError):
        return contact.unreachable(kafka)
    # Its own text quotes whole requests and responses.
    return contact.unusable(kafka, f"asked {what}, it says {getattr(error, 'description', None) or error}")


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Remembers that our credentials were refused, for the library takes that for a connection that failed."""

    refusal: KafkaError | None = None
    _num_hang_ups = 0

    def get_connection(self, node_id: object, **options: Any) -> KafkaConnection:
        if self.refusal and not self.bootstrapped:
            raise self.refusal
        connection = super().get_connection(node_id, **options)
        if connection.initializing:
            connection.init_future.add_errback(self._note, connection)
        return connection

    def _note(self, connection: KafkaConnection, error: Exception) -> None:
        if isinstance(error, WRONG_CREDENTIALS):
            self.refusal = error
        # The broker's refusal often comes together with the end of the connection, and then the library loses it.
        is_made = connection.parser is not None and connection.broker_version_data is not None
        if is_made and connection.sasl_enabled and not self.bootstrapped:
            self._num_hang_ups += 1
            if self._num_hang_ups == MAX_HANG_UPS:
                self.refusal = SaslAuthenticationFailedError("the broker hangs up")


@contextmanager
def _administrator(kafka: Kafka, what: str, timeout_s: float | None = None) -> Iterator[KafkaAdminClient]:
    timeout_s = contact.FIRST_CONTACT_S if timeout_s is None else timeout_s
    client = Connection(KafkaAdminClient, kafka, timeout_s, request_timeout_ms=round(1000 * timeout_s)).client
    try:
        yield client
    except KafkaError as error:
        raise explain(error, kafka, what) from error
    finally:
        client.close()


def can_connect(kafka: Kafka, timeout_s: float) -> bool:
    """Return whether a new client finds a broker within ``timeout_s``."""
    try:
        with _administrator(kafka, "to connect", timeout_s):
            return True
    except BrokerError:
        return False


def count_partitions(kafka: Kafka, topics: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each of the topics has; those that do not exist are left out.

    Raises :class:`BrokerError` where the broker cannot be reached or does not let us see a topic.
    """
    with _administrator(kafka, "to describe topics") as client:
        described = client.describe_topics(list(topics))
    counts = {}
    for topic in described:
        error = for_code(topic["error_code"])
        if error is TopicAuthorizationFailedError:
            raise contact.not_allowed(kafka, f"to see topic {topic['name']}")
        if error is NoError:
            counts[topic["name"]] = len(topic["partitions"])
    return counts


def missing_topics(kafka: Kafka, topics: Iterable[str]) -> list[str]:
    """Return those of the topics that do not exist, sorted; raises :class:`BrokerError` as :func:`count_partitions`."""
    return sorted(set(topics) - count_partitions(kafka, topics).keys())


def require_topics(kafka: Kafka, topics: Iterable[str]) -> dict[str, int]:
    """Return how many partitions each of the topics has; raises :class:`BrokerError` where one does not exist."""
    counts = count_partitions(kafka, topics)
    if missing := set(topics) - counts.keys():
        raise contact.no_such_topic(kafka, missing)
    return counts


def ensure_topic(kafka: Kafka, topic: str, partitions: int = 1) -> bool:
    """Create a topic with the broker's usual replication if it is missing; return whether it was.

    Raises :class:`BrokerError` where that is not allowed.
    """
    if topic in count_partitions(kafka, [topic]):
        return False
    new = {topic: {"num_partitions": partitions, "replication_factor": -1}}
    with _administrator(kafka, f"to create topic {topic} (or create it beforehand)") as client:
        try:
            client.create_topics(new, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return False
    return True


def leave_group(kafka: Kafka, instance: str, member: str, timeout_s: float) -> None:
    """Give up the place of a static member, which closing keeps, so that others need not wait for its time-out.

    ``member`` is the id that the broker gave it: another process that took the place stays in. Failing is no error.
    """
    try:
        with _administrator(kafka, "to leave the group", timeout_s) as client:
            client.remove_group_members(kafka.group, [MemberToRemove(member_id=member, group_instance_id=instance)])
    except BrokerError as error:
        contact.logger.info("%s stays in group %s for its session time-out: %s", instance, kafka.group, error)


def holder_of(kafka: Kafka, instance: str, timeout_s: float) -> str | None:
    """Return the id of the group's member that has a static member's place; None where nobody has it.

    Raises :class:`BrokerError` where the broker does not answer.
    """
    with _administrator(kafka, f"to describe group {kafka.group}", timeout_s) as client:
        members = client.describe_groups([kafka.group])[kafka.group]["members"]
    return next((member["member_id"] for member in members if member["group_instance_id"] == instance), None)
