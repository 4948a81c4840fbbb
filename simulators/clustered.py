"""Worlds of clusters and sessions: endless streams of events that stand still, drift, or churn.

Items live in clusters, and within a cluster in small neighbourhoods; a user has tastes for a few clusters, and follows
the fashion besides. In a session

* a user, drawn by activity, turns to a cluster of the user's and takes an item of it;
* each further event stays near the last item (in its neighbourhood), or in its cluster, or turns to a cluster anew.
  Among the items in question the choice is by popularity (Zipf's law).

So a user's last item says much about the next one, the user says something, and popularity says little. Yet the true
rates have a closed form, for none of this moves the marginals: at every event a user is as likely as active, and an
item, given its cluster, as likely as popular.

Sessions are cut where blocks end. Event ``i`` of a block belongs to lane ``i % NUM_LANES``, and a lane holds one
session after another; a very active user may be in two lanes at once, as if on two devices.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.blocks import BLOCK, Block, Floats, Indices, World, draw_timestamps
from simulators.names import Names, name_all
from stream.core.event import ITEM, USER

NUM_LANES: Final = 16
"""Sessions under way at any time."""
NUM_CLUSTERS: Final = 30
NEIGHBOURHOOD: Final = 10
"""Items in a neighbourhood; they stand side by side, and so do the neighbourhoods of a cluster."""

_LANE_LENGTH: Final = BLOCK // NUM_LANES
_PLACES: Final = np.arange(BLOCK).reshape(NUM_LANES, _LANE_LENGTH).T.ravel()
"""Where a block's i-th event stands when the block is laid out lane after lane."""
_STAY_NEAR: Final = 0.55
_STAY_IN_CLUSTER: Final = 0.2
_TASTE_SHARES: Final = np.array([0.5, 0.25, 0.1])  # of a user's turns; the rest follows the fashion
_FASHION_SHARE: Final = 1 - float(_TASTE_SHARES.sum())


class Setting(NamedTuple):
    """What makes one world differ from another."""

    description: str
    limit: int = 200_000
    num_users: int = 2_000
    """Users alive at any time; likewise the items."""
    num_items: int = 3_000
    session_end: float = 1 / 8
    """Probability that an event begins the lane's next session."""
    user_exponent: float = 0.9
    """Zipf exponents: 0 is flat, above 1 is steep."""
    item_exponent: float = 0.9
    swing: float = 0.0
    """How far the exponents go up and down, the users' up while the items' goes down."""
    swing_blocks: int = 20
    turn_blocks: float = np.inf
    """Blocks in which popularity wanders through everyone once."""
    user_births: int = 0
    """Users that are born, and users that die, from one block to the next; likewise the items."""
    item_births: int = 0


SETTINGS: Final[Mapping[str, Setting]] = {
    "stationary": Setting("fixed users and items, and a truth that never changes"),
    "drift": Setting("what is popular keeps moving, as does how unequal it is", swing=0.6, turn_blocks=32),
    "churn": Setting(
        "new users and items without end, each alive for a short while",
        limit=500_000,
        num_users=6_144,
        num_items=4_500,
        session_end=0.4,
        user_exponent=0.3,
        user_births=3_072,
        item_births=512,
    ),
}
"""The worlds by name."""


def _tenants(seats: Indices, block: int, births: int) -> Indices:
    """Return who is in each seat, by number; alive are ``births * block`` and the next ``len(seats)``.

    A newborn takes the seat of one who dies, so what is tied to the seat (cluster, popularity) passes on.
    """
    first = births * block
    return first + (seats - first) % len(seats)


def _popularity(place: Indices, around: int, turn: float, exponent: float) -> Floats:
    """Return Zipf-Mandelbrot weights of places on a circle, falling with the distance from ``turn * around``.

    The distance, doubled, serves as the rank; a shift of 1 % keeps the first ranks from taking all.
    """
    ahead = (place - turn * around) % around
    rank = 2 * np.minimum(ahead, around - ahead)
    weights: Floats = (rank + 1 + around / 100) ** -exponent
    return weights


