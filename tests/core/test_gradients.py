"""One step of learning: every parameter's gradient and accumulator against a naive twin under autograd."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit

from stream.core import arena, seen
from stream.core.event import ITEM, USER, mix64
from stream.core.history import NUM_GAPS, word_of
from stream.core.kernels import learn_candidates
from stream.core.memory import USER_NEWBORN, Layout, Memory, allocate
from stream.core.model import BPR, LOGISTIC, SOFTMAX, Hyper, Shared, Workspace, new_shared, new_workspace
from stream.core.numeric import FAST_MATH
from tests.core.torch_twin import (
    EPSILON,
    Event,
    Floats,
    Parameter,
    Parameters,
    coordinates_of,
    history_of,
    learn,
    read_parameters,
)
from tests.core.twins import top_bits_of

LAYOUT = Layout(num_slots=64, num_buckets=96, arena_words=2048, num_recent=16, num_seen_sets=8)
NO_ID = np.zeros(0, np.uint8)
MAX_ITEM_SIZE = 40
HYPER = Hyper(
    loss=SOFTMAX,
    num_ids=8,
    hides_taken=0,
    use_prior=1,
    negatives_recent=5,
    negatives_uniform=3,
    rate_item=0.7,
    rate_user=0.6,
    rate_lag=0.9,
    rate_newcomer=0.5,
    rate_gate=0.8,
    rate_prior=1.1,
    rate_repeat=1.2,
    half_life_slow=200.0,
    half_life_mid=20.0,
    half_life_fast=5.0,
    initial_scale=0.1,
    initial_context=0.3,
)


class Scene(NamedTuple):
    """A state of the model, and an event to learn."""

    hyper: Hyper
    memory: Memory
    shared: Shared
    event: Event


# Compiled anew each run: a cached copy would not notice a change of the kernels that are inlined into it.
@njit(fastmath=FAST_MATH)
def learn_step(m: Any, p: Any, h: Any, w: Any, user: Any, gap: Any, n: Any, weight: Any) -> None:
    learn_candidates(m, p, h, w, user, gap, n, weight)


def admit(m: Memory, number: int, side: int, size: int, num_ids: int) -> int:
    m.counters[USER_NEWBORN + side] = size
    slot: int = arena.admit(m, np.uint64(mix64(number)), side, NO_ID, 0, 0, 0.1, num_ids)
    return slot


def build_memory(rng: np.random.Generator, user_size: int, item_sizes: list[int], num_ids: int) -> tuple[Memory, int]:
    """Return a memory, random but for the sizes, with gone users and items in between, and the user's slot."""
    m = allocate(LAYOUT)
    user = admit(m, 3000, USER, user_size, num_ids)
    m.slots["slow"][user] = 1.0
    for i, size in enumerate(item_sizes):
        doomed_user = admit(m, 1000 + i, USER, size, num_ids)
        doomed_item = admit(m, 2000 + i, ITEM, size, num_ids)
        item = admit(m, i, ITEM, size, num_ids)
        for slot in (item, doomed_user, doomed_item):
            m.slots["slow"][slot] = rng.uniform(1, 40) if slot == item else 0.0
        m.slots["mid"][item], m.slots["fast"][item] = rng.uniform(0, 10), rng.uniform(0, 3)
    for side in (USER, ITEM):
        arena.evict(m, side, len(item_sizes), top_bits_of(2.0**17), num_ids)
    for slot in np.flatnonzero(m.slots["alive"]).tolist():
        row = coordinates_of(m, slot, num_ids)
        row[:] = rng.normal(0, 0.3, len(row))
        # New rows have nothing accumulated yet.
        m.slots["adagrad"][slot] = rng.choice([0.0, 0.01, 0.5])
    return m, user


def build_shared(rng: np.random.Generator, hyper: Hyper) -> Shared:
    p = new_shared(hyper, seed=1, width=MAX_ITEM_SIZE)
    for name in ("lag", "gate", "newcomer", "prior", "repeat", "taken"):
        value, adagrad = getattr(p, name), getattr(p, f"{name}_adagrad")
        value += rng.normal(0, 0.2, value.shape)
        adagrad[...] = rng.choice([0.0, 0.1, 2.0], value.shape)
    p.decay[:] = rng.uniform(1, 8, len(p.decay))
    return p


