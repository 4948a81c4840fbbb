"""``scall compare``: policies and budgets side by side, over the same events."""

import argparse
import multiprocessing
import shutil
import signal
import sys
from collections.abc import Iterator, MutableSequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final, NamedTuple

from agents.catalogue import NAMES, expand
from simulators.tape import Tape
from stream.adapters.comparison import compare as compare_runs
from stream.adapters.comparison_progress import ComparisonProgress
from stream.adapters.comparison_report import FULL_WIDTH, comparison_summary, save_comparison
from stream.adapters.process import ThisProcess
from stream.commands.assembly import build_policy
from stream.commands.compare_models import MODELS, check_models, compare_models
from stream.commands.compare_segments import IMPLIED, add_protocol, check_protocol, compare_segments, read_core
from stream.commands.options import (
    add_learning,
    add_reading,
    list_settings,
    listed,
    made,
    mean_sizes,
    memory_for,
    open_data,
    parse_assignments,
    settings_of,
)
from stream.commands.stage import Stage
from stream.compilation import fill_kernel_cache
from stream.config import Settings, parse_bytes
from stream.core.stats import Report
from stream.core.windows import parse_window
from stream.errors import UsageError

_SECONDS_PER_LOOK: Final = 0.2
"""How often the processes that run are looked after."""
_MAX_SEEDS: Final = 1000
_USUAL: Final = {"window": "50000events", "eval_sample": "1"}
_USUAL_OF_POLICIES: Final = {"reference": "uniform", "warm": 0.2, **_USUAL}
_USUAL_OF_MODELS: Final = {"policies": "uniform", "warm": 0.4, **_USUAL}
_USUAL_OF_PROTOCOL: Final = {
    "policies": "uniform",
    "models": "scall,popularity",
    "warm": 0.0,
    "window": "growth:15000",
    "eval_sample": "0.1",
}
"""What options are that were not given."""
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
        "leaves compare.json and compare.html in the folder --out. With --models, our model under each policy and "
        "budget is held against other recommenders, paired by tested event; leaves models.json and models.html. "
        "With --protocol, that is done as in SCALL's released code.",
        epilog=list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_reading(parser)
    option = parser.add_argument
    option("--policies", metavar="A,B,C", help=f"as replay's --policy, and grid: {', '.join(NAMES)}")
    option("--models", metavar="A,B,C", help=f"compare models instead, or all: {', '.join(MODELS)}")
    option(
        "--reference",
        metavar="NAME",
        help="the policy to hold the others against (uniform); with --models the model (scall, under the first policy)",
    )
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
    option(
        "--warm",
        type=float,
        metavar="SHARE",
        help="the first windows, which do not count (0.2); with --models the first events (0.4)",
    )
    option("--jobs", type=int, default=1, metavar="J", help="processes that run at a time; each reads the data (1)")
    option("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the table and the page (out)")
    add_learning(parser)
    add_protocol(parser)
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=compare, **dict.fromkeys(_USUAL))


def compare(options: argparse.Namespace) -> int:
    """Replay the data under every policy, budget and seed; leave a comparison in the folder ``--out``."""
    options = _with_defaults(options)
    plan = _plan(options)
    if options.models is not None:
        against = compare_models if options.protocol is None else compare_segments
        return against(options, plan.runs, plan.mean_sizes, plan.tape)
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


def _with_defaults(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options with what is usual where nothing was said."""
    usual: dict[str, Any] = _USUAL_OF_POLICIES if options.models is None else _USUAL_OF_MODELS
    if options.protocol is not None:
        usual = _USUAL_OF_PROTOCOL
        # There an item is taken once; and what is learnt again is late.
        options.exclude_seen, options.late = True, "learn"
        options.set = [*(f"{name}={value}" for name, value in IMPLIED.items()), *options.set]
    told = {name: value for name, value in vars(options).items() if value is not None}
    if options.models is None and options.policies is None and options.protocol is None:
        raise UsageError("give --policies to compare, or --models; scall compare --help lists both")
    return argparse.Namespace(**(vars(options) | usual | told))


def _plan(options: argparse.Namespace) -> _Plan:
    """Return the settings of every run; refuse what any of them would be refused for, before the first begins.

    Seed by seed, so that what is done when someone interrupts can be compared.
    """
    _check(options)
    policies = _policies(options)
    others = settings_of(options, policy=policies[0], memory={}, seed=str(options.seed))
    window = others.windows.close_after
    if options.models is None and parse_window(window).kind == "growth":
        raise UsageError(
            f"--window {window}: such windows differ by policy and could not be paired; give events or a time"
        )
    tape, words_by_budget = None, {}
    if options.mean_sizes is None:
        memories = [{"memory.budget_bytes": parse_bytes(size)} for size in listed("--budgets", options.budgets)]
    else:
        tape = _read(options)
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
    if tape is None and options.protocol is None:
        open_data(options, options.seed).close()
    # Processes of their own read the data themselves.
    return _Plan(list(dict.fromkeys(runs)), words_by_budget, tape if options.jobs == 1 else None)


def _read(options: argparse.Namespace) -> Tape:
    """Return the data under the first seed."""
    if options.protocol is not None:
        return read_core(options, options.seed)
    return Tape.record(open_data(options, options.seed))


def _check(options: argparse.Namespace) -> None:
    if not 1 <= options.seeds <= _MAX_SEEDS:
        raise UsageError(f"--seeds {options.seeds}: give a number from 1 to {_MAX_SEEDS}")
    if options.jobs < 1:
        raise UsageError(f"--jobs {options.jobs}: give at least 1")
    if options.models is not None:
        check = check_models if options.protocol is None else check_protocol
        check(options)
        if options.jobs > 1:
            raise UsageError(f"--jobs {options.jobs}: models are timed, so they run one after another; leave it out")
    if not 0 <= options.warm < 1:
        raise UsageError(f"--warm {options.warm:g}: give a share of the stream, from 0 to less than 1")
    for name in sorted(_VARIED.keys() & parse_assignments(options.set).keys()):
        raise UsageError(f"--set {name}: this is what is compared; give {_VARIED[name]} instead")


def _policies(options: argparse.Namespace) -> list[str]:
    """Return the policies by name, each once, the reference first; of models the reference is no policy."""
    names = [name for asked in listed("--policies", options.policies) for name in expand(asked)]
    return list(dict.fromkeys([options.reference, *names] if options.models is None else names))


Runs = Iterator[tuple[int, Report]]
"""The number of a run in the plan, and its report, as they come."""


def _run_here(plan: _Plan, options: argparse.Namespace, process: ThisProcess, display: ComparisonProgress) -> Runs:
    """Run one after another in this process, until someone asks to stop."""
    stage, done = Stage(options, plan.tape), [0.0] * len(plan.runs)
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
        self.stage = Stage(options)
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
