import socket
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from kafka import KafkaConsumer
from kafka.errors import (
    GroupAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailedError,
)

from stream.adapters.kafka import contact
from stream.adapters.kafka.administration import (
    can_connect,
    count_partitions,
    ensure_topic,
    explain,
    holder_of,
    leave_group,
    missing_topics,
    require_topics,
)
from stream.adapters.kafka.client import BrokerError
from stream.service_settings import Kafka
from tests.integration.broker import Broker

NOWHERE = Kafka(bootstrap_servers=("nowhere:9092",), topics=("clicks",), group="scall")
ANSWER_S = 10.0


def settings(broker: Broker, group: str = "scall") -> Kafka:
    return Kafka(bootstrap_servers=(broker.bootstrap,), topics=("clicks",), group=group)


def new_name() -> str:
    return f"administration-{uuid4()}"


@pytest.fixture
def closed() -> Iterator[Kafka]:
    with socket.socket() as port:  # bound, so that nobody else is there, and not listening
        port.bind(("127.0.0.1", 0))
        yield Kafka(bootstrap_servers=(f"127.0.0.1:{port.getsockname()[1]}",), topics=("clicks",), group="scall")


def test_a_topic_is_created_where_it_is_missing(broker: Broker) -> None:
    topic = new_name()
    assert missing_topics(settings(broker), [topic]) == [topic]
    assert ensure_topic(settings(broker), topic, partitions=3)
    assert not ensure_topic(settings(broker), topic)
    assert count_partitions(settings(broker), [topic]) == {topic: 3}


def test_all_topics_that_are_missing_are_named(broker: Broker) -> None:
    there, first, second = new_name(), "a-" + new_name(), "b-" + new_name()
    broker.create_topic(there)
    assert missing_topics(settings(broker), [second, there, first]) == [first, second]
    with pytest.raises(BrokerError, match=f"no topic {first}, {second}:"):
        require_topics(settings(broker), [second, there, first])
    assert require_topics(settings(broker), [there]) == {there: 1}


def test_a_topic_that_cannot_be_created_is_told_in_one_line(broker: Broker) -> None:
    with pytest.raises(BrokerError, match="to create topic no/name") as caught:
        ensure_topic(settings(broker), "no/name")
    assert "\n" not in str(caught.value)


def test_a_static_member_leaves_and_whoever_took_its_place_stays(broker: Broker) -> None:
    topic, group = new_name(), new_name()
    broker.create_topic(topic)
    member = KafkaConsumer(topic, bootstrap_servers=broker.bootstrap, group_id=group, group_instance_id="me")
    try:
        deadline = time.monotonic() + 30
        while not member.assignment() and time.monotonic() < deadline:
            member.poll(timeout_ms=100)
        place = member.group_metadata().member_id
    finally:
        member.close(autocommit=False)
    kafka = settings(broker, group)
    assert holder_of(kafka, "me", ANSWER_S) == place
    assert holder_of(kafka, "you", ANSWER_S) is None
    leave_group(kafka, "me", "me-but-someone-else", ANSWER_S)
    assert broker.members(group) == 1
    leave_group(kafka, "me", place, ANSWER_S)
    assert broker.members(group) == 0
    assert holder_of(kafka, "me", ANSWER_S) is None


def test_a_broker_that_is_not_there_is_named_and_nothing_stays_open(
    closed: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact, "FIRST_CONTACT_S", 0.5)
    before = threading.active_count()
    with pytest.raises(BrokerError, match=closed.bootstrap_servers[0]):
        missing_topics(closed, ["clicks"])
    assert threading.active_count() == before


def test_leaving_where_no_broker_is_does_no_harm(closed: Kafka) -> None:
    leave_group(closed, "me", "me-1", 0.2)


def test_it_is_known_whether_a_broker_can_be_connected_to(broker: Broker, closed: Kafka) -> None:
    assert can_connect(settings(broker), ANSWER_S)
    assert not can_connect(closed, 0.2)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SaslAuthenticationFailedError("Invalid username or password"), "refuses our credentials"),
        (GroupAuthorizationFailedError("scall"), "does not allow to read clicks"),
        (KafkaConnectionError("Connection refused"), "no broker answers at nowhere:9092"),
        (InvalidTopicError("a whole request"), "asked to read clicks, it says For a request"),
        (KafkaError("of no kind"), "it says KafkaError: of no kind"),
    ],
)
def test_errors_become_one_line_that_says_what_to_do(error: KafkaError, text: str) -> None:
    told = str(explain(error, NOWHERE, "to read clicks"))
    assert text in told
    assert "nowhere:9092" in told
    assert "\n" not in told
