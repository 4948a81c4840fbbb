"""Records of dead letters are written again once, whoever asks and whenever it stops."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.adapters.kafka.client import BrokerError, ProducedRecord
from stream.adapters.kafka.letters import Letter, TopicRecord, shortened, write_letter
from stream.adapters.kafka.refeed import Addressed, Refed, refeed
from stream.core.event import Origin, Record, Rejection
from stream.ports import Position

NAME = "scall.dead-letters"


def letter(
    offset: int, reason: str = "malformed row", group: str = "scall", topic: str = "clicks", time_ms: int = 7
) -> ProducedRecord:
    origin = Origin("", Record(topic, 3, time_ms, b"u7", b"{%d" % offset))
    return write_letter(Rejection(0, offset, origin, reason, "{"), group)


class Cluster:
    """A dead-letter topic of one partition, and what was written to other topics; transactions fail when told to."""

    def __init__(self, *letters: ProducedRecord) -> None:
        self.records: list[TopicRecord] = []
        self.elsewhere: list[Addressed] = []
        self.transactions_left: int | None = None
        for one in letters:
            self.append(one)

    def append(self, record: ProducedRecord) -> None:
        key, value, headers, _ = record
        self.records.append(TopicRecord(0, len(self.records), 1, key, value, tuple(headers)))

    def ends(self) -> Position:
        return {0: len(self.records)}

    def read(self, begin: Position) -> Iterator[TopicRecord]:
        yield from self.records[begin.get(0, 0) :]

    def close(self) -> None: ...

    def write(self, records: Sequence[Addressed]) -> None:
        if self.transactions_left is not None:
            self.transactions_left -= 1
            if self.transactions_left < 0:
                raise BrokerError("the broker is gone")
        for one in records:
            if one.topic == NAME:
                assert one.partition == 0, "a note stands where its letter stands"
                self.append(one.record)
            else:
                self.elsewhere.append(one)

    def refeed(
        self,
        *,
        reason: str | None = None,
        group: str | None = "scall",
        topic: str | None = None,
        again: bool = False,
    ) -> Refed:
        def is_chosen(one: Letter) -> bool:
            return reason in (None, one.reason) and group in (None, one.group)

        return refeed(self, self, NAME, is_chosen=is_chosen, topic=topic, again=again)

    def values(self) -> list[bytes | None]:
        return [one.record.value for one in self.elsewhere]


def test_a_record_goes_back_as_it_was_to_where_it_came_from() -> None:
    cluster = Cluster(letter(12))
    assert cluster.refeed().written == {"clicks": 1}
    record = ProducedRecord(b"u7", b"{12", [("scall-refed-from", b"scall.dead-letters-0@0")], 7)
    assert cluster.elsewhere == [Addressed("clicks", 3, record)]


def test_a_record_without_a_time_gets_the_time_of_writing() -> None:
    cluster = Cluster(letter(12, time_ms=-1))
    cluster.refeed()
    assert cluster.elsewhere[0].record.timestamp_ms is None


def test_another_topic_may_be_its_destination_where_its_key_says_the_partition() -> None:
    cluster = Cluster(letter(12))
    assert cluster.refeed(topic="mended").written == {"mended": 1}
    assert [(one.topic, one.partition) for one in cluster.elsewhere] == [("mended", None)]
    assert cluster.refeed().num_before == 1


def test_what_was_written_again_is_not_written_a_third_time_unless_asked_for() -> None:
    cluster = Cluster(letter(1), letter(2))
    cluster.refeed()
    cluster.append(letter(3))
    refed = cluster.refeed()
    assert (refed.written, refed.num_before) == ({"clicks": 1}, 2)
    assert cluster.values() == [b"{1", b"{2", b"{3"]
    assert cluster.refeed(again=True).written == {"clicks": 3}
    assert cluster.refeed().written == {}


def test_one_reason_neither_hides_nor_repeats_the_others() -> None:
    cluster = Cluster(letter(1, "late event"), letter(2, "tombstone"), letter(3, "late event"))
    assert cluster.refeed(reason="tombstone").written == {"clicks": 1}
    assert cluster.refeed(reason="late event").written == {"clicks": 2}
    assert cluster.refeed().num_before == 3
    assert cluster.values() == [b"{2", b"{1", b"{3"]


def test_only_the_letters_of_the_group_are_written_again() -> None:
    cluster = Cluster(letter(1), letter(2, group="another"), ProducedRecord(b"not", b"a letter"))
    cluster.refeed()
    assert cluster.values() == [b"{1"]


def test_a_record_that_two_groups_set_aside_is_written_again_once() -> None:
    cluster = Cluster(letter(1), letter(1, group="another"), letter(2), letter(2, group="another"))
    cluster.refeed(reason="malformed row")
    assert cluster.refeed(group="another").written == {}
    assert Cluster(*[letter(1), letter(1, group="another")]).refeed(group=None).written == {"clicks": 1}


def test_a_letter_that_was_cut_is_left_out_and_told() -> None:
    cluster = Cluster(letter(1), *shortened(letter(2)))
    refed = cluster.refeed()
    assert (refed.written, refed.cut) == ({"clicks": 1}, ["0:1", "0:2"])


@given(
    reasons=st.lists(st.sampled_from("abc"), max_size=1_200),
    asked=st.lists(st.tuples(st.sampled_from("abc") | st.none(), st.integers(0, 3)), max_size=6),
)
def test_every_record_is_written_again_once_however_often_it_is_interrupted(
    reasons: list[str], asked: list[tuple[str | None, int]]
) -> None:
    cluster = Cluster(*(letter(offset, reason) for offset, reason in enumerate(reasons)))
    for reason, num_transactions in asked:
        cluster.transactions_left = num_transactions
        try:
            cluster.refeed(reason=reason)
        except BrokerError:
            assert cluster.transactions_left < 0
    cluster.transactions_left = None
    cluster.refeed()
    assert Counter(cluster.values()) == Counter(b"{%d" % offset for offset in range(len(reasons)))


def test_a_transaction_holds_no_more_than_some_letters_and_bytes() -> None:
    cluster = Cluster(*(letter(offset) for offset in range(1_001)))
    cluster.transactions_left = 2
    with pytest.raises(BrokerError):
        cluster.refeed()
    assert len(cluster.elsewhere) == 1_000
    origin = Origin("", Record("clicks", 0, 7, None, b"x" * 5_000_000))
    cluster = Cluster(*(write_letter(Rejection(0, offset, origin, "late", ""), "scall") for offset in range(5)))
    cluster.transactions_left = 2
    with pytest.raises(BrokerError):
        cluster.refeed()
    assert len(cluster.elsewhere) == 4
