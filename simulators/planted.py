"""Worlds whose best size plan is known by construction: an answer to hold against it whoever looks for one.

A few users take turns in rounds, each once a round, and what a user takes next follows a pattern:

* ``graph``: an item is followed by one of its neighbours in a random regular graph. The spectrum of such a graph is
  spread evenly, so each further coordinate of its items tells something more.
* ``cliques``: items stand in small groups, and an item is followed by another of its group. A few coordinates tell the
  groups apart, and an item without any is lost, as is whatever follows it.
* ``playlists``: a user plays a list of the user's own in a circle, until a new list begins. What is next stands in the
  user's history, as many places back as the list is long, and nowhere else: other users go on from the same item to
  other ones, and a list does not last for long enough to be learnt.

Some events stray from the pattern. Within it all items are as popular, so popularity tells nothing either.

A policy that is told the reward with the wrong sign, or whose numbers are decoded into the wrong part of a decision,
ends up near the opposite of the answer, which is far worse.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from simulators.blocks import BLOCK, Block, Floats, Indices, World, draw_timestamps
from simulators.names import name_all
from simulators.patterns import draw_cliques, draw_graph, play, walk
from stream.core.event import ITEM, USER
from stream.core.sizes import Curve, SizeDecision

UNIFORM: Final = Curve("uniform")
STEEP: Final = Curve("powerlaw", 0.3)
STRANGER_EVERY: Final = 8
"""Among a crowd, one event in this many is a stranger's, who comes once."""
_FIRST_STRANGER: Final = 1_000
"""Strangers' numbers begin here, behind those of regular users."""


class Answer(NamedTuple):
    """The best size plan of a world, as it follows from how the world is made."""

    best: SizeDecision
    opposite: SizeDecision
    """A plan that gives words to where they are worth least."""
    users_share: tuple[float, float]
    """The users' shares that are about as good as the best plan's, under :attr:`PlantedWorld.settings`."""
    reason: str


class Phase(NamedTuple):
    """What holds in a world for a while."""

    pattern: str
    answer: Answer
    num_users: int = 32
    """Users who come back in every round."""
    num_followed: int | None = None
    """How many items follow the pattern, the first ones; events stray to the others. None: all do, and to all."""
    degree: int = 1
    """Items that may follow an item of a graph or a clique."""
    list_lengths: tuple[int, ...] = ()
    """Of playlists, user after user."""
    stray: float = 0.08
    """Probability that an event strays from the pattern."""
    has_strangers: bool = False

    @property
    def num_rounds(self) -> int:
        """Rounds in a block."""
        num_events = BLOCK - BLOCK // STRANGER_EVERY if self.has_strangers else BLOCK
        return num_events // self.num_users


class Setting(NamedTuple):
    """What makes one world differ from another."""

    description: str
    num_items: int
    phases: tuple[Phase, ...]
    settings: Mapping[str, Any]
    """Where the answer is clear, for :func:`stream.config.make_settings`."""
    phase_blocks: int = 1
    """Blocks after which the next phase begins."""
    limit: int = 200_000


_HEAD: Final = Phase(
    "graph",
    Answer(
        best=SizeDecision(0.05, UNIFORM, STEEP),
        opposite=SizeDecision(0.05, UNIFORM, UNIFORM),
        users_share=(0.04, 0.1),
        reason="the frequent items' graph has a use for every word, rare items have no pattern, a user needs one id",
    ),
    num_users=64,
    num_followed=120,
    degree=6,
)
_FLAT: Final = Phase(
    "cliques",
    Answer(
        best=SizeDecision(0.04, UNIFORM, UNIFORM),
        opposite=SizeDecision(0.04, UNIFORM, STEEP),
        users_share=(0.03, 0.1),
        reason="every item has a group, all are as frequent, a user needs one id",
    ),
    degree=19,
)
_HISTORY: Final = Phase(
    "playlists",
    Answer(
        best=SizeDecision(0.9, UNIFORM, UNIFORM),
        opposite=SizeDecision(0.1, UNIFORM, UNIFORM),
        users_share=(0.85, 0.97),
        reason="every user needs some seven ids, and items need no coordinates to be played again",
    ),
    num_users=256,
    list_lengths=(3, 4, 5, 6, 7),
)
_CROWD: Final = Phase(
    "cliques",
    Answer(
        best=SizeDecision(0.05, UNIFORM, UNIFORM),
        opposite=SizeDecision(0.75, UNIFORM, UNIFORM),
        users_share=(0.02, 0.2),
        reason="the few users who come back need one id, strangers need none, and every item has a group",
    ),
    degree=15,
    has_strangers=True,
)
_MANY: Final = _HISTORY._replace(
    answer=Answer(
        best=SizeDecision(0.9, UNIFORM, UNIFORM),
        opposite=SizeDecision(0.9, STEEP, UNIFORM),
        users_share=(0.85, 0.97),
        reason="all users are as active, and each needs some seven ids",
    )
)
_FEW: Final = Phase(
    "playlists",
    Answer(
        best=SizeDecision(0.9, STEEP, UNIFORM),
        opposite=SizeDecision(0.9, UNIFORM, UNIFORM),
        users_share=(0.85, 0.97),
        reason="one user in eight is active, and needs some twenty ids",
    ),
    list_lengths=(12, 14, 16, 18, 20),
)


