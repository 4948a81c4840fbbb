"""``scall size``: how many bytes so many users and items take, or how many of them a budget holds."""

import argparse
import math
from typing import Any, Final, NamedTuple

from stream.adapters.units import bytes_text
from stream.commands.options import mean_size
from stream.config import Memory, Settings, Sizes, mistakes_in, parse_bytes
from stream.core.memory import BYTES_PER_ENTITY_INDEX, budget_for, slots_for
from stream.core.sizes import MAX_SIZE
from stream.errors import BudgetError, UsageError

LEARNER_BYTES: Final = 350 * 2**20
"""Resident memory of `scall run` but for the model and its copies: measured, on Linux with Python 3.11."""
HTTP_BYTES: Final = 200 * 2**20
"""That of the process that answers requests, likewise; code that both share is counted twice."""
_MOST_WORDS: Final = 2**31 - 1
_ROUNDED_TO: Final = 1024


class Crowd(NamedTuple):
    """Who is to be held, and how well."""

    num_users: int
    num_items: int
    user_size: int
    """Mean words of a user's embedding."""
    item_size: int
    id_bytes: int
    """Mean length of an item's id."""
    num_pairs: int
    """Pairs of user and item to be remembered."""

    @property
    def num_entities(self) -> int:
        """Users and items together."""
        return self.num_users + self.num_items

    def budget_bytes(self) -> int:
        """Return the budget under which all of them have their size, a multiple of 1 KiB."""
        needed = budget_for(*self)
        # Beside those in use there have to be slots that are not.
        needed += BYTES_PER_ENTITY_INDEX * (slots_for(self.num_users, self.num_items) - self.num_entities)
        if not self.num_pairs:
            needed = math.ceil(needed / (1 - Memory().seen_share))
        return math.ceil((needed + 64) / _ROUNDED_TO) * _ROUNDED_TO

    def settings(self, budget_bytes: int) -> Settings:
        """Return the settings that hold them under a budget.

        Raises:
            BudgetError: more than one model can hold.

        """
        words = self.num_users * self.user_size + self.num_items * self.item_size
        usual = Sizes()
        settings = Settings(
            users_share=self.num_users * self.user_size / words,
            exclude_seen=self.num_pairs > 0,
            memory=Memory(
                budget_bytes=budget_bytes,
                max_entities=slots_for(self.num_users, self.num_items),
                seen_share=max(0.001, 4 * self.num_pairs / budget_bytes) if self.num_pairs else Memory().seen_share,
            ),
            # Twice the mean at least, for what is popular is to have more than that.
            sizes=Sizes(
                user_max=max(usual.user_max, min(MAX_SIZE, 2 * self.user_size)),
                item_max=max(usual.item_max, min(MAX_SIZE, 2 * self.item_size)),
            ),
        )
        for mistake in mistakes_in(settings):
            raise BudgetError(f"one model cannot hold so much: {mistake.text}")
        if settings.layout().arena_words >= _MOST_WORDS:
            text = f"one model holds {bytes_text(4 * _MOST_WORDS)} of embeddings at most"
            raise BudgetError(f"{text}: ask for fewer users and items, or for smaller sizes")
        return settings


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "size",
        help="tell how many bytes so many users and items take, or how many a budget holds",
        description="Tells the budget under which so many users and items all have embeddings of a mean size, what it "
        "goes into, the settings for it, and what the process takes beside it. With --budget it tells how many fit.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--users", type=_count, metavar="N", help="users to hold, such as 1e6")
    option("--items", type=_count, metavar="N", help="items to hold, such as 2e5")
    option("--budget", metavar="SIZE", help="tell instead how many of both so many bytes hold, such as 64MiB")
    option("--users-per-item", type=_ratio, default=5.0, metavar="N", help="with --budget: users for each item (5)")
    option("--mean", type=mean_size, default=16, metavar="WORDS", help="mean size of an embedding (16)")
    option("--user-mean", type=mean_size, metavar="WORDS", help="that of users, where it is another")
    option("--id-bytes", type=_count, default=12, metavar="N", help="mean length of an item's id (12)")
    option("--exclude-seen", action="store_true", help="remember who took what")
    option("--pairs", type=_count, metavar="N", help="with --exclude-seen: pairs of user and item to remember")
    parser.set_defaults(command=size)


