"""``scall compare --models``: the model beside what one would otherwise run, on the same tested events."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from simulators.peers.catalogue import PEERS, check_installed, library_versions, open_peer
from simulators.peers.events import GAPS, Stream, gather
from simulators.peers.oracle import Oracle
from simulators.peers.peer import Peer
from simulators.peers.prequential import try_peer
from simulators.tape import Tape
from stream.adapters.comparison_progress import ComparisonProgress
from stream.adapters.model_comparison import Cases, Described, ModelComparison, Run, compare_runs
from stream.adapters.model_comparison_report import FULL_WIDTH, models_summary, save_models
from stream.adapters.process import ThisProcess
from stream.adapters.units import bytes_text, quality_text
from stream.assembly import build_trainer
from stream.commands.assembly import versions
from stream.commands.options import is_world, listed, made
from stream.commands.stage import Stage
from stream.compilation import fill_kernel_cache
from stream.config import Settings
from stream.core.evaluation import Prequential
from stream.core.recommender import Ranked
from stream.errors import UsageError

OURS: Final = "scall"
ORACLE: Final = "oracle"
"""Of synthetic worlds alone."""
MODELS: Final = (OURS, *PEERS, ORACLE)
_VARIED: Final = ("seed", "policy", "memory")
"""Settings in which the runs may differ."""


def check_models(options: argparse.Namespace) -> None:
    """Refuse ``--models`` that cannot be compared.

    Raises:
        UsageError: an unknown name, a library that is missing, or an oracle where nobody knows the truth.

    """
    check_installed(_models(options))


def _models(options: argparse.Namespace) -> list[str]:
    """Return the models by name, each once; ``all`` stands for all that there are for the data."""
    every = MODELS if is_world(options) else (OURS, *PEERS)
    names = [model for name in listed("--models", options.models) for model in (every if name == "all" else [name])]
    for name in names:
        if name not in MODELS:
            raise UsageError(f"--models: {name!r} is unknown; there are {', '.join(MODELS)}, and all")
        if name not in every:
            raise UsageError(f"--models {name}: nobody knows what made {options.data}; only synthetic worlds have one")
    return list(dict.fromkeys(names))


def compare_models(
    options: argparse.Namespace, runs: Sequence[Settings], mean_sizes: Mapping[int, int], tape: Tape | None
) -> int:
    """Test every model under every seed on the same events; leave a comparison in the folder ``--out``.

    ``runs`` are the settings of our own model by seed, budget and policy; ``mean_sizes`` says for a budget what mean
    size it stands for, if it does.
    """
    models = _models(options)
    ours = labelled(runs, mean_sizes) if OURS in models else {}
    labels, reference = labels_of(options, ours, models)
    out = made(options.out)
    fill_kernel_cache()
    usual = {settings.seed: settings for settings in reversed(runs)}
    cases: list[Cases] = []
    found: list[Run] = []
    with ThisProcess() as process, ComparisonProgress(len(usual) * len(labels), quiet=options.quiet) as display:
        bench = _Bench(Stage(options, tape), process, display)
        for seed in sorted(usual):
            stream = bench.gather(usual[seed])
            columns = _cases(stream, usual[seed], options.warm)
            mine = {settings: label for settings, label in ours.items() if settings.seed == seed}
            of_seed = list(bench.run_all(stream, usual[seed], mine, labels))
            if len(of_seed) < len(labels):
                break
            cases.append(columns)
            found += of_seed
    if not cases:
        print("scall: interrupted before all models were tested; nothing was written", file=sys.stderr)
        return 0
    common = {name: value for name, value in msgspec.to_builtins(runs[0]).items() if name not in _VARIED}
    told = (runs[0].evaluation.top_k, options.warm, len(usual), GAPS, common, versions() | library_versions(models))
    _tell(compare_runs(Described(bench.data, reference, *told), cases, found), options, out)
    return 0


def _tell(comparison: ModelComparison, options: argparse.Namespace, out: Any) -> None:
    page = save_models(comparison, out)
    if not options.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else FULL_WIDTH
        print(models_summary(comparison, page, width))


def labels_of(
    options: argparse.Namespace, ours: Mapping[Settings, str], models: Sequence[str]
) -> tuple[list[str], str]:
    """Return the names of all that is compared, ours first, and the one that the others are held against.

    Raises:
        UsageError: ``--reference`` is none of them.

    """
    labels = list(dict.fromkeys([*ours.values(), *(model for model in models if model != OURS)]))
    reference = options.reference or labels[0]
    if reference not in labels:
        raise UsageError(f"--reference {reference}: it is not among the models; there are {', '.join(labels)}")
    return labels, reference


def labelled(runs: Sequence[Settings], mean_sizes: Mapping[int, int]) -> dict[Settings, str]:
    """Return a name for our model under each policy and budget, no longer than it takes to tell them apart."""
    budgets = {settings.memory.budget_bytes: "" for settings in runs}
    policies = {settings.policy for settings in runs}
    if len(budgets) > 1:
        texts = {bytes_text(budget) for budget in budgets}
        clear = len(texts) == len(budgets)
        budgets = {
            budget: f" at {mean_sizes[budget]} words"
            if budget in mean_sizes
            else f" in {bytes_text(budget) if clear else f'{budget} B'}"
            for budget in budgets
        }
    return {
        settings: OURS + (f" {settings.policy}" if len(policies) > 1 else "") + budgets[settings.memory.budget_bytes]
        for settings in runs
    }


def _cases(stream: Stream, settings: Settings, warm_share: float) -> Cases:
    """Return the tested events of a stream as columns; refuse one in which none counts."""
    at = stream.tested
    no_place = stream.first_sight[at] | (stream.is_taken[at] & settings.exclude_seen)
    position = at / max(stream.events.num_events, 1)
    if not (position >= warm_share).any():
        raise UsageError(f"seed {settings.seed}: no test counts; give more events, --eval-sample 1 or less --warm")
    return Cases(settings.seed, stream.user_key[stream.events.user[at]], position, stream.gap[at], no_place)


class Journal(Prequential):
    """The loop's evaluation, which also writes down the place of each tested event's item."""

    def __init__(self, top_k: int) -> None:
        super().__init__(top_k)
        self.places: list[float] = []

    def add(self, tested: Ranked) -> None:
        """Note the test of one event."""
        super().add(tested)
        self.places.append(float(tested.rank[0]))


class _Bench:
    """Where the models are run, one after another."""

    def __init__(self, stage: Stage, process: ThisProcess, display: ComparisonProgress) -> None:
        self._stage = stage
        self._process = process
        self._display = display
        self._num_done = 0
        self.data = ""
        """The name of the data that was gathered."""

    def gather(self, settings: Settings) -> Stream:
        """Return the events that all models are to see."""
        source = self._stage.source(settings.seed)
        self.data = source.name
        return gather(source, build_trainer(settings).sort)

    def run_all(
        self, stream: Stream, usual: Settings, ours: Mapping[Settings, str], labels: Sequence[str]
    ) -> Iterator[Run]:
        """Run our model under each of its settings, then each peer, until someone asks to stop."""
        for settings, label in ours.items():
            if (run := self._run_ours(stream, settings, label)) is not None:
                yield self._finished(run, usual)
        for name in labels:
            if name in ours.values():
                continue
            if name == ORACLE:
                peer: Peer = Oracle(self._stage.world(usual.seed), stream)
            else:
                peer = open_peer(name, stream, usual.seed)
            if (run := self._run_peer(peer, stream, usual, name)) is not None:
                yield self._finished(run, usual)

    def _run_ours(self, stream: Stream, settings: Settings, label: str) -> Run | None:
        if self._process.stop_requested():
            return None
        journal = Journal(settings.evaluation.top_k)
        report = self._stage.run(settings, self._process, self._note, journal)
        if not report.finished:
            return None
        rank = np.array([journal.places])
        if settings.exclude_seen:
            # The filter of pairs taken forgets some, in its few bytes; peers are told of all.
            rank[:, stream.is_taken[stream.tested]] = np.inf
        seconds = (report.train_seconds + report.resize_seconds, report.eval_seconds)
        return Run(label, settings.seed, ("",), rank, report.peak_bytes, report.budget_bytes, *seconds)

    def _run_peer(self, peer: Peer, stream: Stream, usual: Settings, name: str) -> Run | None:
        def note(share: float) -> bool:
            self._note(share)
            return not self._process.stop_requested()

        elapsed_s = self._process.elapsed_s
        trial = try_peer(peer, stream, exclude_seen=usual.exclude_seen, elapsed_s=elapsed_s, note=note)
        if trial is None:
            return None
        seconds = (trial.learn_seconds, trial.test_seconds)
        return Run(name, usual.seed, peer.variants, trial.rank, peer.num_bytes, None, *seconds)

    def _note(self, share: float) -> None:
        self._display.show(self._num_done + share)

    def _finished(self, run: Run, settings: Settings) -> Run:
        self._num_done += 1
        k = settings.evaluation.top_k
        recall = float((run.rank < k).mean(axis=1).max()) if run.rank.size else None
        seconds = run.learn_seconds + run.test_seconds
        self._display.finish(f"{run.model}, seed {run.seed}", f"recall@{k} {quality_text(recall)}", seconds)
        return run
