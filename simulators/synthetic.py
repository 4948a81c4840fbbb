"""Synthetic worlds: endless streams of events whose truth is known.

A world is a :class:`~stream.ports.Source` with an oracle. Its items live in clusters, and within a cluster in small
neighbourhoods; a user has tastes for a few clusters, and follows the fashion besides. In a session

* a user, drawn by activity, turns to a cluster of the user's and takes an item of it;
* each further event stays near the last item (in its neighbourhood), or in its cluster, or turns to a cluster anew.
  Among the items in question the choice is by popularity (Zipf's law).

So a user's last item says much about the next one, the user says something, and popularity says little. Yet the true
rates have a closed form, for none of this moves the marginals: at every event a user is as likely as active, and an
item, given its cluster, as likely as popular.

Events are made in blocks of :data:`BLOCK`. A block is a function of (seed, world, block number), so any position can
be sought directly and memory does not grow. The price: sessions are cut where blocks end. Event ``i`` of a block
belongs to lane ``i % NUM_LANES``, and a lane holds one session after another; a very active user may be in two lanes
at once, as if on two devices.
"""

import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.names import Names, name_all
from simulators.rows import as_rows
from stream.adapters.columns import TextColumns
from stream.core.event import ITEM, USER, EventBatch, Origin, Poll
from stream.errors import UsageError
from stream.ports import Position

BLOCK: Final = 8192
"""Events in a block: what one poll gives at most."""
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

_START_MS: Final = 1_704_067_200_000  # midnight of 2024-01-01 UTC
_DAY_MS: Final = 86_400_000
_EVENTS_PER_DAY: Final = 172_800  # two a second on average

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class _Setting(NamedTuple):
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