def _scarce(budget_bytes: int, max_entities: int, **other: Any) -> dict[str, Any]:
    """Return settings under which an entity can have two to four words on average."""
    return {
        "memory.budget_bytes": budget_bytes,
        "memory.max_entities": max_entities,
        "memory.seen_share": 0.0,
        "sizes.user_min": 1,
        "sizes.user_max": 24,
        "sizes.item_min": 0,
        "sizes.item_max": 64,
        "windows.close_after": "2048events",
        **other,
    }


SETTINGS: Final[Mapping[str, Setting]] = {
    "planted-head": Setting(
        "only frequent items have a pattern: their embeddings should be long", 600, (_HEAD,), _scarce(60_200, 688)
    ),
    "planted-flat": Setting(
        "every item has a pattern: their embeddings should be equally long", 320, (_FLAT,), _scarce(44_000, 376)
    ),
    "planted-history": Setting(
        "users repeat what they did long ago: they should get nearly all words", 200, (_HISTORY,), _scarce(50_000, 480)
    ),
    "planted-crowd": Setting(
        "users come once or need no past: they should get hardly any words", 320, (_CROWD,), _scarce(52_800, 580)
    ),
    "planted-swing": Setting(
        "now all users are active, now few: no fixed sizes are best for long",
        200,
        (_MANY, _FEW),
        # Frequencies that follow within a few windows show the swing to whoever looks at them.
        _scarce(50_000, 480, **{"model.history": 24, "model.half_life_slow": 4_000.0}),
        phase_blocks=2,
    ),
}
"""The worlds by name."""


class _Drawn(NamedTuple):
    """A block, the number of its phase, and what each of its events follows."""

    events: Block
    phase: int
    followed: Indices
    """The item whose followers are the likely ones, -1 where there is none: int64[BLOCK]."""


