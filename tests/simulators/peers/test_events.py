"""What all models are tested on: numbers, known items, taken pairs and gaps, against a naive walk."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.peers.events import GAPS, gather
from stream.assembly import build_trainer
from stream.config import make_settings
from tests.doubles import Listed, Record

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([0, 999, 3_599_000, 3_600_000, -5000])),
    max_size=40,
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(ROWS, st.lists(st.integers(1, 6), max_size=6), st.booleans())
def test_the_columns_are_those_of_a_naive_walk(
    rows: list[tuple[int, int, int]], polls: list[int], learn_late: bool
) -> None:
    now, records = 10**9, list[Record]()
    for user, item, gap_ms in rows:
        now += gap_ms
        records.append((f"u{user}", f"i{item}", now))
    late = {"windows.learn_late": learn_late, "evaluation.sample": 0.5, "windows.max_future_jump_s": 10**9}
    stream = gather(Listed(records, polls), build_trainer(make_settings(late)).sort)

    latest, users, items = -1, list[str](), list[str]()
    clocks, pairs, index = dict[str, int](), set[tuple[str, str]](), 0
    for record in records:
        assert record is not None
        user_id, item_id, time_ms = record
        if time_ms < latest and not learn_late:
            continue
        latest = max(latest, time_ms)
        assert stream.num_known[index] == len(items)
        assert stream.first_sight[index] == (item_id not in items)
        users += [user_id] if user_id not in users else []
        items += [item_id] if item_id not in items else []
        assert stream.events.user[index] == users.index(user_id)
        assert stream.events.item[index] == items.index(item_id)
        assert stream.is_taken[index] == ((user_id, item_id) in pairs)
        pairs.add((user_id, item_id))
        last_s = clocks.get(user_id)
        expected = "first" if last_s is None else "under_1h" if time_ms // 1000 - last_s < 3600 else "over_1h"
        assert GAPS[stream.gap[index]] == expected
        clocks[user_id] = max(time_ms // 1000, clocks.get(user_id, 0))
        index += 1
    assert (index, len(users), len(items)) == (stream.events.num_events, len(stream.user_key), stream.num_items)
    assert set(stream.tested.tolist()) <= set(range(index))


def test_the_tested_events_are_those_of_the_loop_however_the_stream_is_polled() -> None:
    records: list[Record] = [(f"u{i % 5}", f"i{i % 7}", 1000 * i) for i in range(400)]
    some = make_settings({"evaluation.sample": 0.2, "seed": 3})
    once = gather(Listed(records), build_trainer(some).sort)
    often = gather(Listed(records, [13] * 30), build_trainer(some).sort)
    poll = Listed(records).poll()
    assert poll is not None
    expected = build_trainer(some).sort(poll, Listed(records).origin).tested
    assert 40 < len(expected) < 120
    np.testing.assert_array_equal(once.tested, expected)
    np.testing.assert_array_equal(often.tested, expected)