def _edges(weights: Floats) -> Floats:
    """Return the cumulative sums of the weights, beginning with 0."""
    return np.concatenate(([0.0], np.cumsum(weights)))


def _draw(edges: Floats, first: Indices | int, end: Indices | int, uniform: Floats) -> Indices:
    """Draw for each uniform in [0, 1) an index in ``first:end`` by weight (inverse transform sampling)."""
    level = edges[first] + uniform * (edges[end] - edges[first])
    # The clip is for rounding, which may lift the level onto the upper edge.
    drawn: Indices = np.searchsorted(edges, level, side="right") - 1
    return np.minimum(drawn, end - 1, out=drawn)


def _hold(fresh: NDArray[np.bool_], drawn: Indices) -> Indices:
    """Return the value in force at each event: the n-th drawn, from the n-th fresh event to the next."""
    return drawn.take(np.cumsum(fresh) - 1)


class _Truth(NamedTuple):
    """What holds throughout one block: who is alive, what they like and how popular everything is."""

    block: int
    users: Names
    items: Names
    tastes: Indices
    """Clusters, (users, tastes); a cluster named twice counts twice."""
    fashion: Floats
    """Shares of the clusters, sum 1."""
    activity: Floats
    """Shares of the users, sum 1."""
    item_edges: Floats
    """Edges of the items' popularity; only its proportions within a cluster matter."""

    @property
    def cluster_size(self) -> int:
        return len(self.items.key) // NUM_CLUSTERS

    @property
    def item_shares(self) -> Floats:
        """Each item's share of its cluster."""
        weights = np.diff(self.item_edges).reshape(NUM_CLUSTERS, -1)
        shares: Floats = (weights / weights.sum(axis=1, keepdims=True)).ravel()
        return shares

    def cluster_rates(self, activity: Floats, tastes: Indices) -> Floats:
        """Return how the turns of the given users fall on the clusters; sums to what ``activity`` sums to."""
        weights = activity[:, None] * _TASTE_SHARES
        own = np.bincount(tastes.ravel(), weights.ravel(), minlength=NUM_CLUSTERS)
        rates: Floats = own + _FASHION_SHARE * activity.sum() * self.fashion
        return rates

    def turn(self, users: Indices, rng: np.random.Generator) -> Indices:
        """Draw the cluster that each of the users turns to."""
        taste = np.searchsorted(np.cumsum(_TASTE_SHARES), rng.random(len(users)), side="right")
        fashionable = taste == len(_TASTE_SHARES)
        clusters = self.tastes[users, np.where(fashionable, 0, taste)]
        clusters[fashionable] = _draw(_edges(self.fashion), 0, NUM_CLUSTERS, rng.random(fashionable.sum()))
        return clusters


class _Drawn(NamedTuple):
    """A block, its truth, and which of its events begin a session."""

    events: Block
    truth: _Truth
    begins: NDArray[np.bool_]