class PlantedWorld(World[_Drawn]):
    """A world whose best size plan is known (:meth:`best_decision`), and the truth behind it.

    ``name`` is one of :data:`SETTINGS`; ``limit`` is the number of events, None for the world's default.
    """

    def __init__(self, name: str, seed: int, limit: int | None = None) -> None:
        self._setting = setting = SETTINGS[name]
        super().__init__(name, seed, setting.limit if limit is None else limit)
        self._items = name_all("i", np.arange(setting.num_items), ITEM)
        rng = self._generator()
        self._followers = [self._draw_followers(phase, rng) for phase in setting.phases]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings under which the answer is clear, for :func:`stream.config.make_settings`."""
        return dict(self._setting.settings)

    @property
    def phase_events(self) -> int:
        """Events after which the next phase begins; where there is only one, it makes no difference."""
        return self._setting.phase_blocks * BLOCK

    def best_decision(self, offset: int) -> Answer:
        """Return the best plan for the phase that an event is in, its opposite, and why.

        >>> answer = PlantedWorld("planted-head", seed=0).best_decision(offset=0)
        >>> answer.best.items.family, answer.opposite.items.family
        ('powerlaw', 'uniform')
        """
        return self._setting.phases[self._phase_of(offset // BLOCK)].answer

    def user_rates(self, offset: int) -> Floats:
        """Return how often users come: the regular ones once a round, a stranger once in a block."""
        drawn = self._block_at(offset)
        phase = self._setting.phases[drawn.phase]
        rates = np.full(len(drawn.events.users.key), 1 / BLOCK)
        rates[: phase.num_users] = phase.num_rounds / BLOCK
        return rates

    def item_rates(self, offset: int) -> Floats:
        """Return how often items are taken, over all playlists: equally often within the pattern, and outside."""
        index = self._phase_of(offset // BLOCK)
        phase, num_followed = self._setting.phases[index], len(self._followers[index])
        rates = self._stray_rates(phase)
        rates[:num_followed] += (1 - phase.stray) / num_followed
        return rates

    def item_probabilities(self, offset: int) -> Floats:
        """Return the next item's chances: it follows the pattern, or strays.

        Known are the truth, the user's last item, or what has been played of the user's list.
        """
        drawn = self._block_at(offset)
        followed = drawn.followed[offset % BLOCK]
        if followed < 0:
            return self.item_rates(offset)
        phase, followers = self._setting.phases[drawn.phase], self._followers[drawn.phase][followed]
        chances = self._stray_rates(phase)
        np.add.at(chances, followers, (1 - phase.stray) / len(followers))
        return chances

    def _phase_of(self, block: int) -> int:
        return block // self._setting.phase_blocks % len(self._setting.phases)

    def _stray_rates(self, phase: Phase) -> Floats:
        rates, first = np.zeros(self._setting.num_items), phase.num_followed or 0
        rates[first:] = phase.stray / (len(rates) - first)
        return rates

    def _draw_followers(self, phase: Phase, rng: np.random.Generator) -> Indices:
        """Return which items may follow each: int64[items in the pattern, degree]."""
        num_followed = phase.num_followed or self._setting.num_items
        if phase.pattern == "graph":
            return draw_graph(num_followed, phase.degree, rng)
        if phase.pattern == "cliques":
            return draw_cliques(num_followed, phase.degree, rng)
        return np.arange(num_followed)[:, None]

    def _draw(self, number: int) -> _Drawn:
        index, rng = self._phase_of(number), self._generator(number)
        phase, num_followed = self._setting.phases[index], len(self._followers[index])
        strays = self._draw_strays(phase, (phase.num_rounds, phase.num_users), rng)
        if phase.pattern == "playlists":
            items, followed = self._play(number, strays)
        else:
            items, followed = walk(self._followers[index], strays, rng)
        # Users come in another order in each round.
        user = rng.permuted(np.tile(np.arange(phase.num_users), (phase.num_rounds, 1)), axis=1)
        columns = [user.ravel(), *(np.take_along_axis(column, user, 1).ravel() for column in (items, followed))]
        numbers = np.arange(phase.num_users)
        if phase.has_strangers:
            stranger = np.arange(BLOCK // STRANGER_EVERY)
            fresh, strays = (
                rng.integers(num_followed, size=stranger.shape),
                self._draw_strays(phase, stranger.shape, rng),
            )
            theirs = phase.num_users + stranger, np.where(strays < 0, fresh, strays), np.full_like(stranger, -1)
            before = (stranger + 1) * (STRANGER_EVERY - 1)
            columns = [np.insert(column, before, new) for column, new in zip(columns, theirs, strict=True)]
            numbers = np.append(numbers, _FIRST_STRANGER + number * len(stranger) + stranger)
        users, times = name_all("u", numbers, USER), draw_timestamps(number, rng)
        return _Drawn(Block(number, users, self._items, columns[0], columns[1], times), index, columns[2])

    def _draw_strays(self, phase: Phase, shape: tuple[int, ...], rng: np.random.Generator) -> Indices:
        strays = rng.integers(phase.num_followed or 0, self._setting.num_items, shape)
        return np.where(rng.random(shape) < phase.stray, strays, -1)

    def _play(self, number: int, strays: Indices) -> tuple[Indices, Indices]:
        """Play a block: its lists give way to the next block's, so that both are functions of a block's number."""
        index = self._phase_of(number)
        length = np.resize(self._setting.phases[index].list_lengths, strays.shape[1])
        shape = len(length), int(length.max())
        before, after = (
            self._generator(number + later, 1).integers(self._setting.num_items, size=shape) for later in range(2)
        )
        is_opening = number == 0 or self._phase_of(number - 1) != index
        return play(before, after, length, strays, number * len(strays), is_opening)
