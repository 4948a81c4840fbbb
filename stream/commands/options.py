"""The options that commands over a data set share, and what they stand for: settings, a source, a folder."""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from simulators.blocks import World
from simulators.datasets import open_dataset
from simulators.synthetic import WORLDS, open_world
from simulators.tape import Tape
from stream.adapters.files import Columns
from stream.config import PLAIN, WIDE, Settings, make_settings, parse_seconds
from stream.core.sizes import MAX_SIZE
from stream.errors import UsageError
from stream.ports import Source

WORLD: Final = "synthetic:"
READING_OPTIONS: Final = ("shuffle_ties", "user_column", "item_column", "timestamp_column", "weight_column")
"""How the data is read: what is learnt depends on these as it does on the settings."""


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is read, and how."""
    option = parser.add_argument
    worlds = ", ".join(f"{WORLD}{name}" for name in WORLDS)
    option("data", metavar="DATA", help=f"CSV (also .gz), Parquet or JSON lines, or one of {worlds}")
    option("--limit", type=int, metavar="N", help="stop after N events")
    option("--user-column", metavar="NAME", help="column of the user ids, where the name is not a usual one")
    option("--item-column", metavar="NAME", help="column of the item ids")
    option("--timestamp-column", metavar="NAME", help="column of the event times")
    option("--weight-column", metavar="NAME", help="column of the events' weights (weight, if there is one)")
    option(
        "--no-shuffle-ties", dest="shuffle_ties", action="store_false", help="keep the file's order within a timestamp"
    )


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Add the options that become settings, but for policy, budget and seed: a command may try several of those."""
    option = parser.add_argument
    option("--users-share", default="0.5", metavar="SHARE", help="users' share of the words, at most (0.5)")
    option("--window", default="50000events", metavar="RULE", help="50000events, 1d (event time) or growth:15000")
    option("--eval-sample", default="1", metavar="SHARE", help="share of the events tested before they are learnt (1)")
    option("--exclude-seen", action="store_true", help="an item is taken once: hide what the user already took")
    option("--lateness", default="0s", metavar="TIME", help="how far behind the newest event one may come (0s)")
    option("--late", choices=("dead-letter", "learn"), default="dead-letter", help="what becomes of events later still")
    option("--plain", action="store_true", help="plain matrix factorisation, logistic loss: the control")
    option(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting below; may be given many times"
    )


def settings_of(options: argparse.Namespace, *, policy: str, memory: Mapping[str, Any], seed: str) -> Settings:
    """Return the settings that the options of :func:`add_learning` stand for; raises ScallError as each reader does.

    ``memory`` has those of the budget, and what else is chosen with it (:func:`memory_for`); ``--set`` goes over it.
    """
    values: dict[str, Any] = dict(PLAIN) if options.plain else {}
    if options.exclude_seen:
        # What a user took is hidden by the filter, which the plain setting is without.
        values.pop("memory.seen_share", None)
    values |= {
        "seed": seed,
        "policy": policy,
        "users_share": options.users_share,
        "exclude_seen": options.exclude_seen,
        **memory,
        "windows.close_after": options.window,
        "windows.allowed_lateness_s": parse_seconds("--lateness", options.lateness),
        "windows.learn_late": options.late == "learn",
        "evaluation.sample": options.eval_sample,
    }
    return make_settings(values | parse_assignments(options.set))


def mean_size(text: str) -> int:
    """Return the words that an option of this type gives to everyone; argparse tells which option is wrong."""
    if not (text.strip().isdecimal() and 1 <= int(text) <= MAX_SIZE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: give a whole number of words from 1 to {MAX_SIZE}")
    return int(text)


def mean_sizes(text: str) -> list[int]:
    """Return several such, with commas between."""
    return [mean_size(word) for word in text.split(",")]


def listed(option: str, text: str) -> list[str]:
    """Return the names that an option lists with commas between; raises UsageError where there is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} {text!r} names nothing: give one or more, with commas between")
    return names


def memory_for(words: int, tape: Tape, *, exclude_seen: bool) -> dict[str, Any]:
    """Return the settings under which every user and item on the tape could own so many words at once.

    These are a budget, and bounds of the sizes that are wide enough to share it out unequally.
    """
    return {**WIDE, **tape.sized_for(words, pairs=exclude_seen)}


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return what ``--set NAME=VALUE`` says, by name; raises UsageError for one that is not written so."""
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r}: write it as NAME=VALUE, such as --set sizes.item_max=64")
        values[name.strip()] = value.strip()
    return values


def open_data(options: argparse.Namespace, seed: int) -> Source:
    """Return the source that the options of :func:`add_reading` stand for, a file's ties in the file's own order.

    The seed is a world's; a file has none.

    Raises:
        UsageError: no such world, or the limit is none.
        InputError: the file cannot be read.

    """
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: give at least 1 event, or leave it out")
    if is_world(options):
        return world_of(options, seed)
    columns = Columns(options.user_column, options.item_column, options.timestamp_column, options.weight_column)
    return open_dataset(Path(options.data), columns, options.limit)


def world_of(options: argparse.Namespace, seed: int) -> World[Any]:
    """Return the synthetic world that the data is, which knows what makes its events."""
    return open_world(options.data.removeprefix(WORLD), seed, options.limit)


def is_world(options: argparse.Namespace) -> bool:
    """Return whether the data is a synthetic world, and no file."""
    return bool(options.data.startswith(WORLD))


def has_ties_to_shuffle(options: argparse.Namespace) -> bool:
    """Return whether events of one user and time are to be shuffled: a world's never are."""
    return options.shuffle_ties and not is_world(options)


def made(folder: Path) -> Path:
    """Return the folder ``--out``, made if missing; raises UsageError where nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--out {folder}: {error.strerror}; name a folder that can be written") from None
    return folder


def list_settings() -> str:
    """Return the text that lists every setting for ``--set``, with its default."""
    lines = ["settings for --set, with their defaults:"]
    for section, value in msgspec.to_builtins(Settings()).items():
        if isinstance(value, dict):
            lines += [f"  {section}.{name}={default}" for name, default in value.items()]
    return "\n".join(lines)
