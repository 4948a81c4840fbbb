"""The oracle of synthetic worlds as a peer: its scores are the world's own chances, item by item."""

import numpy as np
import pytest

from simulators.peers.events import gather
from simulators.peers.oracle import Oracle
from simulators.peers.popularity import Popularity
from simulators.peers.prequential import try_peer
from simulators.synthetic import open_world
from stream.assembly import build_trainer
from stream.config import make_settings

LIMIT = 9_000
"""Events: more than a block, so that truth changes on the way."""


@pytest.mark.parametrize("name", ["stationary", "churn", "planted-history"])
def test_it_scores_items_by_their_true_chances_and_those_that_are_gone_by_none(name: str) -> None:
    stream = gather(open_world(name, 3, LIMIT), build_trainer(make_settings({})).sort)
    oracle, world = Oracle(open_world(name, 3, LIMIT), stream), open_world(name, 3, LIMIT)
    learnt = 0
    for index in (0, 1, 500, 8_191, 8_192, 8_999):
        oracle.learn(stream.events.cut(learnt, index))
        learnt = index
        num_known = int(stream.num_known[index])
        chances = dict(zip(world.item_keys(index).tolist(), world.item_probabilities(index).tolist(), strict=True))
        expected = [[chances.get(key, 0.0) for key in stream.item_key[:num_known].tolist()]]
        assert oracle.scores(int(stream.events.user[index]), num_known).tolist() == expected


def test_it_recalls_far_more_than_popularity() -> None:
    stream = gather(open_world("drift", 1, LIMIT), build_trainer(make_settings({"evaluation.sample": 0.2})).sort)
    found = {}
    for name, peer in (
        ("oracle", Oracle(open_world("drift", 1, LIMIT), stream)),
        ("popularity", Popularity(stream.num_items)),
    ):
        trial = try_peer(peer, stream, exclude_seen=False, elapsed_s=iter(np.arange(1e6)).__next__)
        assert trial is not None
        found[name] = float((trial.rank < 20).mean(axis=1).max())
    assert found["oracle"] > 2 * found["popularity"] > 0
