"""The production loop and its peers under SCALL's protocol: what is learnt before a test, and what is answered."""

from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.faults import StillHost
from simulators.nowhere import NoCheckpoints, NoLetters, Silence
from simulators.peers.popularity import Popularity
from simulators.segment_trial import Course, answer, core_in_time, try_loop, try_peer
from simulators.segments import judge
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy
from stream.config import make_settings
from stream.core.event import ITEM, USER, hash_id
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Source
from tests.doubles import Listed, Record

FIRST_MS = 1_700_000_000_000


def records(num: int, seed: int = 1) -> list[Record]:
    """Users of two kinds, who take what their kind likes and more come all the time."""
    rng = np.random.default_rng(seed)
    pairs = dict.fromkeys(
        (int(rng.integers(0, 4 + step // 12)), int(rng.integers(0, 6 + step // 15))) for step in range(4 * num)
    )
    chosen = [(user, item) for user, item in pairs if user % 2 == item % 2][:num]
    return [(f"u{user}", f"i{item}", FIRST_MS + 60_000 * step) for step, (user, item) in enumerate(chosen)]


@pytest.fixture(scope="module")
def course() -> Course:
    return Course.of(Listed(records(300)), 12, seed=1)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)), max_size=20), st.data())
def test_what_is_read_is_the_core_in_the_order_of_time(rows: list[tuple[int, int, int]], data: st.DataObject) -> None:
    listed: list[Record] = [(f"u{user}", f"item {item}", 1000 * second) for user, item, second in rows]
    lengths = data.draw(st.lists(st.integers(0, 7), max_size=4))
    # What cannot be read is left out.
    poll = core_in_time(Listed([*listed, None], lengths), 1).poll()
    assert poll is not None
    events = poll.events
    spans = zip(events.item_start.tolist(), events.item_length.tolist(), strict=True)
    ids = [bytes(events.item_data[start : start + length]).decode() for start, length in spans]
    wanted = sorted((row for row in listed if row is not None), key=lambda row: row[2])
    assert list(zip(events.user.tolist(), ids, events.timestamp_ms.tolist(), strict=True)) == [
        (hash_id(user, USER), item, time_ms) for user, item, time_ms in wanted
    ]
    assert events.item.tolist() == [hash_id(item, ITEM) for _, item, _ in wanted]
    assert events.offset.tolist() == list(range(len(wanted)))


@pytest.mark.parametrize(("num_passes", "replay"), [(1, False), (3, False), (1, True), (2, True)])
def test_a_lesson_is_what_was_tested_last_and_then_what_comes_before_the_next_test(
    course: Course, num_passes: int, replay: bool
) -> None:
    assert len(course.segments) > 3
    lessons = course.lessons(num_passes, replay=replay)
    tested: list[int] = []
    for segment, lesson in zip(course.segments, lessons, strict=True):
        part = [*(segment.reservoir.tolist() if replay else []), *range(segment.begin, segment.cut)]
        assert lesson.tolist() == tested + part * num_passes
        assert lesson.max() < segment.cut, "nothing that is tested has been learnt"
        tested = list(range(segment.cut, segment.end))


def tried(course: Course, num_passes: int = 1, *, replay: bool = False, **values: object) -> list[tuple[float, float]]:
    usual = {"memory.budget_bytes": 60_000, "exclude_seen": True, "windows.learn_late": True, "evaluation.sample": 0}
    under = make_settings({**usual, **values})
    trainer, policy, host = build_trainer(under), build_policy(under), StillHost()

    def loop_of(source: Source) -> Pipeline:
        ports = Ports(source, NoLetters(), NoCheckpoints(), policy, Silence(), host)
        return Pipeline(ports, trainer, {"seed": 1}, {}, Pace(saves=False))

    lessons = course.lessons(num_passes, replay=replay)
    found = try_loop(course, lessons, trainer, loop_of, policy, host.elapsed_s)
    assert found is not None
    trial, report = found
    assert [window.counts.learnt for window in report.windows] == [len(lesson) for lesson in lessons]
    assert report.counts.violations == report.counts.dead_letters == 0
    assert report.peak_bytes <= 60_000
    return [tuple(one) for one in trial.judged[0]]


def test_the_loop_learns_every_lesson_within_its_budget_and_does_so_again(course: Course) -> None:
    once = tried(course)
    assert len(once) == len(course.segments)
    assert np.mean(once) > 0.2
    assert once == tried(course)
    others = [tried(course, 2), tried(course, replay=True)]
    # Before the first test no reservoir has anything in it.
    assert others[1][0] == once[0]
    assert all(other != once for other in others)


def test_an_answer_is_what_service_would_recommend_of_the_items_asked_for(course: Course) -> None:
    under = make_settings({"memory.budget_bytes": 60_000, "exclude_seen": True})
    trainer = build_trainer(under)
    poll = course.source().poll()
    assert poll is not None
    batch = trainer.sort(poll, course.source().origin)
    trainer.learn(batch, 0, poll.events.num_events)
    now_ms = int(poll.events.timestamp_ms[-1]) + 1000
    items = [f"i{item}" for item in range(0, 12, 2)] + ["nowhere"]
    users = ["u0", "u1", "u2", "nobody"]
    keys = [np.array([hash_id(name, side) for name in names], np.uint64) for names, side in ((users, 0), (items, 1))]
    answers = answer(trainer.recommender, *keys, now_ms)
    for user, order in zip(users, answers, strict=True):
        best = trainer.recommender.recommend(user, 1000, now_ms)
        assert [items[place] for place in order] == [scored.item for scored in best if scored.item in items]


def test_a_peer_answers_by_what_came_before_the_test_alone(course: Course) -> None:
    half_lives = (10.0, 100.0)
    ticks = count()
    trial = try_peer(course, Popularity(len(course.item_key), half_lives), 5, lambda: float(next(ticks)))
    assert trial.test_seconds == len(course.segments)
    for variant, half_life in enumerate(half_lives):
        for segment, asked, judged in zip(course.segments, course.questions, trial.judged[variant], strict=True):
            age = segment.cut - np.arange(segment.cut)
            worth = np.bincount(course.events.item[: segment.cut], 0.5 ** (age / half_life), len(course.item_key))
            order = sorted(range(len(asked.items)), key=lambda place: -worth[asked.items[place]])
            assert judged == judge(asked, [np.array(order)] * len(asked.users), 5)
