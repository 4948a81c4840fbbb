"""Synthetic worlds by name: endless streams of events whose truth is known."""

from collections.abc import Mapping
from typing import Any, Final

from simulators import clustered, planted
from simulators.blocks import World
from simulators.clustered import ClusteredWorld
from simulators.planted import PlantedWorld
from stream.errors import UsageError

WORLDS: Final[Mapping[str, str]] = {
    **{name: setting.description for name, setting in clustered.SETTINGS.items()},
    **{name: setting.description for name, setting in planted.SETTINGS.items()},
}
"""Name of each world -> what it is, in one line."""


def open_world(name: str, seed: int, limit: int | None) -> World[Any]:
    """Open a synthetic world; ``name`` is what follows ``synthetic:``, ``limit`` the number of events.

    Without a limit the stream ends after the world's default number of events. Raises :class:`UsageError` for
    a name that is not in :data:`WORLDS`, a negative seed or a limit below 1.

    >>> world = open_world("churn", seed=7, limit=10)
    >>> world.name, world.num_records, world.poll().events.num_events
    ('synthetic:churn', 10, 10)
    >>> round(float(world.item_rates(0).sum()), 9)
    1.0
    """
    if name not in WORLDS:
        known = ", ".join(f"synthetic:{world}" for world in WORLDS)
        raise UsageError(f"synthetic:{name} is no world: choose one of {known}")
    if seed < 0:
        raise UsageError(f"synthetic:{name} cannot be seeded with {seed}: give a seed of 0 or more")
    if limit is not None and limit < 1:
        raise UsageError(f"synthetic:{name} cannot be limited to {limit} events: give a limit of 1 or more")
    return PlantedWorld(name, seed, limit) if name in planted.SETTINGS else ClusteredWorld(name, seed, limit)
