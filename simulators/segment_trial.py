"""The production loop under SCALL's protocol (:mod:`simulators.segments`): a window for each segment, then its test."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from simulators.peers.events import Interactions, numbered
from simulators.peers.peer import Peer
from simulators.segments import Asked, Judged, Segment, in_core, judge, question_of, segments_of
from simulators.tape import Tape
from stream.core import retrieval
from stream.core.event import NO_EVENTS, EventBatch, Poll
from stream.core.events import begin_test
from stream.core.history import NUM_GAPS
from stream.core.model import new_workspace
from stream.core.outline import outline_of, popularity_of
from stream.core.recommender import Recommender
from stream.core.sizes import MAX_SIZE
from stream.core.snapshot import memory_and_shared
from stream.core.stats import Report
from stream.core.trainer import Trainer
from stream.core.windows import UNLIMITED, WindowClock, WindowRule
from stream.pipeline import Pipeline
from stream.ports import SizePolicy, Source

_NO_KEY = np.uint64(0)


def core_in_time(source: Source, k: int) -> Tape:
    """Read a source to its end, and close it; return the events of its k-core in the order of time.

    Those of one time stay as they come; records that cannot be used are left out.
    """
    events = _all_events(source)
    source.close()
    kept = np.flatnonzero(in_core(events.user, events.item, k))
    return _taped(source.name, events, kept[np.argsort(events.timestamp_ms[kept], kind="stable")])


def _all_events(source: Source) -> EventBatch:
    batches = [NO_EVENTS, *(poll.events for poll in iter(source.poll, None))]
    before = np.cumsum([0, *(len(batch.item_data) for batch in batches)]).tolist()
    moved = [batch._replace(item_start=batch.item_start + num) for batch, num in zip(batches, before, strict=False)]
    return EventBatch(*(np.concatenate(columns) for columns in zip(*moved, strict=True)))


def _taped(name: str, events: EventBatch, order: NDArray[np.int64]) -> Tape:
    taken = events.take(order)._replace(offset=np.arange(len(order)))
    return Tape(name, [Poll(taken.frozen(), [])])


class Course(NamedTuple):
    """A stream under the protocol: its events in the order of time, its segments, and what is asked of each."""

    name: str
    batch: EventBatch
    """The events as our model learns them."""
    events: Interactions
    """The same events as peers learn them, by numbers."""
    segments: list[Segment]
    questions: list[Asked]
    """By segment, in numbers of users and items."""
    user_key: NDArray[np.uint64]
    """By number."""
    item_key: NDArray[np.uint64]
    """By number."""

    @classmethod
    def of(cls, source: Source, growth: int, seed: int) -> Self:
        """Read a source, whose events are in the order of time, to its end; the seed draws the reservoirs."""
        batch = _all_events(source)
        user_key, user = numbered(batch.user)
        item_key, item = numbered(batch.item)
        segments = segments_of(user, item, growth, seed)
        questions = [question_of(segment, user, item) for segment in segments]
        return cls(source.name, batch, Interactions(user, item), segments, questions, user_key, item_key)

    def lessons(self, num_passes: int, *, replay: bool) -> list[NDArray[np.int64]]:
        """Return by segment the events to be learnt before its test, in turn.

        These are the test part of the segment before, then ``num_passes`` times the segment's own first part, after its
        reservoir if ``replay`` is asked for.
        """
        lessons, tested = [], np.zeros(0, np.int64)
        for segment in self.segments:
            own = np.arange(segment.begin, segment.cut)
            part = np.concatenate([segment.reservoir, own]) if replay else own
            lessons.append(np.concatenate([tested, *[part] * num_passes]))
            tested = np.arange(segment.cut, segment.end)
        return lessons

    def source(self, order: NDArray[np.int64] | None = None) -> Tape:
        """Return the events, or those that ``order`` names in its order, to be read."""
        return _taped(self.name, self.batch, np.arange(self.batch.num_events) if order is None else order)


class Trial(NamedTuple):
    """What a model gave under the protocol."""

    judged: list[list[Judged]]
    """By variant and segment, the first segment included."""
    learn_seconds: float
    """For all but the answers: sizes and the loop's own tests included."""
    test_seconds: float
    """For the answers, and to judge them."""


