"""What is said of a broker: why it turns us away, that it is gone and that it is back. Libraries themselves keep quiet.

Every refusal is one line with the servers, the thing and the remedy, and never with a credential.
"""

import logging
import time
from collections.abc import Iterable
from typing import Final

from stream.adapters.kafka.client import BrokerError
from stream.service_settings import Kafka

logger = logging.getLogger("scall.kafka")

FIRST_CONTACT_S: Final = 10.0
"""How long a broker may take to answer for the first time; later it is waited for as long as it takes."""

PATIENCE_S: Final = 2.0

SILENT: Final = logging.CRITICAL + 1

CODEC_PACKAGES: Final = {"snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}


class Contact:
    """Logs once that no broker answers, after a moment of patience, and once that one does again.

    >>> contact = Contact(Kafka(bootstrap_servers=("localhost:9092",), topics=("clicks",), group="scall"))
    >>> contact.note(answers=True)
    """

    def __init__(self, kafka: Kafka) -> None:
        self._servers = servers_of(kafka)
        self._heard_at = time.monotonic()
        self._is_lost = False

    def note(self, *, answers: bool) -> None:
        """Note whether a broker answers now; to be told every now and then."""
        now = time.monotonic()
        if answers:
            self._heard_at = now
        if answers and self._is_lost:
            logger.warning("the broker at %s is back", self._servers)
        elif not answers and not self._is_lost and now - self._heard_at > PATIENCE_S:
            logger.warning("no broker answers at %s; waiting for it", self._servers)
        else:
            return
        self._is_lost = not answers


def keep_quiet(library: str) -> logging.Logger:
    """Silence a library's own logger, unless someone set its level, and return it.

    What concerns a user comes as an error or from :class:`Contact`, once; libraries would repeat it every second.
    Below INFO they write requests as they are, passwords and all, so it never goes there.
    """
    theirs = logging.getLogger(library)
    theirs.setLevel(max(theirs.level, logging.INFO) if theirs.level else SILENT)
    return theirs


def servers_of(kafka: Kafka) -> str:
    """Return the addresses that a group of brokers is known by."""
    return ", ".join(kafka.bootstrap_servers)


def unreachable(kafka: Kafka) -> BrokerError:
    """Return what to say where no broker answers."""
    protocol = kafka.security.protocol
    trust = ", and kafka.security.ca_file" if "SSL" in protocol else ""
    return BrokerError(
        f"no broker answers at {servers_of(kafka)}: check kafka.bootstrap_servers and that it runs, that "
        f"kafka.security.protocol = {protocol} is what it speaks there{trust}"
    )


def wrong_credentials(kafka: Kafka) -> BrokerError:
    """Return what to say where the broker does not let us in."""
    return BrokerError(
        f"the broker at {servers_of(kafka)} refuses our credentials: check username, password and mechanism, or the "
        "certificate, in kafka.security"
    )


def not_allowed(kafka: Kafka, what: str) -> BrokerError:
    """Return what to say where the broker knows us but refuses ``what``."""
    return BrokerError(f"the broker at {servers_of(kafka)} does not allow {what}: ask who runs it for the right to")


def no_such_topic(kafka: Kafka, topics: Iterable[str]) -> BrokerError:
    """Return what to say where topics do not exist, or may not be seen."""
    names = ", ".join(sorted(topics))
    return BrokerError(f"the broker at {servers_of(kafka)} has no topic {names}: create it, or correct its name")


def place_taken(kafka: Kafka, instance: str | None) -> BrokerError:
    """Return what to say where another process has joined the group as this one."""
    return BrokerError(
        f"another process took the place of {instance} in group {kafka.group}: only one of them may run, stop the other"
    )


def no_codec(topics: str, complaint: str) -> BrokerError:
    """Return what to say where records are compressed by a codec, named in ``complaint``, that is not installed.

    >>> str(no_codec("clicks", "no libraries for zstd"))
    'records of clicks are compressed with zstd, and nothing unpacks them: pip install zstandard'
    """
    codec = next((codec for codec in CODEC_PACKAGES if codec in complaint), None)
    if codec is None:
        return BrokerError(f"records of {topics} are compressed in an unknown way: {complaint}")
    package = CODEC_PACKAGES[codec]
    return BrokerError(
        f"records of {topics} are compressed with {codec}, and nothing unpacks them: pip install {package}"
    )


def unusable(kafka: Kafka, reason: object) -> BrokerError:
    """Return what to say of any other refusal."""
    return BrokerError(f"the broker at {servers_of(kafka)} cannot be used: {reason}".replace("\n", " "))
