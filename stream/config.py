"""Settings: frozen, typed, with units; unknown keys are refused by their path."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from stream.core.memory import SLOT_BITS, Layout, plan_layout
from stream.core.model import LOSSES, Hyper
from stream.core.sizes import MAX_SIZE, SizeBounds
from stream.core.windows import parse_window
from stream.errors import BudgetError, UsageError

_BYTE_UNITS: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SECOND_UNITS: Final = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
MAX_HISTORY: Final = 64
_FEWEST_ENTITIES: Final = 64


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be stored per user, item and event."""

    budget_bytes: int = 8 * 2**20
    """All of it together."""
    words_per_entity: int = 12
    """Words of the arena per entity that the index can hold; fewer entities have more each."""
    max_entities: int | None = None
    """Entities that the index can hold, instead: the arena gets all the rest."""
    seen_share: float = 0.125
    """Share of the budget for the filter of pairs taken."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The learner. Rates are Adagrad's, half-lives are in events."""

    loss: str = "softmax"
    history: int = 8
    """Most item ids in a user's history."""
    prior: bool = True
    """Popularity as an additive prior."""
    negatives_recent: int = 48
    negatives_uniform: int = 4
    rate_item: float = 0.2
    rate_user: float = 0.15
    rate_lag: float = 0.02
    rate_newcomer: float = 0.02
    rate_gate: float = 0.02
    rate_prior: float = 0.01
    rate_repeat: float = 0.15
    # With a point, for an integer would be another type to the compiler and cost a compilation.
    half_life_slow: float = 20_000.0
    half_life_mid: float = 2_000.0
    half_life_fast: float = 250.0
    initial_scale: float = 0.09
    initial_context: float = 0.15


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Embedding sizes in words of four bytes."""

    user_min: int = 1
    user_max: int = 24
    item_min: int = 2
    item_max: int = 32
    resize_every_events: int = 2_000
    """Sizes follow the ranks this often; the policy is asked at each window's end."""


