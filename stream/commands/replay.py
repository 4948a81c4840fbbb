"""``scall replay``: a data set or a world through the whole loop."""

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from agents.baselines import open_policy
from simulators.datasets import open_dataset
from simulators.synthetic import WORLDS, open_world
from simulators.ties import TieShuffled
from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.files import Columns
from stream.adapters.process import ThisProcess
from stream.adapters.progress import ConsoleReporter, final_summary
from stream.adapters.report import save_report
from stream.commands.assembly import build_trainer, compile_kernels, versions
from stream.compilation import fill_kernel_cache
from stream.config import PLAIN, Settings, make_settings, parse_bytes, parse_seconds
from stream.core.sizes import FAMILIES
from stream.core.stats import Report
from stream.errors import UsageError
from stream.pipeline import Pipeline, Ports
from stream.ports import Source

WORLD: Final = "synthetic:"
_READING_OPTIONS: Final = ("shuffle_ties", "user_column", "item_column", "timestamp_column", "weight_column")
"""How the data is read: a run is resumed only under the same."""


def add(commands: Any) -> None:
    """Add the command to a parser."""
    worlds = ", ".join(f"{WORLD}{name}" for name in WORLDS)
    parser = commands.add_parser(
        "replay",
        help="replay a data set or a synthetic world through the whole loop",
        description="Reads events, tests and learns them one by one, resizes every embedding at each window, and "
        "never uses more than the budget. Leaves report.json, report.html and dead_letters.jsonl in the folder --out.",
        epilog=_list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("data", metavar="DATA", help=f"CSV (also .gz), Parquet or JSON lines, or one of {worlds}")
    option("--limit", type=int, metavar="N", help="stop after N events")
    option(
        "--budget", default="8MiB", metavar="SIZE", help="bytes for all that is stored per user, item or event (8MiB)"
    )
    option("--policy", default="uniform", metavar="NAME", help=f"size curve, NAME or NAME:SHAPE: {', '.join(FAMILIES)}")
    option("--users-share", default="0.5", metavar="SHARE", help="users' share of the words, at most (0.5)")
    option("--window", default="50000events", metavar="RULE", help="50000events, 1d (event time) or growth:15000")
    option("--seed", default="1", metavar="N", help="same seed, same input: same bytes (1)")
    option("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for report and checkpoints (out)")
    option("--resume", action="store_true", help="go on from the newest checkpoint in --out, if there is one")
    option("--eval-sample", default="1", metavar="SHARE", help="share of the events tested before they are learnt (1)")
    option("--exclude-seen", action="store_true", help="an item is taken once: hide what the user already took")
    option("--lateness", default="0s", metavar="TIME", help="how far behind the newest event one may come (0s)")
    option("--late", choices=("dead-letter", "learn"), default="dead-letter", help="what becomes of events later still")
    option("--plain", action="store_true", help="plain matrix factorisation, logistic loss: the control")
    option("--user-column", metavar="NAME", help="column of the user ids, where the name is not a usual one")
    option("--item-column", metavar="NAME", help="column of the item ids")
    option("--timestamp-column", metavar="NAME", help="column of the event times")
    option("--weight-column", metavar="NAME", help="column of the events' weights (weight, if there is one)")
    option(
        "--no-shuffle-ties", dest="shuffle_ties", action="store_false", help="keep the file's order within a timestamp"
    )
    option(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting below; may be given many times"
    )
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=replay)


def replay(options: argparse.Namespace) -> int:
    """Replay a data set or a world through the loop; leave a report in the folder ``--out``."""
    settings = _settings_of(options)
    trainer = build_trainer(settings)
    policy = open_policy(settings.policy, settings.users_share)
    out: Path = options.out
    with (
        closing(_open_source(options, settings)) as source,
        CheckpointFolder(_made(out) / "checkpoints") as checkpoints,
        closing(DeadLetterFile(out / "dead_letters.jsonl")) as dead_letters,
        ThisProcess() as process,
        ConsoleReporter(source.num_records, settings.memory.budget_bytes, quiet=options.quiet) as reporter,
    ):
        # No figure of the run is to contain the compiler's time.
        fill_kernel_cache()
        compile_kernels()
        writer = CheckpointWriter(checkpoints, background=False)
        ports = Ports(source, dead_letters, writer, policy, reporter, process)
        reading = {name: getattr(options, name) for name in _READING_OPTIONS}
        identity = msgspec.to_builtins(settings) | {"data": source.name} | reading
        pipeline = Pipeline(ports, trainer, identity, versions())
        if not (options.resume and pipeline.resume()):
            pipeline.start_afresh()
        for warning in checkpoints.warnings:
            print(f"scall: warning: {warning}", file=sys.stderr)
        report = pipeline.run()
    page = save_report(report, out)
    _tell(report, page, options)
    return 0


def _settings_of(options: argparse.Namespace) -> Settings:
    values: dict[str, Any] = dict(PLAIN) if options.plain else {}
    values |= {
        "seed": options.seed,
        "policy": options.policy,
        "users_share": options.users_share,
        "exclude_seen": options.exclude_seen,
        "memory.budget_bytes": parse_bytes(options.budget),
        "windows.close_after": options.window,
        "windows.allowed_lateness_s": parse_seconds("--lateness", options.lateness),
        "windows.learn_late": options.late == "learn",
        "evaluation.sample": options.eval_sample,
    }
    for assignment in options.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment!r}: write it as NAME=VALUE, such as --set sizes.item_max=64")
        values[name.strip()] = value.strip()
    return make_settings(values)


def _open_source(options: argparse.Namespace, settings: Settings) -> Source:
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit {options.limit}: give at least 1 event, or leave it out")
    if options.data.startswith(WORLD):
        return open_world(options.data.removeprefix(WORLD), settings.seed, options.limit)
    columns = Columns(options.user_column, options.item_column, options.timestamp_column, options.weight_column)
    source = open_dataset(Path(options.data), columns, options.limit)
    return TieShuffled(source, settings.seed) if options.shuffle_ties else source


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"--out {folder}: {error.strerror}; name a folder that can be written") from None
    return folder


def _tell(report: Report, page: Path, options: argparse.Namespace) -> None:
    if options.quiet:
        return
    print(final_summary(report, page))
    if not report.finished:
        print("Interrupted; the same command with --resume goes on from here.")


def _list_settings() -> str:
    lines = ["settings for --set, with their defaults:"]
    for section, value in msgspec.to_builtins(Settings()).items():
        if isinstance(value, dict):
            lines += [f"  {section}.{name}={default}" for name, default in value.items()]
    return "\n".join(lines)
