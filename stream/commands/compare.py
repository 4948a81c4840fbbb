"""``scall compare``: policies and budgets side by side, over the same events."""

import argparse
import multiprocessing
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from agents.catalogue import NAMES, expand
from simulators.nowhere import NoCheckpoints, NoLetters, Silence
from simulators.tape import Tape
from simulators.ties import TieShuffled
from stream.adapters.comparison import compare as compare_runs
from stream.adapters.comparison_progress import ComparisonProgress
from stream.adapters.comparison_report import FULL_WIDTH, comparison_summary, save_comparison
from stream.adapters.process import ThisProcess
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, compile_kernels, versions
from stream.commands.options import (
    READING_OPTIONS,
    add_learning,
    add_reading,
    has_ties_to_shuffle,
    is_world,
    list_settings,
    made,
    mean_sizes,
    memory_for,
    open_data,
    parse_assignments,
    settings_of,
)
from stream.compilation import fill_kernel_cache
from stream.config import Settings, parse_bytes
from stream.core.stats import Progress, Report
from stream.core.windows import parse_window
from stream.errors import UsageError
from stream.pipeline import Pipeline, Ports
from stream.ports import Host, Source

_SECONDS_PER_LOOK: Final = 0.2
"""How often the processes that run are looked after."""
_MAX_SEEDS: Final = 1000
_VARIED: Final = {
    "memory.budget_bytes": "--budgets or --mean-sizes",
    "policy": "--policies",
    "seed": "--seeds or --seed",
}
"""Settings in which runs differ, and the options that say how."""


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "compare",
        help="replay the same events under several policies and budgets, and tell how they differ",
        description="Replays the data once for each policy, budget and seed, from memory and without checkpoints, and "
        "holds each policy against the reference under the same budget, paired by seed and window. Prints a table, and "
        "leaves compare.json and compare.html in the folder --out.",
        epilog=list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_reading(parser)
    option = parser.add_argument
    option("--policies", required=True, metavar="A,B,C", help=f"as replay's --policy, and grid: {', '.join(NAMES)}")
    option("--reference", default="uniform", metavar="NAME", help="the policy to hold the others against (uniform)")
    memory = parser.add_mutually_exclusive_group().add_argument
    memory(
        "--budgets", "--budget", default="8MiB", metavar="SIZES", help="one or more, such as 256KiB,1MiB,4MiB (8MiB)"
    )
    memory(
        "--mean-sizes",
        type=mean_sizes,
        metavar="WORDS",
        help="instead, budgets in which every user and item of the data (of a world's first seed) could own so many "
        "words, such as 2,4,8,16, and wide bounds of the sizes",
    )
    option("--seeds", type=int, default=3, metavar="N", help="runs of each; from 3 on intervals are over seeds (3)")
    option("--seed", type=int, default=1, metavar="N", help="the first seed (1)")
    option("--warm", type=float, default=0.2, metavar="SHARE", help="the first windows, which do not count (0.2)")
    option("--jobs", type=int, default=1, metavar="J", help="processes that run at a time; each reads the data (1)")
    option("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the table and the page (out)")
    add_learning(parser)
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=compare)


def compare(options: argparse.Namespace) -> int:
    """Replay the data under every policy, budget and seed; leave a comparison in the folder ``--out``."""
    plan = _plan(options)
    out = made(options.out)
    reports: dict[int, Report] = {}
    # No figure of a run is to contain the compiler's time.
    fill_kernel_cache()
    with ThisProcess() as process, ComparisonProgress(len(plan.runs), quiet=options.quiet) as display:
        run_all = _run_here if options.jobs == 1 else _run_beside
        for number, report in run_all(plan, options, process, display):
            if report.finished:
                reports[number] = report
                display.finish_run(report)
    if not reports:
        print("scall: interrupted before a run was finished; nothing was written", file=sys.stderr)
        return 0
    in_order = [reports[number] for number in sorted(reports)]
    comparison = compare_runs(in_order, options.reference, options.warm, len(plan.runs), plan.mean_sizes)
    page = save_comparison(comparison, out)
    if not options.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else FULL_WIDTH
        print(comparison_summary(comparison, page, width))
    return 0


class _Plan(NamedTuple):
    """What is to be run."""

    runs: list[Settings]
    mean_sizes: dict[int, int]
    """Budget -> mean size in words, where budgets were asked for so."""
    tape: Tape | None
    """The data under the first seed, where it was read for that."""


