"""``scall compare --protocol scall``: our model, and others, under the protocol of SCALL's released code."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from simulators.nowhere import NoCheckpoints, NoLetters
from simulators.peers.catalogue import PEERS, check_installed, library_versions, open_peer
from simulators.peers.events import gather
from simulators.segment_trial import Course, Trial, core_in_time, try_loop, try_peer
from simulators.tape import Tape
from simulators.ties import TieShuffled
from stream.adapters.comparison_progress import ComparisonProgress
from stream.adapters.process import ThisProcess
from stream.adapters.segment_comparison import SegmentComparison, SegmentRun, Widths, rows_of
from stream.adapters.segment_comparison_report import FULL_WIDTH, save_segments, segments_summary
from stream.adapters.units import quality_text
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, versions
from stream.commands.compare_models import OURS, labelled, labels_of
from stream.commands.options import has_ties_to_shuffle, is_world, listed, made, open_data
from stream.commands.stage import Meter
from stream.compilation import fill_kernel_cache
from stream.config import Settings
from stream.core.stats import Report, WindowReport
from stream.core.windows import parse_window
from stream.errors import UsageError
from stream.pipeline import Pace, Pipeline, Ports
from stream.ports import Source

PROTOCOLS: Final = (OURS,)
MODELS: Final = (OURS, *PEERS)
IMPLIED: Final = {"sizes.user_max": "64", "sizes.item_max": "64", "windows.max_future_jump_s": "1e10"}
"""Settings of the protocol: its widest rows, and a file is taken at its word. ``--set`` goes over them."""
_LEAST_SEGMENTS: Final = 2
_MAX_PASSES: Final = 100
_VARIED: Final = ("seed", "policy", "memory")


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the options of the protocol."""
    option = parser.add_argument_group("with --protocol").add_argument
    option(
        "--protocol",
        choices=PROTOCOLS,
        help="SCALL's own: segments by growth (--window, by default growth:15000), and after the first part of each a "
        "ranking for every user of the rest; leaves segments.json and segments.html. By default "
        "--models is scall,popularity, and --eval-sample, the loop's own tests, 0.1",
    )
    option("--core", type=int, default=10, metavar="K", help="leave out users and items with fewer events (10)")
    option("--passes", type=int, default=1, metavar="N", help="times that a segment's first part is learnt (1)")
    option(
        "--replay", action="store_true", help="learn a reservoir of earlier events before each segment, as SCALL does"
    )


def check_protocol(options: argparse.Namespace) -> None:
    """Refuse options that say nothing, or something else, under the protocol; raises UsageError."""
    if options.warm:
        raise UsageError(f"--warm {options.warm:g}: under --protocol the first segment does not count; leave it out")
    if options.core < 1:
        raise UsageError(f"--core {options.core}: give at least 1 event, which leaves nobody out")
    if not 1 <= options.passes <= _MAX_PASSES:
        raise UsageError(f"--passes {options.passes}: give a number from 1 to {_MAX_PASSES}")
    if parse_window(options.window).kind != "growth":
        raise UsageError(
            f"--window {options.window}: segments are by growth; give the new users and items of one, such as "
            f"--window growth:15000"
        )
    check_installed(models_of(options))


def models_of(options: argparse.Namespace) -> list[str]:
    """Return the models by name, each once; ``all`` stands for all that there are."""
    names = [model for name in listed("--models", options.models) for model in (MODELS if name == "all" else [name])]
    for name in names:
        if name not in MODELS:
            raise UsageError(f"--models: {name!r} is unknown under --protocol; there are {', '.join(MODELS)}, and all")
    return list(dict.fromkeys(names))


def read_core(options: argparse.Namespace, seed: int) -> Tape:
    """Return the data's events that the protocol keeps, in the order of time.

    Raises:
        UsageError: none is left.

    """
    tape = core_in_time(open_data(options, seed), options.core)
    if not tape.num_records:
        raise UsageError(f"--core {options.core}: nobody in {options.data} has so many events; give fewer")
    return tape


def compare_segments(
    options: argparse.Namespace, runs: Sequence[Settings], mean_sizes: Mapping[int, int], tape: Tape | None
) -> int:
    """Test every model under every seed on the same segments; leave a comparison in the folder ``--out``.

    ``runs`` are the settings of our own model by seed, budget and policy; ``mean_sizes`` says for a budget what mean
    size it stands for, if it does; ``tape`` has the data of the first seed, if it has been read.
    """
    models = models_of(options)
    ours = labelled(runs, mean_sizes) if OURS in models else {}
    labels, reference = labels_of(options, ours, models)
    out = made(options.out)
    fill_kernel_cache()
    usual = {settings.seed: settings for settings in reversed(runs)}
    found: list[SegmentRun] = []
    courses: list[Course] = []
    with ThisProcess() as process, ComparisonProgress(len(usual) * len(labels), quiet=options.quiet) as display:
        bench = _Bench(options, process, display, len(labels), tape or read_core(options, min(usual)))
        for seed in sorted(usual):
            course = bench.course(seed)
            mine = {settings: label for settings, label in ours.items() if settings.seed == seed}
            of_seed = list(bench.run_all(course, usual[seed], mine, labels))
            if len(of_seed) < len(labels):
                break
            courses.append(course)
            found += of_seed
    if not courses:
        print("scall: interrupted before all models were tested; nothing was written", file=sys.stderr)
        return 0
    comparison = SegmentComparison(
        data=courses[0].name,
        reference=reference,
        top_k=runs[0].evaluation.top_k,
        num_planned=len(usual),
        protocol=_described(options, courses[0]),
        mean_sizes=dict(mean_sizes),
        segments=_segments(courses[0]),
        settings={name: value for name, value in msgspec.to_builtins(runs[0]).items() if name not in _VARIED},
        versions=versions() | library_versions(models),
        seeds=sorted(usual)[: len(courses)],
        rows=rows_of(found, reference),
    )
    page = save_segments(comparison, out)
    if not options.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else FULL_WIDTH
        print(segments_summary(comparison, page, width))
    return 0