_SETTINGS: Final = {
    "stationary": _Setting("fixed users and items, and a truth that never changes"),
    "drift": _Setting("what is popular keeps moving, as does how unequal it is", swing=0.6, turn_blocks=32),
    "churn": _Setting(
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

WORLDS: Final[Mapping[str, str]] = {name: s.description for name, s in _SETTINGS.items()}
"""Name of each world -> what it is, in one line."""


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


_TIME_OF_DAY: Final = np.linspace(0, 1, 97)
_SHARE_OF_DAY: Final = _TIME_OF_DAY - 0.8 * np.sin(2 * np.pi * _TIME_OF_DAY) / (2 * np.pi)
"""Share of a day's events before that time: the integral of a rate that is lowest at midnight."""


def _timestamps(block: int, jitter: Floats) -> NDArray[np.int64]:
    """Return the event times in ms: event n comes in the n-th of equal parts of the cumulative intensity."""
    day, share = np.divmod((block * BLOCK + np.arange(BLOCK) + jitter) / _EVENTS_PER_DAY, 1.0)
    return _START_MS + ((day + np.interp(share, _SHARE_OF_DAY, _TIME_OF_DAY)) * _DAY_MS).astype(np.int64)


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


class _Block(NamedTuple):
    """The events of one block as indices into its truth, lane after lane but for the timestamps."""

    truth: _Truth
    begins: NDArray[np.bool_]
    """Whether the event begins a session."""
    users: Indices
    items: Indices
    timestamp_ms: NDArray[np.int64]

    def batch(self) -> EventBatch:
        """Return the events as a batch; the spans of the ids are shared between events."""
        number, names = self.truth.block, self.truth.items
        users, items = self.users[_PLACES], self.items[_PLACES]
        return EventBatch(
            user=self.truth.users.key[users],
            item=names.key[items],
            timestamp_ms=self.timestamp_ms,
            weight=np.ones(BLOCK, np.float32),
            partition=np.zeros(BLOCK, np.int32),
            offset=np.arange(number * BLOCK, (number + 1) * BLOCK),
            number=np.arange(number * BLOCK, (number + 1) * BLOCK),
            item_start=names.start[items],
            item_length=names.length[items],
            item_data=names.data,
        )


def _draw_block(truth: _Truth, session_end: float, rng: np.random.Generator) -> _Block:
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
    return _Block(truth, begins, users, items, _timestamps(truth.block, rng.random(BLOCK)))


class World:
    """A synthetic world: a :class:`~stream.ports.Source` of one partition (0), and the truth behind it.

    The truth is asked for by event number (``offset``) and holds throughout the event's block, except
    :meth:`item_probabilities`. Arrays are of the users or the items alive then, always equally many, in the order of
    :meth:`user_keys` or :meth:`item_keys`.
    """

    def __init__(self, name: str, setting: _Setting, seed: int, limit: int) -> None:
        self._name = name
        self._setting = setting
        self._seed = seed
        self._limit = limit
        self._next = 0
        rng = self._generator()
        self._user_seats = rng.permutation(setting.num_users)
        self._item_seats = rng.permutation(setting.num_items)
        places = np.tile(np.arange(setting.num_items // NUM_CLUSTERS), (NUM_CLUSTERS, 1))
        self._item_places = rng.permuted(places, axis=1).ravel()
        self._factors = rng.integers(0, 2**64, len(_TASTE_SHARES), np.uint64) | np.uint64(1)
        self._block: _Block | None = None

    @property
    def name(self) -> str:
        """``synthetic:NAME``, as it is asked for."""
        return f"synthetic:{self._name}"

    @property
    def num_records(self) -> int:
        """The limit it was opened with."""
        return self._limit

    def poll(self) -> Poll | None:
        """Return the events from here to the end of the block, or None once the limit is reached."""
        if self._next >= self._limit:
            return None
        events = self._block_at(self._next).batch()
        begin = self._next % BLOCK
        end = min(BLOCK, begin + self._limit - self._next)
        self._next += end - begin
        return Poll(events.cut(begin, end), [])

    def read_rows(self, max_rows: int) -> TextColumns | None:
        """Return 1 to ``max_rows`` of the events that :meth:`poll` would give, as text; times are in milliseconds."""
        end = min(self._next + max_rows, self._limit, self._next - self._next % BLOCK + BLOCK)
        if self._next >= end:
            return None
        events, self._next = np.arange(self._next, end), end
        block, here = self._block_at(end - 1), events % BLOCK
        users, items = block.users[_PLACES[here]], block.items[_PLACES[here]]
        return as_rows(block.truth.users, users, block.truth.items, items, block.timestamp_ms[here], events)

    def seek(self, position: Position) -> None:
        """Go on from event number ``position[0]`` (0 where it is not given)."""
        self._next = position.get(0, 0)
        assert self._next >= 0, "event numbers begin at 0"

    def origin(self, partition: int, number: int) -> Origin:  # noqa: ARG002
        """Return where a person finds an event: its number."""
        return Origin(f"event {number}")

    def lag(self) -> None:
        """Return None: a world waits for its reader."""

    def commit(self, position: Position) -> None:
        """Do nothing: a world keeps no account of who has read it."""

    def close(self) -> None:
        """Do nothing: a world holds no files."""

    def user_keys(self, offset: int) -> NDArray[np.uint64]:
        """Return the keys of the users alive at the event, uint64[num_users]."""
        return self._block_at(offset).truth.users.key

    def item_keys(self, offset: int) -> NDArray[np.uint64]:
        """Return the keys of the items alive at the event, uint64[num_items]."""
        return self._block_at(offset).truth.items.key

    def user_rates(self, offset: int) -> Floats:
        """Return the marginal probability of each user at the event, float64[num_users], sum 1."""
        return self._block_at(offset).truth.activity

    def item_rates(self, offset: int) -> Floats:
        """Return the marginal probability of each item at the event, float64[num_items], sum 1.

        >>> world = open_world("stationary", seed=0, limit=None)
        >>> round(float(world.item_rates(0).sum()), 9)
        1.0
        """
        truth = self._block_at(offset).truth
        clusters = truth.cluster_rates(truth.activity, truth.tastes)
        return np.repeat(clusters, truth.cluster_size) * truth.item_shares

    def item_probabilities(self, offset: int) -> Floats:
        """Return the probability of each item given all that came before, float64[num_items], sum 1.

        Known are the truth, the event's user, whether the event begins a session and, if not, the session's last item;
        nothing else matters to the next one, so no recommender can expect a higher recall than ranking by this. Going
        through the offsets in order is quick, for the last block is kept.
        """
        block, place = self._block_at(offset), _PLACES[offset % BLOCK]
        truth, size, user = block.truth, block.truth.cluster_size, block.users[place]
        clusters, shares = truth.cluster_rates(np.ones(1), truth.tastes[[user]]), truth.item_shares
        turned: Floats = np.repeat(clusters, size) * shares
        if block.begins[place]:
            return turned
        last = block.items[place - 1]
        chances = (1 - _STAY_NEAR - _STAY_IN_CLUSTER) * turned
        cluster = shares.reshape(-1, size)[last // size]
        chances.reshape(-1, size)[last // size] += _STAY_IN_CLUSTER * cluster
        near = shares.reshape(-1, NEIGHBOURHOOD)[last // NEIGHBOURHOOD]
        chances.reshape(-1, NEIGHBOURHOOD)[last // NEIGHBOURHOOD] += _STAY_NEAR * near / near.sum()
        return chances

    def _generator(self, *of: int) -> np.random.Generator:
        key = (zlib.crc32(self._name.encode()), *of)
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _block_at(self, offset: int) -> _Block:
        number = offset // BLOCK
        if self._block is None or number != self._block.truth.block:
            truth, rng = self._truth(number), self._generator(number)
            self._block = _draw_block(truth, self._setting.session_end, rng)
        return self._block

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


def open_world(name: str, seed: int, limit: int | None) -> World:
    """Open a synthetic world; ``name`` is what follows ``synthetic:``, ``limit`` the number of events.

    Without a limit the stream ends after the world's default number of events. Raises :class:`UsageError` for
    a name that is not in :data:`WORLDS`, a negative seed or a limit below 1.

    >>> world = open_world("churn", seed=7, limit=10)
    >>> world.name, world.num_records, world.poll().events.num_events
    ('synthetic:churn', 10, 10)
    """
    setting = _SETTINGS.get(name)
    if setting is None:
        known = ", ".join(f"synthetic:{world}" for world in WORLDS)
        raise UsageError(f"synthetic:{name} is no world: choose one of {known}")
    if seed < 0:
        raise UsageError(f"synthetic:{name} cannot be seeded with {seed}: give a seed of 0 or more")
    if limit is not None and limit < 1:
        raise UsageError(f"synthetic:{name} cannot be limited to {limit} events: give a limit of 1 or more")
    return World(name, setting, seed, setting.limit if limit is None else limit)
