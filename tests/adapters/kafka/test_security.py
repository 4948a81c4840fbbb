import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from stream.adapters.kafka import contact
from stream.adapters.kafka.security import check_certificates, kafka_python_options, librdkafka_options
from stream.errors import UsageError
from stream.service_settings import Kafka, Security

EVERYTHING = Security(
    protocol="SASL_SSL",
    mechanism="SCRAM-SHA-512",
    username="scall",
    password="a secret",
    ca_file="ca.pem",
    certificate_file="client.pem",
    key_file="client.key",
    key_password="another secret",
    check_hostname=False,
)
KAFKA = Kafka(bootstrap_servers=("one:9092", "two:9092"), topics=("clicks",), group="scall", security=EVERYTHING)


def test_kafka_python_is_told_everything() -> None:
    assert kafka_python_options(EVERYTHING) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "scall",
        "sasl_plain_password": "a secret",
        "ssl_cafile": "ca.pem",
        "ssl_certfile": "client.pem",
        "ssl_keyfile": "client.key",
        "ssl_password": "another secret",
        "ssl_check_hostname": False,
    }


def test_librdkafka_is_told_everything() -> None:
    assert librdkafka_options(EVERYTHING) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "scall",
        "sasl.password": "a secret",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "client.pem",
        "ssl.key.location": "client.key",
        "ssl.key.password": "another secret",
        "ssl.endpoint.identification.algorithm": "none",
    }


def test_what_is_not_set_is_left_to_the_libraries() -> None:
    assert kafka_python_options(Security()) == {"security_protocol": "PLAINTEXT"}
    assert librdkafka_options(Security()) == {"security.protocol": "PLAINTEXT"}


def test_both_libraries_take_the_names_of_all_options() -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

    for client in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
        assert kafka_python_options(EVERYTHING).keys() <= client.DEFAULT_CONFIG.keys()
    plain = Security(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="scall", password="a secret")
    confluent_kafka.Producer(librdkafka_options(plain) | librdkafka_options(Security(check_hostname=False))).close()


def test_certificates_that_are_not_there_are_named() -> None:
    with pytest.raises(UsageError, match=r"kafka\.security\.ca_file: nowhere\.pem"):
        check_certificates(Security(protocol="SSL", ca_file="nowhere.pem"))
    with pytest.raises(UsageError, match=r"client\.pem .* client\.key"):
        check_certificates(Security(protocol="SSL", certificate_file="client.pem", key_file="client.key"))


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing to trust")
    with pytest.raises(UsageError, match=r"empty\.pem holds no certificates"):
        check_certificates(Security(protocol="SSL", ca_file=str(empty)))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates: install openssl")
def test_a_key_that_its_password_does_not_open_is_named_without_the_password(tmp_path: Path) -> None:
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-subj", "/CN=scall", "-passout", "pass:right one"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    settings = {"protocol": "SSL", "certificate_file": str(certificate), "key_file": str(key)}
    check_certificates(Security(**settings, key_password="right one"))
    for wrong in ("wrong one", None):
        with pytest.raises(UsageError, match=r"client\.key, or key_password does not open it") as caught:
            check_certificates(Security(**settings, key_password=wrong))
        assert "wrong one" not in str(caught.value)


def test_no_refusal_shows_a_secret_and_each_is_one_line_that_names_the_servers() -> None:
    refusals = [
        contact.unreachable(KAFKA),
        contact.wrong_credentials(KAFKA),
        contact.not_allowed(KAFKA, "to read clicks"),
        contact.no_such_topic(KAFKA, ["clicks", "views"]),
        contact.unusable(KAFKA, "some\nlong reason"),
    ]
    for text in map(str, refusals):
        assert "one:9092, two:9092" in text
        assert "\n" not in text
        assert "secret" not in text


def test_a_place_that_was_taken_is_named_with_its_group() -> None:
    assert "place of me in group scall" in str(contact.place_taken(KAFKA, "me"))


@pytest.mark.parametrize("codec", ["snappy", "lz4", "zstd"])
def test_a_codec_that_is_missing_is_named_with_its_package(codec: str) -> None:
    text = str(contact.no_codec("clicks", f"Libraries for {codec} compression codec not found"))
    assert text.endswith(f"pip install {contact.CODEC_PACKAGES[codec]}")


def test_a_codec_that_nobody_knows_is_told_as_it_is() -> None:
    assert "Unrecognized compression type: 7" in str(contact.no_codec("clicks", "Unrecognized compression type: 7"))


def test_a_library_is_silent_unless_someone_wants_to_hear_it_and_never_says_everything() -> None:
    levels = {logging.NOTSET: contact.SILENT, logging.WARNING: logging.WARNING, logging.DEBUG: logging.INFO}
    theirs = logging.getLogger("some.library")
    for before, after in levels.items():
        theirs.setLevel(before)
        assert contact.keep_quiet("some.library").level == after
    contact.keep_quiet("some.library")
    assert theirs.level == logging.INFO


def test_a_broker_that_goes_and_comes_is_told_once_each(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(contact.time, "monotonic", lambda: now)
    seen = contact.Contact(KAFKA)
    for now, answers in [
        (101, False),
        (102, True),
        (103, False),
        (104.1, False),
        (105, False),
        (110, True),
        (111, True),
    ]:
        seen.note(answers=answers)
        told = len(caplog.records)
        assert told == (0 if now < 104.1 else 1 if now < 110 else 2)
    assert [record.getMessage() for record in caplog.records] == [
        "no broker answers at one:9092, two:9092; waiting for it",
        "the broker at one:9092, two:9092 is back",
    ]
