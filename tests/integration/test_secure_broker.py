"""Both client libraries against a broker that asks who is there: passwords, certificates and rights."""

import gc
import logging
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from stream.adapters.kafka import contact
from stream.adapters.kafka.client import BrokerError, GroupConsumer, ProducedRecord, Producer, Start, TopicPartition
from stream.adapters.kafka.kafka_python import KafkaPythonConsumer, KafkaPythonProducer
from stream.adapters.kafka.librdkafka import LibrdkafkaConsumer, LibrdkafkaProducer
from stream.service_settings import Kafka, Security
from tests.integration.broker import NoKafkaError, OwnBroker, running_broker

PASSWORD = "the-right-pass-word"
WRONG = "a-wrong-pass-word"
KEY_PASSWORD = "opens-the-key"
PATIENCE_S = 30

USERS = "".join(f' user_{name}="{PASSWORD}"' for name in ("scall", "guest"))
PROPERTIES = {
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
        f"org.apache.kafka.common.security.plain.PlainLoginModule required{USERS};"
    ),
    "ssl.client.auth": "required",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS;User:scall;User:CN=client",
}


class Library(NamedTuple):
    """What a client library is used by."""

    consumer: type[KafkaPythonConsumer | LibrdkafkaConsumer]
    producer: type[KafkaPythonProducer | LibrdkafkaProducer]


LIBRARIES = {
    "kafka-python": Library(KafkaPythonConsumer, KafkaPythonProducer),
    "librdkafka": Library(LibrdkafkaConsumer, LibrdkafkaProducer),
}


class FromTheBeginning:
    """Answers rebalances."""

    def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int | Start]:
        return dict.fromkeys(partitions, Start.EARLIEST)

    def revoked(self, partitions: frozenset[TopicPartition]) -> None: ...

    def lost(self, partitions: frozenset[TopicPartition]) -> None: ...


class Certificates(NamedTuple):
    """Files in PEM."""

    authority: Path
    stranger: Path
    """An authority that nobody here is certified by."""
    server: Path
    """Key and certificate."""
    client: Path
    client_key: Path


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


