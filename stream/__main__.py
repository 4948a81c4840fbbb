"""The composition root and command line: the only module that knows all others."""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from agents.baselines import open_policy
from simulators.datasets import open_dataset
from simulators.synthetic import WORLDS, open_world
from simulators.ties import TieShuffled
from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.files import Columns
from stream.adapters.process import ThisProcess
from stream.adapters.progress import ConsoleReporter, final_summary
from stream.adapters.report import save_report
from stream.compilation import fill_kernel_cache
from stream.config import PLAIN, Settings, make_settings, parse_bytes, parse_seconds
from stream.core.evaluation import Prequential
from stream.core.event import ITEM
from stream.core.intake import Intake
from stream.core.memory import plan_layout
from stream.core.recommender import Recommender
from stream.core.sizes import FAMILIES
from stream.core.stats import Report
from stream.core.trainer import Trainer
from stream.core.windows import WindowClock, parse_window
from stream.errors import ScallError, StorageError, UsageError
from stream.pipeline import Pipeline, Ports
from stream.ports import Source

_WORLD: Final = "synthetic:"
_PACKAGES: Final = ("scall-stream", "numpy", "numba", "river", "pyarrow")
_READING_OPTIONS: Final = ("shuffle_ties", "user_column", "item_column", "timestamp_column", "weight_column")
"""How the data is read: a run is resumed only under the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 2 a usage or input error, 1 a failing disk."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a character shows its code; that is no reason to fail at the end of a long run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        command: Any = options.command
        return int(command(options))
    except ScallError as error:
        # One line, whatever a file is called.
        print(f"scall: {error}".replace("\n", "\\n"), file=sys.stderr)
        return 1 if isinstance(error, StorageError) else 2


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
        ports = Ports(source, dead_letters, checkpoints, policy, reporter, process)
        reading = {name: getattr(options, name) for name in _READING_OPTIONS}
        identity = msgspec.to_builtins(settings) | {"data": source.name} | reading
        pipeline = Pipeline(ports, trainer, identity, {name: version(name) for name in _PACKAGES})
        if not (options.resume and pipeline.resume()):
            checkpoints.clear()
            dead_letters.rewind(0)
        for warning in checkpoints.warnings:
            print(f"scall: warning: {warning}", file=sys.stderr)
        report = pipeline.run()
    page = save_report(report, out)
    _tell(report, page, options)
    return 0


def build_trainer(settings: Settings) -> Trainer:
    """Return a trainer before its first event.

    Raises:
        BudgetError: the budget is too small for anything useful.

    """
    memory, windows = settings.memory, settings.windows
    seen_share = memory.seen_share if settings.exclude_seen else 0.0
    layout = plan_layout(memory.budget_bytes, memory.words_per_entity, memory.max_entities, seen_share)
    lateness_ms = round(1000 * windows.allowed_lateness_s)
    return Trainer(
        recommender=Recommender(
            layout, settings.hyper(), settings.user_bounds(), settings.item_bounds(), settings.seed
        ),
        intake=Intake(
            allowed_lateness_ms=lateness_ms,
            learn_late=windows.learn_late,
            max_future_jump_ms=round(1000 * windows.max_future_jump_s),
            test_share=settings.evaluation.sample,
            seed=settings.seed,
        ),
        clock=WindowClock(parse_window(windows.close_after), lateness_ms),
        evaluation=Prequential(settings.evaluation.top_k),
        budget_bytes=memory.budget_bytes,
        resize_every=settings.sizes.resize_every_events,
    )


def compile_kernels() -> None:
    """Run every kernel once on a throw-away model: compiles it, or loads it from the cache."""
    trainer = build_trainer(Settings())
    world = open_world("stationary", 1, 64)
    poll = world.poll()
    assert poll is not None
    batch = trainer.sort(poll, world.place)
    trainer.learn(batch, 0, 64)
    trainer.test(batch, 0)
    trainer.recommender.evict(ITEM, 1)
    trainer.resize(trainer.decision)
    trainer.resize_within_window()
    trainer.observe()


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
    if options.data.startswith(_WORLD):
        return open_world(options.data.removeprefix(_WORLD), settings.seed, options.limit)
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].lower()}{message[1:]} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="scall", description="Streaming recommendation under one hard memory budget.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    _add_replay(commands)
    return parser


def _add_replay(commands: Any) -> None:
    worlds = ", ".join(f"{_WORLD}{name}" for name in WORLDS)
    parser = commands.add_parser(
        "replay",
        help="replay a data set or a synthetic world through the whole loop",
        description="Reads events, tests and learns them one by one, resizes every embedding at each window, and "
        "never uses more than the budget. Leaves report.json, report.html and dead_letters.jsonl in the folder --out.",
        epilog=_list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help=f"CSV (also .gz), Parquet or JSON lines, or one of {worlds}")
    add("--limit", type=int, metavar="N", help="stop after N events")
    add("--budget", default="8MiB", metavar="SIZE", help="bytes for all that is stored per user, item or event (8MiB)")
    add("--policy", default="uniform", metavar="NAME", help=f"size curve, NAME or NAME:SHAPE: {', '.join(FAMILIES)}")
    add("--users-share", default="0.5", metavar="SHARE", help="users' share of the words, at most (0.5)")
    add("--window", default="50000events", metavar="RULE", help="50000events, 1d (event time) or growth:15000")
    add("--seed", default="1", metavar="N", help="same seed, same input: same bytes (1)")
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for report and checkpoints (out)")
    add("--resume", action="store_true", help="go on from the newest checkpoint in --out, if there is one")
    add("--eval-sample", default="1", metavar="SHARE", help="share of the events tested before they are learnt (1)")
    add("--exclude-seen", action="store_true", help="an item is taken once: hide what the user already took")
    add("--lateness", default="0s", metavar="TIME", help="how far behind the newest event one may come (0s)")
    add("--late", choices=("dead-letter", "learn"), default="dead-letter", help="what becomes of events later still")
    add("--plain", action="store_true", help="plain matrix factorisation, logistic loss: the control")
    add("--user-column", metavar="NAME", help="column of the user ids, where the name is not a usual one")
    add("--item-column", metavar="NAME", help="column of the item ids")
    add("--timestamp-column", metavar="NAME", help="column of the event times")
    add("--weight-column", metavar="NAME", help="column of the events' weights (weight, if there is one)")
    add("--no-shuffle-ties", dest="shuffle_ties", action="store_false", help="keep the file's order within a timestamp")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting below; may be given many times")
    add("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=replay)


def _list_settings() -> str:
    lines = ["settings for --set, with their defaults:"]
    for section, value in msgspec.to_builtins(Settings()).items():
        if isinstance(value, dict):
            lines += [f"  {section}.{name}={default}" for name, default in value.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