@st.composite
def scenes(draw: st.DrawFn, num_ids: int, repeated: bool = False) -> Scene:
    """Draw unlike sizes, a history and candidates, all of distinct items unless ``repeated``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    item_sizes = draw(st.lists(st.integers(0, MAX_ITEM_SIZE), min_size=2, max_size=10))
    user_size = draw(st.integers(0, num_ids + 24))
    loss, use_prior = draw(st.sampled_from([SOFTMAX, LOGISTIC, BPR])), draw(st.integers(0, 1))
    hides_taken = draw(st.integers(0, 1))
    hyper = HYPER._replace(num_ids=num_ids, loss=loss, hides_taken=hides_taken, use_prior=use_prior)
    m, user = build_memory(rng, user_size, item_sizes, num_ids)
    items = np.flatnonzero(m.slots["alive"][: 2 * len(item_sizes)]).tolist()

    def some(most: int) -> st.SearchStrategy[list[int]]:
        return st.lists(st.sampled_from(items), max_size=most, unique=not repeated)

    history = draw(some(min(user_size, num_ids)))
    begin = m.slots["offset"][user]
    gaps = draw(st.lists(st.integers(0, NUM_GAPS - 1), min_size=len(history), max_size=len(history)))
    m.words[begin : begin + len(history)] = [word_of(item, gap) for item, gap in zip(history, gaps, strict=True)]
    target = draw(st.sampled_from(items))
    candidates = [target] + [item for item in draw(some(9)) if item != target]
    gap, weight = draw(st.integers(0, NUM_GAPS - 1)), draw(st.sampled_from([0.25, 1.0, 2.5]))
    m.slots["session"][user] = before = draw(st.integers(0, 30))
    # An event after an hour or more is of a session of its own.
    session = before + (gap >= 5)
    taken = {item: draw(st.integers(0, min(6, session))) for item in draw(some(4))}
    for item, age in taken.items():
        seen.add(m, m.slots["key"][user], m.slots["key"][item], session - age)
    taken = {item: min(age, 2) for item, age in taken.items()}
    assume(all(seen.contains(m, m.slots["key"][user], m.slots["key"][item]) == (item in taken) for item in items))
    event = Event(user, gap, candidates, weight, taken)
    return Scene(hyper, m, build_shared(rng, hyper), event)


def kernel_step(scene: Scene, work: Workspace) -> Parameters:
    """Let the kernels learn the event; return the parameters after it."""
    _, m, p, event = scene
    n = len(event.candidates)
    work.candidates[:n] = event.candidates
    learn_step(m, p, scene.hyper, work, event.user, event.gap, n, np.float32(event.weight))
    return read_parameters(m, p, scene.hyper.num_ids)


def gradient(before: Parameter, after: Parameter, rate: float) -> Floats:
    """Return the gradient that an Adagrad step of this rate must have had."""
    return (before.value - after.value) * np.sqrt(after.adagrad + EPSILON) / rate


_RATES = {"taken": "repeat"}


def assert_same_step(scene: Scene, before: Parameters, got: Parameters, expected: Parameters) -> None:
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(got[name].adagrad, expected[name].adagrad, rtol=1e-5, atol=1e-5, err_msg=str(name))
        side = "user" if name == scene.event.user else "item"
        rate = getattr(scene.hyper, f"rate_{_RATES.get(name, name) if isinstance(name, str) else side}")
        if rate > 0:
            of_got, of_expected = (gradient(before[name], after[name], rate) for after in (got, expected))
            np.testing.assert_allclose(of_got, of_expected, rtol=0, atol=3e-5, err_msg=str(name))


def check(scene: Scene) -> None:
    before = read_parameters(scene.memory, scene.shared, scene.hyper.num_ids)
    expected = learn(scene.memory, scene.shared, scene.hyper, scene.event)
    assert_same_step(scene, before, kernel_step(scene, new_workspace(HYPER)), expected)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    # Out of hypothesis's deep stack, where compiling takes twice as long.
    rng = np.random.default_rng(1)
    m, user = build_memory(rng, 0, [0], HYPER.num_ids)
    kernel_step(Scene(HYPER, m, build_shared(rng, HYPER), Event(user, 0, [1], 1.0)), new_workspace(HYPER))


@settings(derandomize=True, deadline=None, max_examples=250)
@given(scenes(num_ids=8))
def test_every_gradient_is_autograds_with_a_history(scene: Scene) -> None:
    check(scene)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(scenes(num_ids=0))
def test_every_gradient_is_autograds_in_plain_matrix_factorisation(scene: Scene) -> None:
    check(scene)


@settings(derandomize=True, deadline=None, max_examples=120)
@given(scenes(num_ids=8, repeated=True))
def test_every_occurrence_of_an_item_counts_in_its_accumulator(scene: Scene) -> None:
    # While items stand still, the order in which their occurrences learn cannot matter to anything else.
    check(scene._replace(hyper=scene.hyper._replace(rate_item=0.0)))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(scenes(num_ids=8))
def test_only_what_the_event_names_is_touched(scene: Scene) -> None:
    hyper, m, _, event = scene
    assume(len(event.candidates) > 1)
    before = m._replace(arena=m.arena.copy())
    kernel_step(scene, new_workspace(HYPER))
    for slot in {event.user, *event.candidates, *history_of(m, event.user, hyper.num_ids)}:
        for state in (before, m):
            coordinates_of(state, slot, hyper.num_ids)[:] = 0.0
    np.testing.assert_array_equal(m.words, before.arena.view(np.int32))
