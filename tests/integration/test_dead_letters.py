"""Dead letters on a real broker: written by either client, recognised after a restart, listed, shown and re-fed."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from stream.adapters.kafka.administration import ensure_topic
from stream.adapters.kafka.client import BrokerError, ProducedRecord, Producer
from stream.adapters.kafka.dead_letters import DeadLetterTopic
from stream.adapters.kafka.kafka_python import KafkaPythonProducer
from stream.adapters.kafka.letters import Letter, TopicRecord, read_letter
from stream.adapters.kafka.librdkafka import LibrdkafkaProducer
from stream.adapters.kafka.refeed import Addressed, TransactionalWriter
from stream.adapters.kafka.topic_reader import TopicReader
from stream.commands import deadletters
from stream.core.event import Origin, Record, Rejection
from stream.errors import InputError, StorageError, UsageError
from stream.service_settings import Kafka
from tests.integration.broker import Broker

TIME_MS = 1_700_000_000_123
MIB = 2**20


class Place(NamedTuple):
    """A group with topics of its own."""

    kafka: Kafka
    config: Path
    clicks: str

    @property
    def dead_letters(self) -> str:
        return f"{self.kafka.group}.dead-letters"

    def rejection(
        self, offset: int, value: bytes | None, reason: str = "malformed row", key: bytes = b"u7"
    ) -> Rejection:
        record = Record(self.clicks, 0, TIME_MS, key, value)
        return Rejection(0, offset, Origin(f"{self.clicks}-0@{offset}", record), reason, "what was found")

    def records(self, topic: str) -> list[TopicRecord]:
        with closing(TopicReader(self.kafka, topic, committed_only=True)) as log:
            return list(log.read({}))

    def letters(self) -> list[Letter]:
        found = (read_letter(record) for record in self.records(self.dead_letters))
        return sorted((letter for letter in found if letter), key=lambda letter: letter.offset)

    def run(self, *arguments: str) -> int:
        parser = argparse.ArgumentParser()
        deadletters.add(parser.add_subparsers())
        options = parser.parse_args(["deadletters", *arguments, "--config", str(self.config)])
        return int(options.command(options))

    @contextmanager
    def writing(self, client: Any = KafkaPythonProducer, *, stopping: bool = False) -> Iterator[DeadLetterTopic]:
        """Give the dead letters as a service has them for a while."""
        producer: Producer = client(self.kafka, "test")
        try:
            with closing(DeadLetterTopic(producer, self.kafka, self.dead_letters, lambda: stopping)) as letters:
                yield letters
        finally:
            producer.close(1.0)


@pytest.fixture
def place(broker: Broker, tmp_path: Path) -> Place:
    """Topics of 4 MiB records to read, and of 1 MiB records for dead letters, in three partitions."""
    clicks, group = f"clicks-{uuid4()}", f"scall-{uuid4()}"
    config = tmp_path / "service.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["{broker.bootstrap}"]\ntopics = ["{clicks}"]\ngroup = "{group}"\n'
        f'[checkpoints]\nfolder = "{tmp_path}"\n'
    )
    kafka = Kafka(bootstrap_servers=(broker.bootstrap,), topics=(clicks,), group=group)
    broker.create_topic(clicks, max_message_bytes=4 * MIB)
    broker.create_topic(f"{group}.dead-letters", 3, max_message_bytes=MIB)
    return Place(kafka, config, clicks)


@pytest.fixture
def filled(place: Place) -> Place:
    """The same with some letters in it, one of them cut."""
    with place.writing(LibrdkafkaProducer) as letters:
        letters.write(
            [
                place.rejection(10, b"{"),
                place.rejection(11, None, "tombstone"),
                place.rejection(12, b"\xff\x00\x1b[31m", "invalid UTF-8", b"\x01"),
                place.rejection(13, os.urandom(2 * MIB)),
                place.rejection(14, '{"user":"\N{SNOWMAN}"}'.encode(), "missing item id"),
            ]
        )
        letters.mark()
    return place


both_clients = pytest.mark.parametrize("client", [KafkaPythonProducer, LibrdkafkaProducer])


@both_clients
def test_large_letters_are_cut_and_all_others_are_whole(place: Place, client: Callable[..., Producer]) -> None:
    sizes = [10, 2 * MIB, 100, 20_000, 3 * MIB, 900_000, 10, 2 * MIB] + [300] * 2_000
    with place.writing(client) as letters:
        letters.rewind({})
        letters.write([place.rejection(i, os.urandom(size), key=b"u%d" % (i % 9)) for i, size in enumerate(sizes)])
        letters.mark()
    found = place.letters()
    assert [letter.offset for letter in found] == list(range(len(sizes)))
    assert [letter.num_bytes - len(letter.record.key or b"") for letter in found] == sizes
    assert [letter.offset for letter in found if letter.value_omitted is not None] == [1, 4, 7]
    assert len({letter.record.partition for letter in found}) == 3


def test_batches_that_a_narrow_topic_refuses_are_sorted_out(broker: Broker, place: Place) -> None:
    narrow = place._replace(
        kafka=Kafka(bootstrap_servers=(broker.bootstrap,), topics=(place.clicks,), group=uuid4().hex)
    )
    broker.create_topic(narrow.dead_letters, max_message_bytes=2_000)
    with narrow.writing(LibrdkafkaProducer) as letters:
        letters.rewind({})
        letters.write([narrow.rejection(i, os.urandom(300 if i % 5 else 4_000)) for i in range(60)])
        letters.mark()
    assert [letter.offset for letter in narrow.letters()] == list(range(60))
    assert [letter.offset for letter in narrow.letters() if letter.value_omitted] == list(range(0, 60, 5))


@both_clients
def test_a_restarted_service_recognises_what_it_wrote(place: Place, client: Callable[..., Producer]) -> None:
    with place.writing(client) as letters:
        assert letters.rewind({}) == {}
        letters.write([place.rejection(i, b"{", "late event", b"u%d" % i) for i in range(100)])
        mark = letters.mark()
        letters.write([place.rejection(i, b"{", "tombstone", b"u%d" % i) for i in range(100, 110)])
        letters.mark()
    assert sum(mark.values()) == 100
    with place.writing(client) as letters:
        assert letters.rewind(mark) == {(0, i): "tombstone" for i in range(100, 110)}
        assert len(letters.rewind({})) == 110


def test_a_transaction_that_hangs_hides_no_letters(place: Place) -> None:
    with closing(TransactionalWriter(place.kafka, place.dead_letters)) as hanging:
        hanging._producer.begin_transaction()
        for partition in range(3):
            hanging._producer.send(place.dead_letters, value=b"of someone else", partition=partition).get(10)
        with place.writing() as letters:
            letters.write([place.rejection(i, b"{", key=b"u%d" % i) for i in range(10)])
            assert sum(letters.mark().values()) == 13
        with place.writing() as letters:
            assert len(letters.rewind({})) == 10


@both_clients
def test_one_who_stops_does_not_wait_for_a_broker_that_hangs(
    broker: Broker, place: Place, client: Callable[..., Producer]
) -> None:
    with place.writing(client, stopping=True) as letters:
        letters.rewind({})
        letters.write([place.rejection(1, b"{")])
        letters.mark()
        broker.pause()
        try:
            letters.write([place.rejection(2, b"{"), place.rejection(3, b"x" * 100_000)])
            with pytest.raises(StorageError, match="does not acknowledge 2 dead letters"):
                letters.mark()
        finally:
            broker.resume()


# The command


def test_letters_are_listed_with_their_reasons_and_sums(filled: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.run("list") == 0
    *rows, both, one, two, three, total = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["place", "reason", "origin", "time", "size", "value", "re-fed"]
    assert len(rows) == 6
    [tombstone] = [row for row in rows if "tombstone" in row]
    assert f"{filled.clicks}-0@11  2023-11-14T22:13:20.123Z  2 B" in tombstone
    assert any(r"\x00\x1b[31m" in row for row in rows), "nothing that a terminal obeys"
    assert both.split() == ["2", "malformed", "row"]
    assert {line.split()[0] for line in (one, two, three)} == {"1"}
    assert total == "5 dead letters"


def test_a_list_can_be_limited_to_a_reason_and_to_the_newest(filled: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.run("list", "--reason", "malformed row", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["origin"], row["value"]) for row in rows] == [
        (f"{filled.clicks}-0@10", "{"),
        (f"{filled.clicks}-0@13", None),
    ]
    assert rows[1]["bytes"] == 2 * MIB + 2
    assert filled.run("list", "--reason", "malformed row", "--limit", "1") == 0
    out = capsys.readouterr().out
    assert f"{filled.clicks}-0@13" in out
    assert f"{filled.clicks}-0@10" not in out
    assert out.endswith("5 dead letters\n"), "sums are of all"


def test_a_letter_is_shown_whole_by_its_place_or_origin(filled: Place, capsys: pytest.CaptureFixture[str]) -> None:
    by_offset = {letter.offset: letter.record.place for letter in filled.letters()}
    assert filled.run("show", by_offset[14]) == 0
    shown = capsys.readouterr().out
    assert "scall-reason     missing item id\n" in shown
    assert f"scall-topic      {filled.clicks}\n" in shown
    assert shown.endswith('key, 2 bytes:\nu7\nvalue, 14 bytes:\n{"user":"\N{SNOWMAN}"}\n')
    assert filled.run("show", f"{filled.clicks}-0@14") == 0
    assert capsys.readouterr().out == shown
    assert filled.run("show", f"{filled.clicks}-0@12") == 0
    assert capsys.readouterr().out.endswith(f"00000000  ff 00 1b 5b 33 31 6d{' ' * 29}...[31m\n")
    assert filled.run("show", by_offset[13]) == 0
    assert f"scall-value-omitted  {2 * MIB}\n" in capsys.readouterr().out


def test_what_is_not_there_is_told_in_one_line(filled: Place) -> None:
    for name in ("0:99", "7:0", f"{filled.clicks}-0@99"):
        with pytest.raises(InputError, match=f"{filled.dead_letters} has no dead letter .*{name}"):
            filled.run("show", name)
    with pytest.raises(UsageError, match="'the last' names no dead letter: give its place"):
        filled.run("show", "the last")
    with pytest.raises(UsageError, match="--limit 0: give at least 1"):
        filled.run("list", "--limit", "0")


@pytest.mark.parametrize("action", [["list"], ["show", "0:1"], ["refeed"]])
def test_a_topic_that_is_not_there_yet_means_no_dead_letters(action: list[str], tmp_path: Path, place: Place) -> None:
    config = tmp_path / "new.toml"
    config.write_text(place.config.read_text().replace(place.kafka.group, "nobody"))
    with pytest.raises(InputError, match=r"no dead letters yet: there is no topic nobody\.dead-letters"):
        place._replace(config=config).run(*action)


def test_an_empty_topic_has_no_dead_letters(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("list") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert place.run("refeed") == 0
    assert capsys.readouterr().out == "nothing to write again\n"


def test_records_are_written_again_once(filled: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert filled.run("refeed", "--dry-run") == 0
    out = capsys.readouterr().out
    assert (
        f"4 records would be written again to {filled.clicks}\n1 letter left out, as too large to be kept whole" in out
    )
    assert filled.records(filled.clicks) == []
    assert filled.run("refeed", "--reason", "tombstone") == 0
    assert filled.run("refeed") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"1 record written again to {filled.clicks}\n3 records written again to {filled.clicks}\n")
    assert "1 letter left out: written again before" in out
    records = {record.value: record for record in filled.records(filled.clicks)}
    assert records.keys() == {b"{", None, b"\xff\x00\x1b[31m", '{"user":"\N{SNOWMAN}"}'.encode()}
    assert {record.timestamp_ms for record in records.values()} == {TIME_MS}
    tombstone = next(letter for letter in filled.letters() if letter.offset == 11)
    origin = f"{filled.dead_letters}-{tombstone.record.partition}@{tombstone.record.offset}".encode()
    assert records[None].headers == (("scall-refed-from", origin),)
    assert records[None].key == b"u7"
    assert filled.run("refeed") == 0
    assert len(filled.records(filled.clicks)) == 4
    assert filled.run("list", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {row["origin"].partition("@")[2]: row["refed"] for row in rows} == {
        "10": True, "11": True, "12": True, "13": False, "14": True,
    }  # fmt: skip
    assert filled.run("refeed", "--again") == 0
    assert len(filled.records(filled.clicks)) == 8
    with filled.writing() as letters:
        assert len(letters.rewind({})) == 5, "notes are no letters"


def test_records_may_be_written_to_another_topic(filled: Place) -> None:
    mended = f"mended-{uuid4()}"
    with pytest.raises(BrokerError, match=f"has no topic {mended}: create it"):
        filled.run("refeed", "--topic", mended)
    ensure_topic(filled.kafka, mended, 2)
    assert filled.run("refeed", "--topic", mended) == 0
    assert len(filled.records(mended)) == 4


def test_all_groups_are_one_where_asked_for(filled: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "another.toml"
    config.write_text(
        filled.config.read_text().replace(filled.kafka.group, "another")
        + f'[dead_letters]\ntopic = "{filled.dead_letters}"\n'
    )
    another = filled._replace(config=config)
    assert another.run("list") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    assert another.run("list", "--all-groups") == 0
    out = capsys.readouterr().out
    assert filled.kafka.group in out
    assert out.endswith("5 dead letters\n")
    assert another.run("refeed") == 0
    assert filled.records(filled.clicks) == []
    assert another.run("refeed", "--all-groups") == 0
    assert len(filled.records(filled.clicks)) == 4


def test_a_record_that_its_topic_refuses_is_not_noted_and_can_be_written_later(broker: Broker, filled: Place) -> None:
    narrow, wide = f"narrow-{uuid4()}", f"wide-{uuid4()}"
    broker.create_topic(narrow, max_message_bytes=100)
    broker.create_topic(wide)
    with filled.writing() as letters:
        letters.write([filled.rejection(20, os.urandom(1_000))])
        letters.mark()
    with pytest.raises(BrokerError, match=f"too large for its topic .*{narrow}.*: raise the topic's max.message.bytes"):
        filled.run("refeed", "--topic", narrow)
    assert filled.records(narrow) == []
    assert filled.run("refeed", "--topic", wide) == 0
    assert len(filled.records(wide)) == 5


def test_a_second_writer_shuts_the_first_one_out(place: Place) -> None:
    record = Addressed(place.clicks, 0, ProducedRecord(b"key", b"value"))
    with closing(TransactionalWriter(place.kafka, place.dead_letters)) as first:
        first.write([record])
        with closing(TransactionalWriter(place.kafka, place.dead_letters)) as second:
            with pytest.raises(BrokerError, match="someone else re-feeds as"):
                first.write([record])
            second.write([record, record])
    assert len(place.records(place.clicks)) == 3


def test_a_transaction_that_fails_leaves_nothing(place: Place) -> None:
    good, bad = (Addressed(place.clicks, 0, ProducedRecord(None, os.urandom(n))) for n in (10, 5 * MIB))
    with (
        closing(TransactionalWriter(place.kafka, place.dead_letters)) as writer,
        pytest.raises(BrokerError, match="too large"),
    ):
        writer.write([good, bad, good])
    with closing(TransactionalWriter(place.kafka, place.dead_letters)) as writer:
        writer.write([good])
    assert [record.value for record in place.records(place.clicks)] == [good.record.value]


def test_a_topic_is_read_from_any_position_to_its_end(place: Place) -> None:
    with place.writing() as letters:
        for i in range(30):
            letters.write([place.rejection(i, b"{", key=b"u%d" % i)])
        ends = letters.mark()
    with closing(TopicReader(place.kafka, place.dead_letters, committed_only=False)) as log:
        assert log.ends() == ends
        assert list(log.read(ends)) == []
        assert len(list(log.read({}))) == 30
        begin = {0: ends[0] - 1, 1: ends[1] + 100}
        found = [(record.partition, record.offset) for record in log.read(begin)]
        assert sorted(found) == [(0, ends[0] - 1), *((p, i) for p in (1, 2) for i in range(ends[p]))]
        next(log.read({}))
        assert len(list(log.read({}))) == 30, "one that was left half read is no harm"