def try_loop(
    course: Course,
    lessons: Sequence[NDArray[np.int64]],
    trainer: Trainer,
    loop_of: Callable[[Source], Pipeline],
    policy: SizePolicy,
    elapsed_s: Callable[[], float],
) -> tuple[Trial, Report] | None:
    """Let our loop learn lesson by lesson; after each the policy decides sizes, and the segment is tested.

    ``loop_of`` puts the loop around ``trainer`` for a source. Its report has a window for each lesson. None where
    someone asks the loop to stop.
    """
    trainer.clock = _LessonClock([len(lesson) for lesson in lessons])
    begin_s, spent_s = elapsed_s(), 0.0
    loop = loop_of(course.source(np.concatenate(lessons)))
    judged = []
    for segment, asked in zip(course.segments, course.questions, strict=True):
        observation = loop.advance()
        if observation is None:
            return None
        loop.close_window(policy.decide(observation))
        test_s = elapsed_s()
        now_ms = int(course.batch.timestamp_ms[segment.cut - 1])
        answers = answer(trainer.recommender, course.user_key[asked.users], course.item_key[asked.items], now_ms)
        judged.append(judge(asked, answers, trainer.evaluation.top_k))
        spent_s += elapsed_s() - test_s
    if loop.advance() is not None or not (report := loop.finish()).finished:
        return None
    return Trial([judged], elapsed_s() - begin_s - spent_s, spent_s), report


def try_peer(course: Course, peer: Peer, top_k: int, elapsed_s: Callable[[], float]) -> Trial:
    """Let a peer learn the same events once in the order of time, and answer the same questions."""
    judged: list[list[Judged]] = [[] for _ in peer.variants]
    begin_s, spent_s, learnt = elapsed_s(), 0.0, 0
    for segment, asked in zip(course.segments, course.questions, strict=True):
        peer.learn(course.events.cut(learnt, segment.cut))
        learnt = segment.cut
        test_s = elapsed_s()
        num_known = int(course.events.item[:learnt].max()) + 1
        scores = np.array([peer.scores(user, num_known)[:, asked.items] for user in asked.users.tolist()])
        # Of equals the one that came first goes first, as in our own answers.
        orders = np.argsort(-scores, axis=-1, kind="stable").reshape(len(asked.users), len(judged), len(asked.items))
        for variant, of_segment in enumerate(judged):
            of_segment.append(judge(asked, orders[:, variant], top_k))
        spent_s += elapsed_s() - test_s
    return Trial(judged, elapsed_s() - begin_s - spent_s, spent_s)


class _LessonClock(WindowClock):
    """Closes a window after each lesson."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths = [*lengths, UNLIMITED]
        super().__init__(WindowRule("events", self._lengths[0]))

    def close(self) -> None:
        super().close()
        self.rule = WindowRule("events", self._lengths[self.index])


def answer(
    recommender: Recommender, user_key: NDArray[np.uint64], item_key: NDArray[np.uint64], time_ms: int
) -> Iterator[NDArray[np.int64]]:
    """Yield for each user which of the items the recommender ranks, as places in ``item_key``, best first.

    It is asked for its whole catalogue as in service, without what it knows to be taken, at one time for everyone;
    items that it does not know or leaves out are not there.
    """
    m, p = memory_and_shared(recommender.state())
    h = recommender.hyper
    w = new_workspace(h, max(p.lag.shape[1], MAX_SIZE))
    outline = outline_of(m, p)
    popularity = [popularity_of(p, h, gap, outline) for gap in range(NUM_GAPS)]
    best, score = np.empty(recommender.num_items, np.int32), np.empty(recommender.num_items, np.float32)
    place = np.full(len(m.slots), -1)
    slots = np.flatnonzero((m.slots["alive"] == 1) & np.isin(m.slots["key"], item_key))
    place[slots] = _places(m.slots["key"][slots], item_key)
    for key in user_key:
        _, _, gap, width, past = begin_test(m, p, h, w, key, _NO_KEY, time_ms)
        num = retrieval.recommend(
            m, p, h, w, width, gap, past, key, popularity[gap], outline, bool(h.hides_taken), best, score
        )  # fmt: skip
        order = place[best[:num]]
        yield order[order >= 0]


def _places(keys: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.int64]:
    order = np.argsort(among)
    return order[np.searchsorted(among, keys, sorter=order)]