def _draw_block(truth: _Truth, session_end: float, rng: np.random.Generator) -> _Drawn:
    """Draw the events of one block: first the states, each held until it is drawn anew, then the items."""
    begins = rng.random(BLOCK) < session_end
    begins[::_LANE_LENGTH] = True
    move = rng.random(BLOCK)
    turns = begins | (move >= _STAY_NEAR + _STAY_IN_CLUSTER)
    wide = turns | (move >= _STAY_NEAR)
    near = ~wide

    num_users, size = len(truth.activity), truth.cluster_size
    users = _hold(begins, _draw(_edges(truth.activity), 0, num_users, rng.random(begins.sum())))
    first = _hold(turns, truth.turn(users[turns], rng))[wide] * size
    items = np.empty(BLOCK, np.int64)
    items[wide] = _draw(truth.item_edges, first, first + size, rng.random(wide.sum()))
    first = _hold(wide, items[wide] // NEIGHBOURHOOD)[near] * NEIGHBOURHOOD
    items[near] = _draw(truth.item_edges, first, first + NEIGHBOURHOOD, rng.random(near.sum()))
    timestamp_ms = draw_timestamps(truth.block, rng)
    events = Block(truth.block, truth.users, truth.items, users[_PLACES], items[_PLACES], timestamp_ms)
    return _Drawn(events, truth, begins[_PLACES])


class ClusteredWorld(World[_Drawn]):
    """A world of clusters and sessions, and the truth behind it.

    ``name`` is one of :data:`SETTINGS`; ``limit`` is the number of events, None for the world's default.
    """

    def __init__(self, name: str, seed: int, limit: int | None = None) -> None:
        self._setting = setting = SETTINGS[name]
        super().__init__(name, seed, setting.limit if limit is None else limit)
        rng = self._generator()
        self._user_seats = rng.permutation(setting.num_users)
        self._item_seats = rng.permutation(setting.num_items)
        places = np.tile(np.arange(setting.num_items // NUM_CLUSTERS), (NUM_CLUSTERS, 1))
        self._item_places = rng.permuted(places, axis=1).ravel()
        self._factors = rng.integers(0, 2**64, len(_TASTE_SHARES), np.uint64) | np.uint64(1)

    def user_rates(self, offset: int) -> Floats:
        """Return the users' activity."""
        return self._block_at(offset).truth.activity

    def item_rates(self, offset: int) -> Floats:
        """Return how the turns of all users fall on the items: going on from there does not move these rates."""
        truth = self._block_at(offset).truth
        clusters = truth.cluster_rates(truth.activity, truth.tastes)
        return np.repeat(clusters, truth.cluster_size) * truth.item_shares

    def item_probabilities(self, offset: int) -> Floats:
        """Return the next item's chances: turning to a cluster anew, or going on from the session's last item.

        Known are the truth, the event's user, whether the event begins a session and, if not, the session's last item;
        nothing else matters to the next one.
        """
        drawn, place = self._block_at(offset), offset % BLOCK
        truth, size, user = drawn.truth, drawn.truth.cluster_size, drawn.events.user[place]
        clusters, shares = truth.cluster_rates(np.ones(1), truth.tastes[[user]]), truth.item_shares
        turned: Floats = np.repeat(clusters, size) * shares
        if drawn.begins[place]:
            return turned
        last = drawn.events.item[place - NUM_LANES]
        chances = (1 - _STAY_NEAR - _STAY_IN_CLUSTER) * turned
        cluster = shares.reshape(-1, size)[last // size]
        chances.reshape(-1, size)[last // size] += _STAY_IN_CLUSTER * cluster
        near = shares.reshape(-1, NEIGHBOURHOOD)[last // NEIGHBOURHOOD]
        chances.reshape(-1, NEIGHBOURHOOD)[last // NEIGHBOURHOOD] += _STAY_NEAR * near / near.sum()
        return chances

    def _draw(self, number: int) -> _Drawn:
        return _draw_block(self._truth(number), self._setting.session_end, self._generator(number))

    def _truth(self, block: int) -> _Truth:
        setting = self._setting
        num_users, size = setting.num_users, setting.num_items // NUM_CLUSTERS
        turn = block / setting.turn_blocks
        swing = setting.swing * np.sin(2 * np.pi * block / setting.swing_blocks)
        users = name_all("u", _tenants(self._user_seats, block, setting.user_births), USER)
        items = name_all("i", _tenants(self._item_seats, block, setting.item_births), ITEM)
        # Tastes of any number of users without a table: keys are scrambled already, so an odd random factor per taste
        # makes them as good as independent (multiplicative hashing, Dietzfelbinger et al. 1997).
        uniform = ((users.key[:, None] * self._factors) >> np.uint64(11)) * 2.0**-53
        tastes = (uniform * NUM_CLUSTERS).astype(np.int64)
        fashion = _popularity(np.arange(NUM_CLUSTERS), NUM_CLUSTERS, turn, setting.item_exponent)
        activity = _popularity(np.arange(num_users), num_users, turn, setting.user_exponent + swing)
        popularity = _popularity(self._item_places, size, turn, setting.item_exponent - swing)
        fashion, activity = fashion / fashion.sum(), activity / activity.sum()
        return _Truth(block, users, items, tastes, fashion, activity, _edges(popularity))