class Windows(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When windows close, and what becomes of events out of order."""

    close_after: str = "50000events"
    allowed_lateness_s: float = 0
    learn_late: bool = False
    """Learn late events instead of dead-lettering them."""
    max_future_jump_s: float = 366 * 86400
    """An event this far ahead of all before it comes from a broken clock, unless a hundred in a row do."""


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prequential tests."""

    sample: float = 1.0
    """Share of the events that are tested."""
    top_k: int = 20


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that a model and its figures depend on, besides the data."""

    seed: int = 1
    policy: str = "uniform/powerlaw:1@0.3"
    users_share: float = 0.5
    """Share of the arena's payload that users may own, under policies that do not decide it."""
    exclude_seen: bool = False
    """An item is taken once: neither recommended nor counted to a user who took it."""
    memory: Memory = Memory()
    model: Model = Model()
    sizes: Sizes = Sizes()
    windows: Windows = Windows()
    evaluation: Evaluation = Evaluation()

    def hyper(self) -> Hyper:
        """Return the learner's settings as the kernels take them."""
        fields = msgspec.structs.asdict(self.model)
        fields["loss"] = LOSSES[fields.pop("loss")]
        fields["num_ids"] = fields.pop("history")
        fields["hides_taken"] = int(self.exclude_seen)
        fields["use_prior"] = int(fields.pop("prior"))
        return Hyper(**{name: fields[name] for name in Hyper._fields})

    def layout(self, budget_bytes: int | None = None) -> Layout:
        """Return how the budget, or another one, is laid out; with another, ``max_entities`` is in proportion.

        Raises :class:`BudgetError` where it is too small for anything useful.
        """
        memory = self.memory
        budget_bytes = memory.budget_bytes if budget_bytes is None else budget_bytes
        max_entities = memory.max_entities
        if max_entities is not None:
            max_entities = max(_FEWEST_ENTITIES, max_entities * budget_bytes // memory.budget_bytes)
        return plan_layout(budget_bytes, memory.words_per_entity, max_entities, memory.seen_share)

    def user_bounds(self) -> SizeBounds:
        """Return the sizes a user may have."""
        return SizeBounds(self.sizes.user_min, self.sizes.user_max)

    def item_bounds(self) -> SizeBounds:
        """Return the sizes an item may have."""
        return SizeBounds(self.sizes.item_min, self.sizes.item_max)


PLAIN: Final = {
    "model.history": 0,
    "model.prior": False,
    "model.loss": "logistic",
    "model.negatives_recent": 0,
    "model.negatives_uniform": 1,
    "sizes.user_max": 32,
    "sizes.resize_every_events": 20_000,
    "memory.seen_share": 0.0,
}
"""The plain setting: matrix factorisation with one uniform negative, the control.

Its events cost a tenth of the others, so resizes as frequent would be half of the work; its quality is the same with a
tenth of them."""
WIDE: Final = {"sizes.item_max": 64, "sizes.item_min": 0, "sizes.user_min": 0}
"""Bounds of the sizes that leave a policy room to decide."""


def _names() -> set[str]:
    sections: dict[str, Any] = msgspec.to_builtins(Settings())
    nested = {f"{section}.{name}" for section, value in sections.items() if isinstance(value, dict) for name in value}
    return nested | {name for name, value in sections.items() if not isinstance(value, dict)}


_NAMES: Final = _names()


def make_settings(values: dict[str, Any]) -> Settings:
    """Return checked settings from dotted names, such as ``{"memory.budget_bytes": 1 << 20}``.

    Values may be text, as a command line gives them.

    Raises:
        UsageError: an unknown name, a value of the wrong kind or out of range; names the setting.

    >>> make_settings({"seed": "7", "sizes.item_max": 16}).sizes.item_max
    16

    """
    nested: dict[str, Any] = {}
    for path, value in values.items():
        if path not in _NAMES:
            raise UsageError(f"setting {path!r} is unknown: scall replay --help lists the settings")
        section, _, name = path.rpartition(".")
        # Numbers in text are read as JSON has them, but people write .5 too.
        legible = f"0{value}" if isinstance(value, str) and value.startswith(".") else value
        (nested.setdefault(section, {}) if section else nested)[name] = legible
    try:
        settings = msgspec.convert(nested, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(_explain(str(error))) from None
    parse_window(settings.windows.close_after)
    for mistake in mistakes_in(settings):
        raise UsageError(f"setting {mistake.text}")
    return settings


def _explain(message: str) -> str:
    # msgspec says "Expected `int`, got `str` - at `$.memory.budget_bytes`".
    what, _, where = message.partition(" - at `$")
    what = what[:1].lower() + what[1:].rstrip(".")
    return f"setting {where.strip('.`')}: {what}; scall replay --help lists the settings"


class Mistake(NamedTuple):
    """What is wrong with one setting."""

    path: str
    """Its dotted name."""
    text: str
    """One line that begins with the path and ends with the remedy."""
    beside: tuple[str, ...] = ()
    """Other settings that it is wrong beside: where those are wrong themselves, nothing is known of this one."""


class Range(NamedTuple):
    """A number, and the least and the most that it may be."""

    path: str
    value: float
    low: float
    high: float
    beside: tuple[str, ...] = ()
    """Other settings that the bounds depend on."""


def out_of_range(ranges: Iterable[Range]) -> Iterator[Mistake]:
    """Yield a mistake for each number that is not within its bounds.

    >>> next(out_of_range([Range("evaluation.sample", 1.5, 0, 1)])).text
    'evaluation.sample = 1.5 is out of range: give a value from 0 to 1'
    """
    for path, value, low, high, beside in ranges:
        if not low <= value <= high:
            text = f"{path} = {_written(value)} is out of range: give a value from {low:.15g} to {high:.15g}"
            yield Mistake(path, text, beside)


def _written(value: float) -> str:
    try:
        return f"{value:.15g}"
    except OverflowError:
        return "a huge number"


def mistakes_in(settings: Settings) -> Iterator[Mistake]:
    """Yield what is wrong with the numbers and choices; what other modules read (window, policy, budget) they judge."""
    yield from out_of_range(_ranges(settings))
    if settings.model.loss not in LOSSES:
        text = f"model.loss = {settings.model.loss!r} is unknown: give one of {', '.join(LOSSES)}"
        yield Mistake("model.loss", text)


def _ranges(settings: Settings) -> list[Range]:
    memory, model, sizes = settings.memory, settings.model, settings.sizes
    windows, evaluation = settings.windows, settings.evaluation
    fewest_uniform = 0 if model.negatives_recent else 1
    entities = _FEWEST_ENTITIES if memory.max_entities is None else memory.max_entities
    return [
        Range("seed", settings.seed, 0, 2**63 - 1),
        Range("users_share", settings.users_share, 0, 1),
        Range("memory.words_per_entity", memory.words_per_entity, 4, 2 * MAX_SIZE),
        Range("memory.max_entities", entities, _FEWEST_ENTITIES, 2**SLOT_BITS),
        Range("memory.seen_share", memory.seen_share, 0.001 if settings.exclude_seen else 0, 0.9, ("exclude_seen",)),
        Range("model.history", model.history, 0, MAX_HISTORY),
        Range("model.negatives_recent", model.negatives_recent, 0, 10_000),
        Range("model.negatives_uniform", model.negatives_uniform, fewest_uniform, 10_000, ("model.negatives_recent",)),
        *(Range(f"model.{name}", getattr(model, name), 0, 10) for name in _of_model("rate_")),
        *(Range(f"model.{name}", getattr(model, name), 1, 10**9) for name in _of_model("half_life_")),
        Range("model.initial_scale", model.initial_scale, 0, 10),
        Range("model.initial_context", model.initial_context, 0, 10),
        Range("sizes.user_max", sizes.user_max, 0, MAX_SIZE),
        Range("sizes.user_min", sizes.user_min, 0, sizes.user_max, ("sizes.user_max",)),
        Range("sizes.item_max", sizes.item_max, 0, MAX_SIZE),
        Range("sizes.item_min", sizes.item_min, 0, sizes.item_max, ("sizes.item_max",)),
        Range("sizes.resize_every_events", sizes.resize_every_events, 1, 2**62),
        Range("windows.allowed_lateness_s", windows.allowed_lateness_s, 0, 10**10),
        Range("windows.max_future_jump_s", windows.max_future_jump_s, 0, 10**12),
        Range("evaluation.sample", evaluation.sample, 0, 1),
        Range("evaluation.top_k", evaluation.top_k, 1, 10_000),
    ]


def _of_model(prefix: str) -> list[str]:
    return [name for name in Model.__struct_fields__ if name.startswith(prefix)]


def parse_bytes(text: str, name: str = "budget") -> int:
    """Return a size in bytes; ``name`` is the option or setting it was given for.

    Raises:
        BudgetError: the text is no size.

    >>> parse_bytes("8MiB"), parse_bytes("1.5 GB"), parse_bytes("262144")
    (8388608, 1500000000, 262144)

    """
    number = _split_unit(text, _BYTE_UNITS)
    if number is None or not 1 <= number < 2**50:
        raise BudgetError(f"{name} {text!r} is not a size: write bytes as a number with KiB, MiB or GiB, such as 8MiB")
    return int(number)


def parse_seconds(name: str, text: str) -> float:
    """Return a duration in seconds; ``name`` is the option or setting it was given for.

    >>> parse_seconds("--lateness", "1.5h")
    5400.0
    """
    number = _split_unit(text, _SECOND_UNITS)
    if number is None:
        raise UsageError(f"{name} {text!r} is not a duration: write a number with s, min, h or d, such as 30min")
    return number


def _split_unit(text: str, units: dict[str, int]) -> float | None:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    by_name = {name.lower(): factor for name, factor in units.items()}
    if match is None or match[2].lower() not in by_name:
        return None
    return float(match[1]) * by_name[match[2].lower()]
