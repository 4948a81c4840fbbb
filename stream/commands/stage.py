"""Where runs that are compared take place: the loop again and again, over data that is read once."""

import argparse
from collections.abc import Callable
from typing import Any

import msgspec

from simulators.blocks import World
from simulators.nowhere import NoCheckpoints, NoLetters, Silence
from simulators.tape import Tape
from simulators.ties import TieShuffled
from stream.assembly import build_trainer
from stream.commands.assembly import build_policy, compile_kernels, versions
from stream.commands.options import READING_OPTIONS, has_ties_to_shuffle, is_world, open_data, world_of
from stream.config import Settings
from stream.core.evaluation import Prequential
from stream.core.stats import Progress, Report
from stream.pipeline import Pipeline, Ports
from stream.ports import Host, Source


class Stage:
    """Runs the loop again and again over data that is read once: a file in all, a world once for each seed."""

    def __init__(self, options: argparse.Namespace, tape: Tape | None = None) -> None:
        self._options = options
        self._tape = tape
        self._seed: int = options.seed
        compile_kernels()

    def run(
        self,
        settings: Settings,
        host: Host,
        note: Callable[[float], None],
        evaluation: Prequential | None = None,
    ) -> Report:
        """Run the loop under ``settings``; ``note`` hears now and then which share is done.

        ``evaluation`` hears of every test, in the place of the usual one.
        """
        policy, source = build_policy(settings), self.source(settings.seed)
        reading = {name: getattr(self._options, name) for name in READING_OPTIONS}
        identity = msgspec.to_builtins(settings) | {"data": source.name} | reading
        ports = Ports(source, NoLetters(), NoCheckpoints(), policy, Meter(source.num_records, note), host)
        trainer = build_trainer(settings)
        if evaluation is not None:
            trainer.evaluation = evaluation
        return Pipeline(ports, trainer, identity, versions()).run()

    def world(self, seed: int) -> World[Any]:
        """Return the world that the data is, to be asked for the truth."""
        return world_of(self._options, seed)

    def source(self, seed: int) -> Source:
        """Return the data under a seed, at its beginning."""
        # A file's events are the same under every seed, but for the order of ties.
        if self._tape is None or (is_world(self._options) and seed != self._seed):
            self._tape, self._seed = Tape.record(open_data(self._options, seed)), seed
        source = self._tape.reopened()
        return TieShuffled(source, seed) if has_ties_to_shuffle(self._options) else source


class Meter(Silence):
    """A reporter that tells nothing but the share that is done."""

    def __init__(self, num_records: int | None, note: Callable[[float], None]) -> None:
        self._num_records = num_records or 1
        self._note = note

    def progress(self, progress: Progress) -> None:
        """Tell the share."""
        self._note(progress.counts.events / self._num_records)