def make_certificates(folder: Path) -> Certificates:
    """Make an authority, and certify a server at 127.0.0.1 and a client; keys are of elliptic curves, for speed."""
    if shutil.which("openssl") is None:
        pytest.skip("no certificates: install openssl")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    for name in ("authority", "stranger"):
        files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        openssl("req", "-x509", *new_key, "-nodes", "-days", 2, "-subj", f"/CN={name}", *files)
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, secret in (("server", ("-nodes",)), ("client", ("-passout", f"pass:{KEY_PASSWORD}"))):
        key, request, certificate = (folder / f"{name}.{kind}" for kind in ("key", "request", "pem"))
        openssl("req", *new_key, *secret, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        authority = ("-CA", folder / "authority.pem", "-CAkey", folder / "authority.key", "-CAcreateserial")
        extensions = ("-extfile", folder / "extensions")
        openssl("x509", "-req", "-in", request, *authority, *extensions, "-days", 2, "-out", certificate)
    store = folder / "server-store.pem"
    store.write_text((folder / "server.key").read_text() + (folder / "server.pem").read_text())
    return Certificates(
        folder / "authority.pem", folder / "stranger.pem", store, folder / "client.pem", folder / "client.key"
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[OwnBroker]:
    folder = tmp_path_factory.mktemp("secure")
    stores = {"ssl.keystore.location": certificates.server, "ssl.truststore.location": certificates.authority}
    try:
        with running_broker(folder, PROPERTIES | stores, ("SASL_PLAINTEXT", "SSL")) as broker:
            yield broker
    except NoKafkaError as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    return LIBRARIES[request.param]


@pytest.fixture
def topic(secure: OwnBroker) -> str:
    name = f"topic-{uuid4()}"
    secure.create_topic(name)
    return name


def reach(broker: OwnBroker, security: Security, *topics: str) -> Kafka:
    address = broker.address(security.protocol)
    return Kafka(bootstrap_servers=(address,), topics=topics, group=f"group-{uuid4()}", security=security)


def with_password(password: str = PASSWORD, username: str = "scall") -> Security:
    return Security(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username=username, password=password)


def with_certificate(certificates: Certificates, authority: Path | None = None) -> Security:
    return Security(
        protocol="SSL",
        ca_file=str(authority or certificates.authority),
        certificate_file=str(certificates.client),
        key_file=str(certificates.client_key),
        key_password=KEY_PASSWORD,
    )


def write(producer: Producer, topic: str, value: bytes) -> None:
    producer.send(topic, ProducedRecord(None, value))
    assert producer.flush(PATIENCE_S)
    producer.close(1.0)


def read(consumer: GroupConsumer, topic: str) -> bytes | None:
    consumer.subscribe([topic], FromTheBeginning())
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            for chunk in consumer.poll(0.1):
                return chunk.value[0]
    finally:
        consumer.close(5.0)
    raise AssertionError("nothing came")


def test_a_password_lets_in(secure: OwnBroker, topic: str, library: Library) -> None:
    kafka = reach(secure, with_password(), topic)
    write(library.producer(kafka, "writer"), topic, b"secured by a password")
    assert read(library.consumer(kafka, "me"), topic) == b"secured by a password"


def test_a_certificate_lets_in(secure: OwnBroker, certificates: Certificates, topic: str, library: Library) -> None:
    kafka = reach(secure, with_certificate(certificates), topic)
    write(library.producer(kafka, "writer"), topic, b"secured by certificates")
    assert read(library.consumer(kafka, "me"), topic) == b"secured by certificates"


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_a_wrong_password_is_told_in_one_line_and_never_shown(
    secure: OwnBroker,
    library: Library,
    level: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, "scall")
    for name in ("kafka", "confluent_kafka"):
        caplog.set_level(level, name)
    kafka = reach(secure, with_password(WRONG), "clicks")
    texts = []
    for client in (library.consumer, library.producer):
        with pytest.raises(BrokerError, match="refuses our credentials") as caught:
            client(kafka, "me")
        texts.append(str(caught.value))
    for text in texts:
        assert secure.address("SASL_PLAINTEXT") in text
        assert "\n" not in text
    seen = [*texts, caplog.text, *capfd.readouterr(), repr(kafka)]
    assert [text for text in seen if WRONG in text] == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # kafka-python's, of handshakes that fail
def test_a_broker_certified_by_a_stranger_is_not_trusted(
    secure: OwnBroker, certificates: Certificates, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact, "FIRST_CONTACT_S", 1.0)
    kafka = reach(secure, with_certificate(certificates, certificates.stranger), "clicks")
    with pytest.raises(BrokerError, match=r"kafka\.security\.ca_file"):
        library.consumer(kafka, "me")
    gc.collect()


def test_who_does_not_speak_the_brokers_protocol_is_told_which_it_speaks(
    secure: OwnBroker, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact, "FIRST_CONTACT_S", 1.0)
    address = secure.address("SASL_PLAINTEXT")
    kafka = Kafka(bootstrap_servers=(address,), topics=("clicks",), group="scall")
    with pytest.raises(BrokerError, match=r"kafka\.security\.protocol = PLAINTEXT"):
        library.consumer(kafka, "me")


def test_who_has_no_right_to_a_topic_is_told_so(secure: OwnBroker, topic: str, library: Library) -> None:
    kafka = reach(secure, with_password(username="guest"), topic)
    consumer = library.consumer(kafka, "me")
    try:
        with pytest.raises(BrokerError, match=f"does not allow .*{topic}"):
            consumer.subscribe([topic], FromTheBeginning())
    finally:
        consumer.close(5.0)
    producer = library.producer(kafka, "writer")
    with pytest.raises(BrokerError, match="does not allow"):
        write(producer, topic, b"forbidden")
    producer.close(0.1)
