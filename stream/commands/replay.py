"""``scall replay``: a data set or a world through the whole loop."""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from agents.catalogue import NAMES
from simulators.tape import Tape
from simulators.ties import TieShuffled
from stream.adapters.budgets import PlannedBudgets
from stream.adapters.checkpoint import CheckpointFolder
from stream.adapters.checkpoint_writer import CheckpointWriter
from stream.adapters.dead_letters import DeadLetterFile
from stream.adapters.process import ThisProcess
from stream.adapters.progress import ConsoleReporter, final_summary
from stream.adapters.report import save_report
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, compile_kernels, versions
from stream.commands.options import (
    READING_OPTIONS,
    add_learning,
    add_reading,
    has_ties_to_shuffle,
    list_settings,
    made,
    mean_size,
    memory_for,
    open_data,
    settings_of,
)
from stream.compilation import fill_kernel_cache
from stream.config import Settings, parse_bytes
from stream.core.stats import Report
from stream.errors import UsageError
from stream.pipeline import Pipeline, Ports
from stream.ports import Source


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "replay",
        help="replay a data set or a synthetic world through the whole loop",
        description="Reads events, tests and learns them one by one, resizes every embedding at each window, and "
        "never uses more than the budget. Leaves report.json, report.html and dead_letters.jsonl in the folder --out.",
        epilog=list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_reading(parser)
    option = parser.add_argument
    memory = parser.add_mutually_exclusive_group().add_argument
    memory(
        "--budget", default="8MiB", metavar="SIZE", help="bytes for all that is stored per user, item or event (8MiB)"
    )
    memory(
        "--mean-size",
        type=mean_size,
        metavar="WORDS",
        help="instead, the budget in which every user and item of the data could own so many words, and wide bounds "
        "of the sizes; reads the data beforehand",
    )
    option(
        "--budget-change",
        action="append",
        default=[],
        metavar="N:SIZE",
        help="another budget once N events are learnt, at the next resize; may be given many times",
    )
    option("--policy", default=Settings().policy, metavar="NAME", help=f"who decides the sizes: {', '.join(NAMES)}")
    option("--seed", default="1", metavar="N", help="same seed, same input: same bytes (1)")
    option("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for report and checkpoints (out)")
    option("--resume", action="store_true", help="go on from the newest checkpoint in --out, if there is one")
    add_learning(parser)
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=replay)


def replay(options: argparse.Namespace) -> int:
    """Replay a data set or a world through the loop; leave a report in the folder ``--out``."""
    settings = _settings(options)
    trainer = build_trainer(settings)
    policy = build_policy(settings)
    plan = _plan_budgets(options.budget_change, settings)
    out: Path = options.out
    with (
        closing(_open_source(options, settings)) as source,
        CheckpointFolder(made(out) / "checkpoints") as checkpoints,
        closing(DeadLetterFile(out / "dead_letters.jsonl")) as dead_letters,
        ThisProcess() as process,
        ConsoleReporter(source.num_records, settings.memory.budget_bytes, quiet=options.quiet) as reporter,
    ):
        # No figure of the run is to contain the compiler's time.
        fill_kernel_cache()
        compile_kernels()
        writer = CheckpointWriter(checkpoints, background=False)
        host = PlannedBudgets(process, plan, lambda: trainer.recommender.num_learnt)
        ports = Ports(source, dead_letters, writer, policy, reporter, host)
        reading = {name: getattr(options, name) for name in READING_OPTIONS}
        identity = msgspec.to_builtins(settings) | {"data": source.name} | reading
        if plan:
            identity["budget_changes"] = options.budget_change
        pipeline = Pipeline(ports, trainer, identity, versions())
        if not (options.resume and pipeline.resume()):
            pipeline.start_afresh()
        for warning in checkpoints.warnings:
            print(f"scall: warning: {warning}", file=sys.stderr)
        report = pipeline.run()
    page = save_report(report, out)
    _tell(report, page, options)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    def under(memory: dict[str, Any]) -> Settings:
        return settings_of(options, policy=options.policy, memory=memory, seed=options.seed)

    if options.mean_size is None:
        return under({"memory.budget_bytes": parse_bytes(options.budget)})
    others = under({})
    tape = Tape.record(open_data(options, others.seed))
    return under(memory_for(options.mean_size, tape, exclude_seen=others.exclude_seen))


def _open_source(options: argparse.Namespace, settings: Settings) -> Source:
    source = open_data(options, settings.seed)
    return TieShuffled(source, settings.seed) if has_ties_to_shuffle(options) else source


def _plan_budgets(changes: list[str], settings: Settings) -> dict[int, int]:
    """Return number of events learnt -> budget from there on. Sizes are assigned anew there in any case."""
    plan = {}
    for change in changes:
        number, _, size = change.partition(":")
        if not size or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--budget-change {change!r}: write it as EVENTS:SIZE, such as 200000:4MiB")
        budget_bytes = parse_bytes(size, "--budget-change")
        settings.layout(budget_bytes)
        plan[-(-int(number) // settings.sizes.resize_every_events) * settings.sizes.resize_every_events] = budget_bytes
    return plan


def _tell(report: Report, page: Path, options: argparse.Namespace) -> None:
    if options.quiet:
        return
    print(final_summary(report, page))
    if not report.finished:
        print("Interrupted; the same command with --resume goes on from here.")
