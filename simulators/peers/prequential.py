"""A peer under the protocol of the production loop: each tested event is ranked before it is learnt."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.peers.events import Stream
from simulators.peers.peer import Peer


class Trial(NamedTuple):
    """What testing a peer has given."""

    rank: NDArray[np.float64]
    """float64[variants, tested]: the place of each tested event's item, 0 first; infinite where it has none."""
    learn_seconds: float
    test_seconds: float


def try_peer(
    peer: Peer,
    stream: Stream,
    *,
    exclude_seen: bool,
    elapsed_s: Callable[[], float],
    note: Callable[[float], bool] = lambda _: True,
) -> Trial | None:
    """Let a peer learn a stream, and rank every tested event before; None where ``note`` asks to stop.

    Candidates are all items that have occurred before the event. With ``exclude_seen``, those that the user has had are
    passed over, and an event that repeats a pair has no rank. ``note`` hears the share that is done.
    """
    rank = np.full((len(peer.variants), len(stream.tested)), np.inf)
    taken: dict[int, list[int]] = {}
    events, learnt, spent_s, begin_s = stream.events, 0, 0.0, elapsed_s()
    first_sight = stream.first_sight
    for test, index in enumerate([*stream.tested.tolist(), events.num_events]):
        learn_s = elapsed_s()
        peer.learn(events.cut(learnt, index))
        spent_s += elapsed_s() - learn_s
        if exclude_seen:
            for user, item in zip(events.user[learnt:index].tolist(), events.item[learnt:index].tolist(), strict=True):
                taken.setdefault(user, []).append(item)
        learnt = index
        if not note(index / max(events.num_events, 1)):
            return None
        if index == events.num_events or first_sight[index] or (exclude_seen and stream.is_taken[index]):
            continue
        user = int(events.user[index])
        scores = peer.scores(user, int(stream.num_known[index]))
        rank[:, test] = places_before(scores, int(events.item[index]), taken.get(user, []))
    return Trial(rank, spent_s, elapsed_s() - begin_s - spent_s)


def places_before(scores: NDArray[Any], target: int, passed_over: list[int]) -> NDArray[np.float64]:
    """Return the target's place in each row of scores, 0 first: items above it, and half of its equals.

    Items that are passed over have no place; the target must not be one of them. The rule is that of
    :func:`stream.core.ranking.rank_item`.

    >>> places_before(np.array([[0.5, 2.0, 0.5, 0.5, 0.5]]), 0, [3])
    array([2.])
    """
    own = scores[:, target, None]
    above, equal = scores > own, scores == own
    above[:, passed_over] = equal[:, passed_over] = False
    place: NDArray[np.float64] = np.count_nonzero(above, axis=1) + 0.5 * (np.count_nonzero(equal, axis=1) - 1)
    return place
