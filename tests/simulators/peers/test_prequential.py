"""Peers are tested as the production loop tests the model: same events, candidates, masks and ties; none can peek."""

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulators.peers.catalogue import PEERS, open_peer
from simulators.peers.events import Interactions, Stream
from simulators.peers.peer import Peer
from simulators.peers.popularity import Popularity
from simulators.peers.prequential import places_before, try_peer
from stream.assembly import build_trainer
from stream.config import make_settings
from stream.core.evaluation import Prequential
from stream.core.recommender import Ranked
from tests.doubles import Listed, Record
from tests.simulators.peers.worlds import some_rows, stream_of

Floats = NDArray[np.float64]
HALF_LIVES = (400.0, 100.0, 20.0)


def ranks(peer: Peer, stream: Stream, *, exclude_seen: bool = False) -> Floats:
    ticks = count()
    trial = try_peer(peer, stream, exclude_seen=exclude_seen, elapsed_s=lambda: float(next(ticks)))
    assert trial is not None
    return trial.rank


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_a_place_is_the_number_of_better_items_and_half_of_the_equals(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    passed_over = data.draw(st.lists(st.integers(0, len(scores) - 1).filter(lambda item: item != target)))
    others = [score for item, score in enumerate(scores) if item != target and item not in passed_over]
    own = scores[target]
    expected = sum(score > own for score in others) + sum(score == own for score in others) / 2
    assert places_before(np.array([scores, scores]), target, passed_over).tolist() == [expected, expected]


class _Ranks(Prequential):
    def __init__(self) -> None:
        super().__init__(20)
        self.ranks: list[Floats] = []

    def add(self, tested: Ranked) -> None:
        super().add(tested)
        self.ranks.append(tested.rank)


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_popularity_has_the_places_that_the_kernel_gives_it_in_the_loop(exclude_seen: bool) -> None:
    rows = some_rows(900, num_users=20, num_items=60)
    names = dict(zip(("slow", "mid", "fast"), HALF_LIVES, strict=True))
    asked = make_settings(
        {f"model.half_life_{name}": value for name, value in names.items()}
        | {"exclude_seen": exclude_seen, "evaluation.sample": 0.6}
    )
    stream, trainer, loop = stream_of(rows, asked), build_trainer(asked), _Ranks()
    trainer.evaluation = loop
    records: list[Record] = [(f"u{user}", f"i{item}", 1_000_000 + 1000 * i) for i, (user, item) in enumerate(rows)]
    source = Listed(records)
    poll = source.poll()
    assert poll is not None
    batch = trainer.sort(poll, source.origin)
    learnt = 0
    for index in batch.tested.tolist():
        trainer.learn(batch, learnt, index)
        trainer.test(batch, index)
        learnt = index
    peer = Popularity(stream.num_items, HALF_LIVES)
    places = ranks(peer, stream, exclude_seen=exclude_seen)
    assert np.isinf(places).any()
    np.testing.assert_array_equal(places, np.array(loop.ranks).T[1:])


class Cheat:
    """A peer that knows the whole stream, and scores by what comes."""

    variants = ("",)
    num_bytes = 0

    def __init__(self, stream: Stream) -> None:
        self._events = stream.events
        self._num_learnt = 0

    def learn(self, events: Interactions) -> None:
        self._num_learnt += events.num_events

    def scores(self, user: int, num_known: int) -> Floats:  # noqa: ARG002
        future = self._events.item[self._num_learnt :]
        return np.bincount(future[future < num_known], minlength=num_known)[None].astype(np.float64)


OPENERS: list[Callable[[Stream], Peer]] = [lambda stream, name=name: open_peer(name, stream, 1) for name in PEERS]


def is_told_apart(open_one: Callable[[Stream], Peer]) -> bool:
    """Return whether earlier places change where only later events do."""
    rows = some_rows(240)
    other = rows[:160] + [(user, (item + 11) % 40) for user, item in rows[160:]]
    first, second = stream_of(rows), stream_of(other)
    assert first.events.num_events == second.events.num_events
    # The event at the change itself is still ranked before it is learnt.
    return not np.array_equal(*(ranks(open_one(stream), stream)[:, :160] for stream in (first, second)))


@pytest.mark.parametrize("open_one", OPENERS, ids=list(PEERS))
def test_no_peer_peeks_at_events_that_come_later(open_one: Callable[[Stream], Peer]) -> None:
    assert not is_told_apart(open_one)


def test_a_peer_that_peeks_is_caught() -> None:
    assert is_told_apart(Cheat)


@pytest.mark.parametrize("name", PEERS)
def test_ranks_do_not_depend_on_which_events_are_tested(name: str) -> None:
    rows = some_rows(200)
    every, some = stream_of(rows), stream_of(rows, make_settings({"evaluation.sample": 0.3}))
    of_every = ranks(open_peer(name, every, 1), every)[:, some.tested]
    np.testing.assert_array_equal(ranks(open_peer(name, some, 1), some), of_every)


def test_an_item_seen_first_and_a_pair_taken_before_have_no_place() -> None:
    stream = stream_of([(0, 0), (0, 1), (1, 0), (0, 0), (1, 1)])
    assert np.isinf(ranks(Popularity(2), stream)[0]).tolist() == [True, True, False, False, False]
    assert np.isinf(ranks(Popularity(2), stream, exclude_seen=True)[0]).tolist() == [True, True, False, True, False]


def test_what_a_user_took_stands_in_nobodys_way_but_others() -> None:
    stream = stream_of([(0, 0), (0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (1, 0)])
    assert ranks(Popularity(3, (1e6,)), stream)[0, -2] == 1.5 + 0.5
    assert ranks(Popularity(3, (1e6,)), stream, exclude_seen=True)[0, -2] == 1.0


def test_a_trial_ends_when_asked_to() -> None:
    stream, shares = stream_of(some_rows(50)), list[float]()

    def note(share: float) -> bool:
        shares.append(share)
        return share < 0.5

    peer = Popularity(stream.num_items)
    assert try_peer(peer, stream, exclude_seen=False, elapsed_s=lambda: 0.0, note=note) is None
    assert shares[-1] == 0.5
    assert len(shares) == 26


def test_learning_and_testing_are_timed_apart() -> None:
    now = [0.0]

    class Slow(Popularity):
        def learn(self, events: Interactions) -> None:
            super().learn(events)
            now[0] += events.num_events

        def scores(self, user: int, num_known: int) -> Floats:
            now[0] += 100
            return super().scores(user, num_known)

    stream = stream_of([(0, 0), (1, 0), (0, 0)])
    trial = try_peer(Slow(1), stream, exclude_seen=False, elapsed_s=lambda: now[0])
    assert trial is not None
    assert (trial.learn_seconds, trial.test_seconds) == (3.0, 200.0)
