"""What users of planted worlds take next: walks over a table of followers, and playlists.

Users take turns in rounds, each once a round. Arrays of events are of shape (rounds, users). ``strays`` are the items
of the events that follow no pattern, -1 for all others. With the items comes what each event *follows*: the item whose
followers are the likely ones, -1 where nothing is known.
"""

import numpy as np

from simulators.blocks import Indices


def draw_graph(num_items: int, degree: int, rng: np.random.Generator) -> Indices:
    """Return the neighbours of each item in a random regular graph: int64[num_items, degree].

    The graph is the sum of random perfect matchings, so two items may be neighbours twice.

    >>> graph = draw_graph(10, 3, np.random.default_rng(0))
    >>> all(item in graph[neighbour] for item in range(10) for neighbour in graph[item])
    True
    """
    neighbours = np.empty((num_items, degree), np.int64)
    for matching in neighbours.T:
        one, other = rng.permutation(num_items).reshape(2, -1)
        matching[one], matching[other] = other, one
    return neighbours


def draw_cliques(num_items: int, degree: int, rng: np.random.Generator) -> Indices:
    """Return the others of each item's group, all groups being of ``degree`` + 1: int64[num_items, degree].

    >>> draw_cliques(4, 1, np.random.default_rng(0)).tolist()
    [[2], [3], [0], [1]]
    """
    groups = rng.permutation(num_items).reshape(-1, degree + 1)
    others = np.empty((num_items, degree), np.int64)
    for place, members in enumerate(groups.T):
        others[members] = np.delete(groups, place, axis=1)
    return others


def walk(followers: Indices, strays: Indices, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Return the items, and what they follow, of users who go on from their last item to one of its followers.

    In the first round, and after an item that nothing follows, all items that have followers are as likely.
    """
    core, degree = followers.shape
    items, followed = np.empty_like(strays), np.full_like(strays, -1)
    step, fresh = rng.integers(degree, size=strays.shape), rng.integers(core, size=strays.shape)
    last = np.full(strays.shape[1], core)
    for turn, stray in enumerate(strays):
        known = last < core
        followed[turn, known] = last[known]
        following = np.where(known, followers[np.minimum(last, core - 1), step[turn]], fresh[turn])
        last = items[turn] = np.where(stray < 0, following, stray)
    return items, followed


def play(
    before: Indices, after: Indices, length: Indices, strays: Indices, first_round: int, is_opening: bool
) -> tuple[Indices, Indices]:
    """Return the items, and what they follow, of users who play lists in a circle.

    ``before`` and ``after`` hold a list for each user, int64[users, longest], of which the user takes the first
    ``length``, int64[users]. Each user changes from one to the other in a round of the user's own, so that in every
    round as many do. An item of a list is followed by itself, once it has been played; with ``is_opening`` nothing has
    been played before these rounds, of which the first is number ``first_round`` in the world.
    """
    num_rounds, num_users = strays.shape
    user, turn = np.arange(num_users), np.arange(num_rounds)[:, None]
    change = user * num_rounds // num_users
    has_changed, place = turn >= change, (first_round + turn) % length
    listed = np.where(has_changed, after[user, place], before[user, place])
    num_played = np.where(has_changed, turn - change, turn if is_opening else turn - change + num_rounds)
    return np.where(strays < 0, listed, strays), np.where(num_played >= length, listed, -1)
