"""What librdkafka raises where it cannot go on is told in words by who waits for records, and by nobody who closes."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.adapters.kafka.client import BrokerError
from stream.adapters.kafka.librdkafka_client import LibrdkafkaClient
from stream.adapters.kafka.librdkafka_producer import LibrdkafkaProducer
from stream.service_settings import Kafka


class Refused:
    """A producer of the library whose broker has refused it for good; one record is under way."""

    def __init__(self) -> None:
        self.num_purged = self.num_closed = 0

    def flush(self, timeout_s: float) -> int:
        assert timeout_s >= 0
        raise KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no id for the producer", fatal=True))

    def __len__(self) -> int:
        return 1

    def purge(self) -> None:
        self.num_purged += 1

    def close(self) -> None:
        self.num_closed += 1
        self.flush(0)


def test_a_fatal_error_that_a_flush_raises_is_told_in_words_and_closing_goes_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = Refused()
    monkeypatch.setattr(LibrdkafkaClient, "open", lambda *_: refused)
    producer = LibrdkafkaProducer(Kafka(bootstrap_servers=("here:9092",), topics=("clicks",), group="scall"), "writer")
    with pytest.raises(BrokerError, match="does not allow"):
        producer.flush(1.0)
    producer.close(0.1)
    assert (refused.num_purged, refused.num_closed) == (1, 1)
