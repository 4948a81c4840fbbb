"""Settings: every name, kind and bound; what is wrong is told in one line that names the setting."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import (
    PLAIN,
    Evaluation,
    Model,
    Settings,
    Sizes,
    make_settings,
    mistakes_in,
    parse_bytes,
    parse_seconds,
)
from stream.core.memory import plan_layout
from stream.core.model import BPR, LOGISTIC, SOFTMAX, Hyper
from stream.core.sizes import SizeBounds
from stream.errors import BudgetError, ScallError, UsageError

quick = settings(derandomize=True, deadline=None, max_examples=200)

RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "users_share": (0, 1),
    "memory.words_per_entity": (4, 510),
    "memory.max_entities": (64, 2**28),
    "memory.seen_share": (0, 0.9),
    "model.history": (0, 64),
    "model.negatives_recent": (0, 10_000),
    "model.negatives_uniform": (0, 10_000),
    **dict.fromkeys(
        (f"model.rate_{of}" for of in ("item", "user", "lag", "newcomer", "gate", "prior", "repeat")), (0, 10)
    ),
    **dict.fromkeys((f"model.half_life_{of}" for of in ("slow", "mid", "fast")), (1, 10**9)),
    "model.initial_scale": (0, 10),
    "model.initial_context": (0, 10),
    "sizes.user_min": (0, 24),
    "sizes.user_max": (0, 255),
    "sizes.item_min": (0, 32),
    "sizes.item_max": (0, 255),
    "sizes.resize_every_events": (1, 2**62),
    "windows.allowed_lateness_s": (0, 10**10),
    "windows.max_future_jump_s": (0, 10**12),
    "evaluation.sample": (0, 1),
    "evaluation.top_k": (1, 10_000),
}
# The bounds of a smallest size depend on the largest.
COMPANIONS = {"sizes.user_max": {"sizes.user_min": 0}, "sizes.item_max": {"sizes.item_min": 0}}


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Values by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return found


def values_of(settings: Settings) -> dict[str, Any]:
    return flat(msgspec.to_builtins(settings))


DEFAULTS = values_of(Settings())


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as error:
        make_settings(values)
    assert "\n" not in str(error.value)
    return str(error.value)


def is_real(name: str) -> bool:
    return isinstance(DEFAULTS[name], float) or name.endswith("_s")


# Names


def test_nothing_given_gives_the_defaults() -> None:
    assert make_settings({}) == Settings()


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_can_be_given_by_its_dotted_name(name: str) -> None:
    assert make_settings({name: DEFAULTS[name]}) == Settings()


UNKNOWN = ["colour", "memory.budget", "budget_bytes", "memory", "memory.", ".seed", "", "seed.x", "memory.seen_share.x"]


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_name_is_told_by_its_whole_path(name: str) -> None:
    line = refusal({"seed": 3, "memory.budget_bytes": 1 << 20, name: 3})
    assert line == f"setting {name!r} is unknown: scall replay --help lists the settings"


def test_a_setting_inside_a_setting_is_unknown_whichever_comes_first() -> None:
    assert "'seed.x'" in refusal({"seed.x": 1, "seed": 1})
    assert "'seed.x'" in refusal({"seed": 1, "seed.x": 1})


# Bounds


def test_every_number_has_bounds() -> None:
    numbers = {name for name, value in DEFAULTS.items() if isinstance(value, int | float) and value is not True}
    # The budget's lower bound depends on the rest: the layout refuses what is too small.
    assert numbers - {"exclude_seen", "windows.learn_late", "memory.budget_bytes"} == (
        RANGES.keys() - {"memory.max_entities"}
    )


@pytest.mark.parametrize("name", RANGES)
def test_the_bounds_of_a_setting_are_legal(name: str) -> None:
    for bound in RANGES[name]:
        assert values_of(make_settings(COMPANIONS.get(name, {}) | {name: bound}))[name] == bound


@pytest.mark.parametrize("name", RANGES)
def test_what_lies_outside_the_bounds_is_refused_in_one_line_that_names_them(name: str) -> None:
    low, high = RANGES[name]
    if is_real(name):
        outside = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), math.nan, math.inf, -math.inf]
    else:
        outside = [low - 1, high + 1, -(2**62)]
    for value in outside:
        line = refusal(COMPANIONS.get(name, {}) | {name: value})
        assert line == f"setting {name} = {value:.15g} is out of range: give a value from {low:.15g} to {high:.15g}"


def test_the_smallest_size_is_bounded_by_the_largest() -> None:
    assert make_settings({"sizes.item_min": 16, "sizes.item_max": 16}).item_bounds() == SizeBounds(16, 16)
    line = refusal({"sizes.item_min": 17, "sizes.item_max": 16})
    assert line == "setting sizes.item_min = 17 is out of range: give a value from 0 to 16"
    assert "sizes.user_min = 1 " in refusal({"sizes.user_max": 0})


def test_at_least_one_way_leads_to_negatives() -> None:
    assert make_settings({"model.negatives_uniform": 0}).model.negatives_uniform == 0
    line = refusal({"model.negatives_recent": 0, "model.negatives_uniform": 0})
    assert line == "setting model.negatives_uniform = 0 is out of range: give a value from 1 to 10000"


def test_a_number_too_large_to_be_written_is_refused_too() -> None:
    assert refusal({"seed": 10**400}).startswith("setting seed = a huge number is out of range")


def test_every_mistake_is_found_at_once_and_the_first_is_told() -> None:
    made = Settings(seed=-1, evaluation=Evaluation(sample=2), model=Model(loss="hinge", history=65))
    mistakes = list(mistakes_in(made))
    assert [mistake.path for mistake in mistakes] == ["seed", "model.history", "evaluation.sample", "model.loss"]
    assert refusal(values_of(made)) == f"setting {mistakes[0].text}"


def test_a_mistake_names_the_settings_that_its_bounds_depend_on() -> None:
    both_smallest = Settings(sizes=Sizes(user_min=9, user_max=8, item_min=9, item_max=8))
    assert [mistake.beside for mistake in mistakes_in(both_smallest)] == [("sizes.user_max",), ("sizes.item_max",)]
    no_negatives = Settings(model=Model(negatives_recent=0, negatives_uniform=0))
    assert [mistake.beside for mistake in mistakes_in(no_negatives)] == [("model.negatives_recent",)]


def test_a_loss_or_a_window_that_does_not_exist_is_refused_with_those_that_do() -> None:
    line = refusal({"model.loss": "hinge"})
    assert line == "setting model.loss = 'hinge' is unknown: give one of softmax, logistic, bpr"
    assert refusal({"windows.close_after": "soon"}).startswith("window 'soon' is not understood: write one of")


# Kinds


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "42", 42),
        ("memory.max_entities", "1000", 1000),
        ("memory.max_entities", "null", None),
        ("model.prior", "false", False),
        ("model.prior", "1", True),
        ("exclude_seen", "true", True),
        ("model.rate_item", "0.5", 0.5),
        ("model.rate_item", "1", 1.0),
        ("model.rate_item", "1e-3", 0.001),
        ("policy", "7", "7"),
        ("windows.close_after", "1d", "1d"),
    ],
)
def test_text_becomes_what_the_setting_holds(name: str, text: str, value: object) -> None:
    found = values_of(make_settings({name: text}))[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("seed", "1.5", "int"),
        ("memory.budget_bytes", "8MiB", "int"),
        ("model.history", "many", "int"),
        ("model.rate_item", "fast", "float"),
        ("model.prior", "no", "bool"),
        ("policy", 3, "str"),
        ("evaluation.top_k", None, "int"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_one_line_that_names_the_kind(
    name: str, value: object, kind: str
) -> None:
    line = refusal({name: value})
    assert line.startswith(f"setting {name}: expected `{kind}")
    assert line.endswith("; scall replay --help lists the settings")


def test_settings_cannot_be_changed() -> None:
    made = make_settings({})
    for struct, name in ((made, "seed"), (made.memory, "budget_bytes"), (made.model, "loss"), (made.sizes, "item_max")):
        with pytest.raises(AttributeError):
            setattr(struct, name, 1)


# What becomes of them


def test_the_plain_setting_is_matrix_factorisation_with_one_negative() -> None:
    plain = make_settings(PLAIN).hyper()
    assert (plain.loss, plain.num_ids, plain.use_prior) == (LOGISTIC, 0, 0)
    assert (plain.negatives_recent, plain.negatives_uniform) == (0, 1)
    assert make_settings(PLAIN).user_bounds() == SizeBounds(1, 32)
    assert values_of(make_settings(PLAIN)) == DEFAULTS | PLAIN
    assert make_settings(PLAIN | {"model.loss": "bpr"}).hyper().loss == BPR


def test_the_learner_gets_the_settings_of_the_model() -> None:
    hyper = make_settings({"model.history": 5, "model.rate_lag": 0.25, "model.half_life_fast": 99}).hyper()
    assert (hyper.loss, hyper.num_ids, hyper.use_prior) == (SOFTMAX, 5, 1)
    assert (hyper.rate_lag, hyper.half_life_fast) == (0.25, 99)
    assert hyper.negatives_recent == Settings().model.negatives_recent


def test_the_filter_of_pairs_has_its_share_whether_it_hides_or_weighs() -> None:
    budget_bytes = Settings().memory.budget_bytes
    for hides in (False, True):
        assert Settings(exclude_seen=hides).layout() == plan_layout(budget_bytes, 12, seen_share=0.125)
    assert make_settings({"memory.seen_share": 0}).layout().num_seen_sets == 0
    with pytest.raises(UsageError, match=r"memory.seen_share = 0 is out of range: give a value from 0.001"):
        make_settings({"memory.seen_share": 0, "exclude_seen": True})
    with pytest.raises(BudgetError, match="too small"):
        make_settings({"memory.budget_bytes": 1000}).layout()


@pytest.mark.parametrize("values", [{}, PLAIN, {f"model.half_life_{of}": 7 for of in ("slow", "mid", "fast")}])
def test_kernels_get_the_same_types_whatever_is_set(values: dict[str, Any]) -> None:
    # Another type would be another compilation, of half a minute.
    assert [type(value) for value in make_settings(values).hyper()] == list(Hyper.__annotations__.values())


# Units

BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 1000, "MB": 10**6, "GB": 10**9}
SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86_400}
cases = st.sampled_from([str, str.lower, str.upper])
spaces = st.sampled_from(["", " ", "  "])


@quick
@given(number=st.integers(1, 2**20 - 1), unit=st.sampled_from(list(BYTES)), case=cases, space=spaces)
def test_bytes_are_a_number_and_a_unit_in_any_case(number: int, unit: str, case: Any, space: str) -> None:
    assert parse_bytes(f"{space}{number}{space}{case(unit)}{space}") == number * BYTES[unit]
    assert parse_bytes(f"{number}.5{space}{case(unit)}") == int((number + 0.5) * BYTES[unit])


@quick
@given(number=st.integers(0, 10**6), unit=st.sampled_from(list(SECONDS)), case=cases, space=spaces)
def test_seconds_are_a_number_and_a_unit_in_any_case(number: int, unit: str, case: Any, space: str) -> None:
    assert parse_seconds("--lateness", f"{space}{number}{space}{case(unit)}{space}") == number * SECONDS[unit]
    assert parse_seconds("--lateness", f"{number}.25{unit}") == pytest.approx((number + 0.25) * SECONDS[unit])


def told(parse: Callable[[str], float], text: str) -> float | str:
    """What comes of a text: its value, or what an error says of it."""
    try:
        return parse(text)
    except ScallError as error:
        return str(error)


@quick
@given(text=st.text(max_size=8) | st.from_regex(r"[0-9.]{1,12}[kKmMgGiIbB]{0,3}", fullmatch=True))
def test_any_text_is_an_amount_or_refused_in_one_line(text: str) -> None:
    size, duration = told(parse_bytes, text), told(lambda text: parse_seconds("--lateness", text), text)
    assert 1 <= size < 2**50 if isinstance(size, int) else repr(text) in str(size)
    assert duration >= 0 if isinstance(duration, float) else repr(text) in str(duration)
    assert "\n" not in f"{size}{duration}"


@pytest.mark.parametrize("text", ["", "0", "0.5", "-1", "8 Mi", "eight", "1e6", "1,000", "1.MiB", "٣", "9" * 400])
def test_what_is_no_size_is_a_budget_error_with_an_example(text: str) -> None:
    with pytest.raises(BudgetError, match=r"^budget '.*' is not a size: .*KiB, MiB or GiB, such as 8MiB$"):
        parse_bytes(text)


def test_what_is_no_size_names_the_setting_it_was_given_for() -> None:
    with pytest.raises(BudgetError, match=r"^kafka.max_record_bytes 'big' is not a size"):
        parse_bytes("big", "kafka.max_record_bytes")


def test_a_budget_ends_below_a_pebibyte() -> None:
    assert parse_bytes(str(2**50 - 1)) == 2**50 - 1
    with pytest.raises(BudgetError):
        parse_bytes(str(2**50))


@pytest.mark.parametrize("text", ["", "-1s", "1w", "1.5.2h", "soon", "1m"])
def test_what_is_no_duration_is_a_usage_error_that_names_the_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--lateness '.*' is not a duration: .* such as 30min$"):
        parse_seconds("--lateness", text)