def size(options: argparse.Namespace) -> int:
    """Print the answer."""
    if options.exclude_seen != (options.pairs is not None):
        raise UsageError("--exclude-seen and --pairs go together: give both, such as --exclude-seen --pairs 1e7")
    if (options.users is None) != (options.items is None) or (options.users is None) == (options.budget is None):
        raise UsageError("give --users and --items, or else --budget, such as scall size --users 1e6 --items 2e5")
    if options.budget is None:
        crowd = _crowd(options, options.users, options.items)
        budget_bytes = crowd.budget_bytes()
    else:
        budget_bytes = parse_bytes(options.budget, "--budget")
        crowd = _largest(options, budget_bytes)
    print(describe(crowd, budget_bytes))
    return 0


def describe(crowd: Crowd, budget_bytes: int) -> str:
    """Return what is told of a budget; the settings in it are TOML, and all the rest is comments."""
    settings = crowd.settings(budget_bytes)
    sizes = f"{crowd.item_size} words on average"
    if crowd.user_size != crowd.item_size:
        sizes = f"{crowd.user_size} words a user and {crowd.item_size} an item on average"
    lines = [
        f"# {crowd.num_users:,} users and {crowd.num_items:,} items, {sizes}, item ids of {crowd.id_bytes} bytes:",
        "#",
        *(f"# {bytes_text(num):>9}  {name}" for name, num in settings.layout().bytes_by_name.items() if num),
        f"# {bytes_text(budget_bytes):>9}  the budget",
        "#",
        *(f"# {line}" for line in _beside(budget_bytes)),
        "",
        *_toml(settings),
    ]
    return "\n".join(lines)


def _beside(budget_bytes: int) -> list[str]:
    """Say what memory the machine has to have."""
    parts = {
        "the learner: interpreter, libraries, compiled kernels": LEARNER_BYTES,
        "the budget": budget_bytes,
        "as much again, to write checkpoints from (checkpoints.background)": budget_bytes,
        "the process that answers requests, with [http] port": HTTP_BYTES,
        "two copies of the model for it to answer from": 2 * budget_bytes,
    }
    lines = [f"{bytes_text(num):>9}  {name}" for name, num in (parts | {"in all": sum(parts.values())}).items()]
    return ["What the machine has to have:", *lines]


def _toml(settings: Settings) -> list[str]:
    memory, sizes, usual = settings.memory, settings.sizes, Sizes()
    lines = [f"users_share = {settings.users_share:.9f}"]
    if settings.exclude_seen:
        lines.append("exclude_seen = true")
    lines += ["", "[memory]", f'budget_bytes = "{_written(memory.budget_bytes)}"']
    lines.append(f"max_entities = {memory.max_entities}")
    if settings.exclude_seen:
        lines.append(f"seen_share = {memory.seen_share:.9f}")
    wider = [name for name in ("user_max", "item_max") if getattr(sizes, name) != getattr(usual, name)]
    if wider:
        lines += ["", "[sizes]", *(f"{name} = {getattr(sizes, name)}" for name in wider)]
    return lines


def _written(budget_bytes: int) -> str:
    """Return a budget as settings have it, exactly."""
    units = {"MiB": 2**20, "KiB": 2**10, "B": 1}
    return next(f"{budget_bytes // unit}{name}" for name, unit in units.items() if budget_bytes % unit == 0)


def _crowd(options: argparse.Namespace, num_users: int, num_items: int) -> Crowd:
    user_size = options.mean if options.user_mean is None else options.user_mean
    return Crowd(num_users, num_items, user_size, options.mean, options.id_bytes, options.pairs or 0)


def _largest(options: argparse.Namespace, budget_bytes: int) -> Crowd:
    """Return the most users and items, so many users to an item, that a budget holds."""

    def crowd(num_items: int) -> Crowd:
        return _crowd(options, max(1, round(options.users_per_item * num_items)), num_items)

    fits, too_many = 1, 2
    if crowd(fits).budget_bytes() > budget_bytes:
        raise BudgetError(
            f"--budget {options.budget} holds nobody so: give at least {_written(crowd(1).budget_bytes())}"
        )
    while crowd(too_many).budget_bytes() <= budget_bytes:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if crowd(middle).budget_bytes() <= budget_bytes else (fits, middle)
    return crowd(fits)


def _count(text: str) -> int:
    """Return a whole number, which may be written as 1e6; argparse tells which option is wrong."""
    number = _number(text)
    if not (1 <= number <= 10**12 and number.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of that: give a whole number from 1, such as 1e6")
    return int(number)


def _ratio(text: str) -> float:
    number = _number(text)
    if not 0.001 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio: give a number from 0.001 to 1e6")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
