"""The fits of the scaling benchmark, and that it measures a model of the size it names."""

import numpy as np
import pytest

from stream.core.event import USER, hash_id
from tests.benchmarks.plots import PLOTS
from tests.benchmarks.scaling import costs_of, everyone, exponent, ids_of

TENFOLD = [1e4, 1e5, 1e6, 1e7]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    assert exponent(TENFOLD, [3e-6 * num**power for num in TENFOLD]) == pytest.approx(power, abs=1e-9)


def test_noise_of_a_tenth_moves_the_exponent_by_a_few_hundredths() -> None:
    noise = np.random.default_rng(1).uniform(0.9, 1.1, len(TENFOLD))
    assert exponent(TENFOLD, (np.array(TENFOLD) * noise).tolist()) == pytest.approx(1, abs=0.05)


def test_a_fixed_cost_makes_the_exponent_small() -> None:
    assert 0 < exponent(TENFOLD, [1e-3 + 1e-10 * num for num in TENFOLD]) < 0.2


def test_everyone_occurs_once_and_has_the_key_of_an_id() -> None:
    users, items = (np.concatenate(column) for column in zip(*everyone(1_200_000, 300_000), strict=True))
    assert np.array_equal(users, np.arange(1_200_000))
    assert np.array_equal(np.unique(items), np.arange(300_000))
    keys, start, length, data = ids_of(np.array([0, 7, 12_345_678]), USER)
    names = [data[begin : begin + num].tobytes().decode() for begin, num in zip(start, length, strict=True)]
    assert names == ["00000000", "00000007", "12345678"]
    assert keys.tolist() == [hash_id(name, USER) for name in names]


def test_the_costs_are_of_a_model_that_knows_everyone() -> None:
    costs = costs_of(5_000)
    assert (costs["users"], costs["items"], costs["entities"]) == (4_000, 1_000, 5_000)
    # 32 bytes of slot, 6 of index, 4 for each word of an extent, and what is left free.
    assert 120 < costs["bytes_per_entity"] < 170
    assert costs["checkpoint_bytes"] > 100 * 5_000
    times = [costs[name] for name in costs if name.endswith("_s")]
    assert len(times) == 9
    assert min(times) > 0


def test_a_plot_has_every_number_of_entities_and_the_exponents() -> None:
    points = [{"entities": round(num), "event_s": 5e-6, "event_and_resizes_s": 1e-9 * num} for num in TENFOLD]
    svg = PLOTS["scaling-event"].draw({"points": points, "exponents": {"event_s": 0.0, "event_and_resizes_s": 1.0}})
    assert svg is not None
    assert all(f">{text}<" in svg for text in ("10k", "100k", "1M", "10M", "learning ^0.00", "and resizes ^1.00"))
    assert PLOTS["scaling-event"].draw({"points": points[:1], "exponents": {}}) is None
