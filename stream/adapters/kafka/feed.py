"""A data set or a world into a topic, as fast as the producer can or at a steady rate."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from stream.adapters.columns import TextColumns
from stream.adapters.kafka.client import BrokerError, Producer, RecordTooLargeError
from stream.adapters.kafka.encoding import encode
from stream.errors import InputError, UsageError

_READ_ROWS: Final = 8192
"""Rows read at once: to read more would hold up the records that are due."""
_MAX_BATCH_ROWS: Final = 1024
_BATCH_S: Final = 0.01
"""A batch is what is due in this time."""
_MAX_LAG_S: Final = 0.04
"""What one is behind by more is not made up for; so a burst is no longer than this and a batch."""
_NAP_S: Final = 0.1
_FLUSHES_AFTER_STOP: Final = 10
"""Seconds the broker is given to acknowledge, when the end was asked for."""


class RowSource(Protocol):
    """What can be fed: a file, a world."""

    def read_rows(self, max_rows: int) -> TextColumns | None:
        """Return the next 1 to ``max_rows`` rows, None at the end."""


def feed(
    source: RowSource,
    producer: Producer,
    topic: str,
    *,
    rate: float | None = None,
    stamp_now: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Write a record for each row, in order, as :func:`encode` says; return how many, all of them acknowledged.

    ``rate`` is in records a second, None as fast as the producer takes them. A delay of up to 50 ms is made up for, a
    longer one is not, so that there are no bursts. ``stamp_now`` gives every event the time of writing. ``progress`` is
    told now and then how many records were handed over. ``should_stop`` is asked between batches and while waiting.

    Raises :class:`UsageError` for a rate not above 0; :class:`InputError` where a file is damaged, once all rows before
    the damage are written; :class:`BrokerError` for a record that the topic refuses, and where the broker does not
    acknowledge in time what it was given before the end was asked for.
    """
    pace = _Pace(rate, should_stop, clock, sleep)
    num_records = 0
    with _refusal_explained(topic):
        try:
            for rows in _batches(source, pace.batch_rows):
                pace.wait(rows.num_rows)
                if should_stop():
                    break
                for record in encode(rows, round(1000 * wall_clock()) if stamp_now else None):
                    producer.send(topic, record)
                num_records += rows.num_rows
                progress(num_records)
        except InputError:
            _flush(producer, topic, should_stop)
            raise
        _flush(producer, topic, should_stop)
    return num_records


class _Pace:
    """A token bucket: says when the next records are due."""

    def __init__(
        self,
        rate: float | None,
        should_stop: Callable[[], bool],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._rate = math.inf if rate is None else rate
        if not self._rate > 0:
            raise UsageError(f"--rate {self._rate:g}: give more than 0 records a second, or leave it out")
        self.batch_rows = math.ceil(min(_MAX_BATCH_ROWS, self._rate * _BATCH_S))
        self._should_stop = should_stop
        self._clock = clock
        self._sleep = sleep
        self._due_s = clock()

    def wait(self, num_records: int) -> None:
        """Sleep until the next ``num_records`` are due, or the end is asked for."""
        while (left_s := self._due_s - self._clock()) > 0 and not self._should_stop():
            # A signal does not end a sleep.
            self._sleep(min(left_s, _NAP_S))
        self._due_s = max(self._due_s, self._clock() - _MAX_LAG_S) + num_records / self._rate


def _batches(source: RowSource, batch_rows: int) -> Iterator[TextColumns]:
    while (rows := source.read_rows(_READ_ROWS)) is not None:
        for begin in range(0, rows.num_rows, batch_rows):
            yield rows.cut(begin, begin + batch_rows)


def _flush(producer: Producer, topic: str, should_stop: Callable[[], bool]) -> None:
    """Wait until all is acknowledged: for as long as it takes, but once the end is asked for, for some seconds."""
    flushes_left = _FLUSHES_AFTER_STOP
    while not producer.flush(1.0):
        flushes_left -= should_stop()
        if flushes_left == 0:
            raise BrokerError(
                f"{topic}: the broker did not acknowledge the last records, which may be lost; "
                f"see that it runs and feed again"
            )


@contextmanager
def _refusal_explained(topic: str) -> Iterator[None]:
    try:
        yield
    except RecordTooLargeError as error:
        raise BrokerError(f"{topic} refuses a record as too large; raise the topic's max.message.bytes") from error