def _described(options: argparse.Namespace, course: Course) -> dict[str, Any]:
    return {
        "name": options.protocol,
        "core": options.core,
        "growth": parse_window(options.window).amount,
        "passes": options.passes,
        "replay": options.replay,
        "events": course.events.num_events,
        "users": len(course.user_key),
        "items": len(course.item_key),
    }


def _segments(course: Course) -> list[dict[str, Any]]:
    """Return by segment what it holds, and for how many users and among how many items it is tested."""
    return [
        {
            "learnt": segment.cut - segment.begin,
            "tested": segment.end - segment.cut,
            "reservoir": len(segment.reservoir),
            "users": len(asked.users),
            "items": len(asked.items),
        }
        for segment, asked in zip(course.segments, course.questions, strict=True)
    ]


class _Bench:
    """Where the models are run, one after another."""

    def __init__(
        self,
        options: argparse.Namespace,
        process: ThisProcess,
        display: ComparisonProgress,
        num_models: int,
        tape: Tape,
    ) -> None:
        self._options = options
        self._process = process
        self._display = display
        self._num_models = num_models
        self._tape, self._seed = tape, options.seed
        self._num_done = 0

    def course(self, seed: int) -> Course:
        """Return the data under a seed, by segments; refuse data that make too few."""
        # A file's events are the same under every seed, but for the order of ties.
        if is_world(self._options) and seed != self._seed:
            self._tape, self._seed = read_core(self._options, seed), seed
        source: Source = self._tape.reopened()
        source = TieShuffled(source, seed) if has_ties_to_shuffle(self._options) else source
        course = Course.of(source, parse_window(self._options.window).amount, seed)
        if len(course.segments) < _LEAST_SEGMENTS:
            num = len(course.user_key) + len(course.item_key)
            raise UsageError(
                f"--window {self._options.window}: {course.name} has {num} users and items, which make one segment, "
                f"and the first does not count; give fewer"
            )
        return course

    def run_all(
        self, course: Course, usual: Settings, ours: Mapping[Settings, str], labels: Sequence[str]
    ) -> Iterator[SegmentRun]:
        """Run our model under each of its settings, then each peer, until someone asks to stop."""
        for settings, label in ours.items():
            if (run := self._run_ours(course, settings, label)) is None:
                return
            yield self._finished(run)
        stream = gather(course.source(), build_trainer(usual).sort)
        for name in labels:
            if name in ours.values():
                continue
            if self._process.stop_requested():
                return
            peer = open_peer(name, stream, usual.seed)
            trial = try_peer(course, peer, usual.evaluation.top_k, self._process.elapsed_s)
            yield self._finished(_run_of(name, usual.seed, peer.variants, trial, num_bytes=peer.num_bytes))

    def _run_ours(self, course: Course, settings: Settings, label: str) -> SegmentRun | None:
        policy, trainer = build_policy(settings), build_trainer(settings)
        lessons = course.lessons(self._options.passes, replay=self._options.replay)
        num_lessons = sum(map(len, lessons))

        def note(share: float) -> None:
            self._display.show(self._num_done + share)

        def loop_of(source: Source) -> Pipeline:
            ports = Ports(source, NoLetters(), NoCheckpoints(), policy, Meter(num_lessons, note), self._process)
            return Pipeline(ports, trainer, msgspec.to_builtins(settings), versions(), Pace(saves=False))

        found = try_loop(course, lessons, trainer, loop_of, policy, self._process.elapsed_s)
        if found is None:
            return None
        trial, report = found
        return _run_of(label, settings.seed, ("",), trial, num_bytes=report.peak_bytes, report=report)

    def _finished(self, run: SegmentRun) -> SegmentRun:
        self._num_done += 1
        fitness = run.quality[:, 1:].mean(axis=(1, 2)).max()
        seconds = run.learn_seconds + run.test_seconds
        self._display.finish(f"{run.model}, seed {run.seed}", f"fitness {quality_text(fitness)}", seconds)
        return run


def _run_of(
    name: str, seed: int, variants: tuple[str, ...], trial: Trial, *, num_bytes: int, report: Report | None = None
) -> SegmentRun:
    return SegmentRun(
        model=name,
        seed=seed,
        variants=variants,
        quality=np.array(trial.judged),
        widths=[_widths(window) for window in report.windows] if report else [],
        num_bytes=num_bytes,
        budget_bytes=report.budget_bytes if report else None,
        violations=report.counts.violations if report else 0,
        learn_seconds=trial.learn_seconds,
        test_seconds=trial.test_seconds,
    )


def _widths(window: WindowReport) -> Widths:
    return Widths(window.num_users, window.num_items, window.user_sizes.mean, window.item_sizes.mean)