def _plan(options: argparse.Namespace) -> _Plan:
    """Return the settings of every run; refuse what any of them would be refused for, before the first begins.

    Seed by seed, so that what is done when someone interrupts can be compared.
    """
    _check(options)
    policies = _policies(options)
    others = settings_of(options, policy=options.reference, memory={}, seed=str(options.seed))
    window = others.windows.close_after
    if parse_window(window).kind == "growth":
        raise UsageError(
            f"--window {window}: such windows differ by policy and could not be paired; give events or a time"
        )
    tape, words_by_budget = None, {}
    if options.mean_sizes is None:
        memories = [{"memory.budget_bytes": parse_bytes(size)} for size in _listed("--budgets", options.budgets)]
    else:
        tape = Tape.record(open_data(options, options.seed))
        sized = {words: memory_for(words, tape, exclude_seen=others.exclude_seen) for words in options.mean_sizes}
        # The smallest budget that there is may do for several sizes.
        words_by_budget = {memory["memory.budget_bytes"]: words for words, memory in sized.items()}
        memories = [sized[words] for words in words_by_budget.values()]
    runs = [
        settings_of(options, policy=policy, memory=memory, seed=str(seed))
        for seed in range(options.seed, options.seed + options.seeds)
        for memory in memories
        for policy in policies
    ]
    for settings in runs[: len(runs) // options.seeds]:
        build_policy(settings)
        settings.layout()
    if tape is None:
        open_data(options, options.seed).close()
    # Processes of their own read the data themselves.
    return _Plan(list(dict.fromkeys(runs)), words_by_budget, tape if options.jobs == 1 else None)


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.seeds <= _MAX_SEEDS:
        raise UsageError(f"--seeds {options.seeds}: give a number from 1 to {_MAX_SEEDS}")
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: give at least 1")
    if not 0 <= options.warm < 1:
        raise UsageError(f"--warm {options.warm:g}: give a share of the windows, from 0 to less than 1")
    for name in sorted(_VARIED.keys() & parse_assignments(options.set).keys()):
        raise UsageError(f"--set {name}: this is what is compared; give {_VARIED[name]} instead")


def _policies(options: argparse.Namespace) -> list[str]:
    """Return the policies by name, each once, the reference among them."""
    names = [name for asked in _listed("--policies", options.policies) for name in expand(asked)]
    return list(dict.fromkeys([options.reference, *names]))


def _listed(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{option} {text!r} names nothing: give one or more, with commas between")
    return names


class _Stage:
    """Runs the loop again and again over data that is read once: a file in all, a world once for each seed."""

    def __init__(self, options: argparse.Namespace, tape: Tape | None = None) -> None:
        self._options = options
        self._tape = tape
        self._seed: int = options.seed
        compile_kernels()

    def run(self, settings: Settings, host: Host, note: Callable[[float], None]) -> Report:
        """Run the loop under ``settings``; ``note`` hears now and then which share is done."""
        policy, source = build_policy(settings), self._source(settings.seed)
        reading = {name: getattr(self._options, name) for name in READING_OPTIONS}
        identity = msgspec.to_builtins(settings) | {"data": source.name} | reading
        ports = Ports(source, NoLetters(), NoCheckpoints(), policy, _Meter(source.num_records, note), host)
        return Pipeline(ports, build_trainer(settings), identity, versions()).run()

    def _source(self, seed: int) -> Source:
        # A file's events are the same under every seed, but for the order of ties.
        if self._tape is None or (is_world(self._options) and seed != self._seed):
            self._tape, self._seed = Tape.record(open_data(self._options, seed)), seed
        source = self._tape.reopened()
        return TieShuffled(source, seed) if has_ties_to_shuffle(self._options) else source


Runs = Iterator[tuple[int, Report]]
"""The number of a run in the plan, and its report, as they come."""


def _run_here(plan: _Plan, options: argparse.Namespace, process: ThisProcess, display: ComparisonProgress) -> Runs:
    """Run one after another in this process, until someone asks to stop."""
    stage, done = _Stage(options, plan.tape), [0.0] * len(plan.runs)
    for number, settings in enumerate(plan.runs):
        if process.stop_requested():
            return

        def note(share: float, number: int = number) -> None:
            done[number] = share
            display.show(sum(done))

        yield number, stage.run(settings, process, note)


def _run_beside(plan: _Plan, options: argparse.Namespace, process: ThisProcess, display: ComparisonProgress) -> Runs:
    """Run in processes of their own, ``--jobs`` at a time, until someone asks to stop."""
    context = multiprocessing.get_context("spawn")
    # Shared memory: each byte has one writer, so there is nothing to lock.
    stop, done = context.RawValue("b", 0), context.RawArray("d", len(plan.runs))
    pool = ProcessPoolExecutor(options.jobs, context, _begin, (options, stop, done))
    try:
        waiting = {pool.submit(_run, number, settings): number for number, settings in enumerate(plan.runs)}
        while waiting:
            ready, _ = wait(waiting, _SECONDS_PER_LOOK, FIRST_COMPLETED)
            for future in ready:
                yield waiting.pop(future), future.result()
            display.show(sum(done))
            if process.stop_requested():
                stop.value = 1
                waiting = {future: number for future, number in waiting.items() if not future.cancel()}
    except BrokenProcessPool:
        raise UsageError(
            f"--jobs {options.jobs}: a process ended before its run did, perhaps for lack of memory; give fewer"
        ) from None
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


class _Worker(ThisProcess):
    """A process that runs for another one, which says when to stop."""

    def __init__(self, options: argparse.Namespace, stop: Any, done: MutableSequence[float]) -> None:
        super().__init__()
        self.done = done
        self.stage = _Stage(options)
        self._stop = stop

    def stop_requested(self) -> bool:
        return bool(self._stop.value)


_worker: _Worker | None = None
"""What a process of :func:`_run_beside` keeps from one run to the next."""


def _begin(options: argparse.Namespace, stop: Any, done: MutableSequence[float]) -> None:
    # Ctrl-C reaches every process of a terminal; the first one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _worker
    _worker = _Worker(options, stop, done)


def _run(number: int, settings: Settings) -> Report:
    worker = _worker
    assert worker is not None
    return worker.stage.run(settings, worker, lambda share: worker.done.__setitem__(number, share))


class _Meter(Silence):
    """A reporter that tells nothing but the share that is done."""

    def __init__(self, num_records: int | None, note: Callable[[float], None]) -> None:
        self._num_records = num_records or 1
        self._note = note

    def progress(self, progress: Progress) -> None:
        self._note(progress.counts.events / self._num_records)
