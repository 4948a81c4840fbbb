"""A tape gives what its source gave, from anywhere, as often as one likes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulators.synthetic import open_world
from simulators.tape import Tape
from stream.assembly import build_trainer
from stream.config import make_settings
from stream.core.event import Poll
from stream.ports import Source
from tests.doubles import Listed, Record

RECORDS: list[Record] = [None if i % 5 == 3 else (f"u{i % 4}", f"i{i % 3}", 1000 * i) for i in range(17)]


def everything(source: Source) -> list[tuple[Any, ...]]:
    """All events and rejections, by offset."""
    seen: list[tuple[Any, ...]] = []
    while (poll := source.poll()) is not None:
        seen += list(zip(*(column.tolist() for column in columns_of(poll)), strict=True))
        seen += [(rejection.offset, rejection.reason) for rejection in poll.rejections]
    return sorted(seen, key=lambda row: int(row[0]))


def columns_of(poll: Poll) -> list[Any]:
    events = poll.events
    ids = np.array(
        [
            bytes(events.item_data[start : start + length])
            for start, length in zip(events.item_start, events.item_length, strict=True)
        ]
    )
    return [events.offset, events.user, events.item, events.timestamp_ms, events.weight, ids]


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 6), max_size=5), begin=st.integers(0, 20))
@example(lengths=[3], begin=4)
def test_a_tape_gives_what_its_source_gives_from_any_position(lengths: list[int], begin: int) -> None:
    tape, source = Tape.record(Listed(RECORDS, lengths)), Listed(RECORDS, lengths)
    assert (tape.name, tape.num_records) == (source.name, source.num_records)
    for position in (begin, 0, begin):
        tape.seek({0: position})
        source.seek({0: position})
        assert everything(tape) == everything(source)
        assert tape.poll() is None


def test_readers_of_one_tape_do_not_disturb_each_other() -> None:
    tape = Tape.record(Listed(RECORDS, [5, 5]))
    assert tape.poll() is not None
    other = tape.reopened()
    assert everything(other) == everything(Listed(RECORDS))
    assert everything(tape) == everything(Listed(RECORDS))[5:]


@pytest.mark.parametrize("words", [1, 4, 16])
def test_the_budget_for_a_size_gives_everyone_that_size_and_hardly_more(words: int) -> None:
    tape = Tape.record(open_world("stationary", seed=1, limit=8_000))
    trainer = build_trainer(make_settings({**tape.sized_for(words), "sizes.user_min": 0, "sizes.item_min": 0}))
    poll = tape.poll()
    assert poll is not None
    reached = 0
    while reached < poll.events.num_events:
        # Newcomers get the largest size until the first plan.
        trainer.resize(trainer.decision)
        reached, *_ = trainer.recommender.learn(poll.events, reached, poll.events.num_events, max_new=1 << 40)
    payload = sum(trainer.recommender.split_words(0.5).values())
    entities = trainer.recommender.num_users + trainer.recommender.num_items
    assert words <= payload / entities < words + 1.5
