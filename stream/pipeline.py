"""The one loop. Service, replay and environment are compositions of it with different ports.

poll -> sort -> test -> learn -> window closes -> observe -> policy -> resize -> checkpoint -> commit
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from stream.core.arena import live_words
from stream.core.event import ITEM, USER
from stream.core.intake import Batch
from stream.core.stats import Report, WindowReport
from stream.core.trainer import Trainer
from stream.errors import CheckpointError
from stream.ports import (
    Checkpoint,
    CheckpointStore,
    DeadLetters,
    Host,
    Position,
    Reporter,
    SizePolicy,
    Source,
)


class Ports(NamedTuple):
    """Everything outside that the loop talks to."""

    source: Source
    dead_letters: DeadLetters
    checkpoints: CheckpointStore
    policy: SizePolicy
    reporter: Reporter
    host: Host


class Pipeline:
    """Runs a trainer over a source until the stream ends or someone asks it to stop.

    ``settings`` is JSON-able and describes what the model depends on: a checkpoint made under other settings is
    refused. ``versions`` goes into the report.
    """

    def __init__(self, ports: Ports, trainer: Trainer, settings: dict[str, Any], versions: dict[str, str]) -> None:
        self._ports = ports
        self._trainer = trainer
        self._settings = settings
        self._versions = versions
        self._position: Position = {}
        self._windows: list[WindowReport] = []
        self._resumed = False
        self._started_s = ports.host.elapsed_s()
        self._wall_before_s = 0.0

    def run(self) -> Report:
        """Go on from where the stream stands; return the report of the whole run."""
        source, trainer = self._ports.source, self._trainer
        trainer.check_ledger()
        finished, batch = False, None
        while not finished and not self._ports.host.stop_requested():
            with self._timed("read"):
                poll = source.poll()
            if poll is not None:
                batch = trainer.sort(poll, source.place)
                self._process(batch)
            else:
                finished = True
                if trainer.account.window_counts().events:
                    self._close_window("end of stream", None)
        if not finished:
            # Not a window's end: on resuming, the window goes on as if nothing had happened.
            self._save(batch)
            self._windows.append(self._window_report("interrupted"))
        report = self._report(finished)
        self._ports.reporter.finish(report)
        return report

    def _process(self, batch: Batch) -> None:
        """Learn a batch, closing windows on the way, up to its end or to where someone asks to stop."""
        clock = self._trainer.clock
        at = 0
        while True:
            end, closes = clock.events_before_close(batch.events.timestamp_ms, at)
            at = self._learn(batch, at, end)
            if clock.remaining_growth == 0 or (closes and at == end):
                # By time the next event closes a window, else the last one does: where a poll ends is all one.
                by_next = clock.rule.kind == "time"
                self._settle(batch, batch.position_before(at) if by_next else batch.position_after(at))
                self._close_window(clock.rule.kind, batch)
            elif at == batch.events.num_events or self._ports.host.stop_requested():
                self._settle(batch, batch.position_before(at))
                return

    def _learn(self, batch: Batch, at: int, end: int) -> int:
        """Test and learn the events from ``at`` to ``end``; return the first one not learnt, if it stopped early."""
        trainer, host = self._trainer, self._ports.host
        tests = iter(batch.tested[batch.tested.searchsorted(at) : batch.tested.searchsorted(end)].tolist())
        next_test = next(tests, end)
        begin, is_waiting = at, False
        while at < end and (is_waiting or not (trainer.clock.remaining_growth == 0 or host.stop_requested())):
            if at == next_test:
                with self._timed("eval"):
                    trainer.test(batch, at)
                next_test = next(tests, end)
            with self._timed("train"):
                at, resize_due, is_waiting = trainer.learn(batch, at, next_test)
            if resize_due:
                trainer.note_learnt(batch, begin, at)
                begin = at
                with self._timed("resize"):
                    trainer.resize_within_window()
                self._show_progress()
        trainer.note_learnt(batch, begin, at)
        return at

    def _close_window(self, reason: str, batch: Batch | None) -> None:
        """Observe, decide, resize, checkpoint, commit, report: always in this order."""
        trainer, ports = self._trainer, self._ports
        decision = ports.policy.decide(trainer.observe())
        with self._timed("resize"):
            trainer.resize(decision)
        trainer.check_ledger()
        self._windows.append(self._window_report(reason))
        trainer.open_window()
        num_bytes = self._save(batch)
        self._windows[-1] = msgspec.structs.replace(
            self._windows[-1],
            checkpoint_bytes=num_bytes,
            checkpoint_seconds=trainer.account.window_seconds("checkpoint"),
        )
        ports.source.commit(self._position)
        ports.reporter.window(self._windows[-1])

    def _settle(self, batch: Batch, position: Position) -> None:
        """Move on to a position within a batch, and give up the dead letters before it."""
        before, self._position = self._position, self._position | position
        due = [
            rejection
            for rejection in batch.rejections
            if before.get(rejection.partition, 0) <= rejection.offset < self._position.get(rejection.partition, 0)
        ]
        for rejection in due:
            self._trainer.account.reject(rejection)
            self._trainer.account.count("late", int(rejection.reason == "late event"))
        if due:
            self._ports.dead_letters.write(due)
        self._show_progress()

    def _save(self, batch: Batch | None) -> int:
        """Save everything of this instant; return the bytes written."""
        with self._timed("checkpoint"):
            mark = self._ports.dead_letters.mark()
            arrays, trainer_state = self._trainer.state(batch, self._position)
            meta = {
                "settings": self._settings,
                "position": {str(partition): offset for partition, offset in self._position.items()},
                "dead_letters": mark,
                "trainer": trainer_state,
                "policy": self._ports.policy.state(),
                "windows": [msgspec.to_builtins(window) for window in self._windows],
                "wall_seconds": self._wall_seconds(),
            }
            return self._ports.checkpoints.save(Checkpoint(arrays, meta))

    def resume(self) -> bool:
        """Take over the newest checkpoint, if there is one: model, position, windows, dead letters, policy.

        Raises:
            CheckpointError: it was made under other settings; names the first that differs.

        """
        checkpoint = self._ports.checkpoints.load()
        if checkpoint is None:
            return False
        meta = checkpoint.meta
        _require_same(self._settings, meta["settings"])
        self._trainer.restore(dict(checkpoint.arrays), meta["trainer"])
        self._position = {int(partition): offset for partition, offset in meta["position"].items()}
        self._windows = msgspec.convert(meta["windows"], list[WindowReport])
        if self._windows and not self._windows[-1].checkpoint_bytes:
            # A checkpoint cannot hold its own size.
            self._windows[-1] = msgspec.structs.replace(self._windows[-1], checkpoint_bytes=checkpoint.num_bytes)
        self._wall_before_s = meta["wall_seconds"]
        self._ports.policy.restore(meta["policy"])
        self._ports.dead_letters.rewind(meta["dead_letters"])
        self._ports.source.seek(self._position)
        self._resumed = True
        return True

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        host = self._ports.host
        begin_s = host.elapsed_s()
        yield
        self._trainer.account.spend(activity, host.elapsed_s() - begin_s)

    def _wall_seconds(self) -> float:
        return self._wall_before_s + self._ports.host.elapsed_s() - self._started_s

    def _show_progress(self) -> None:
        trainer = self._trainer
        counts = trainer.account.counts()
        self._ports.reporter.progress(
            counts.events, counts.learnt, trainer.evaluation.hit_rate(), trainer.ledger().total_bytes
        )

    def _window_report(self, reason: str) -> WindowReport:
        trainer = self._trainer
        recommender, account, ledger = trainer.recommender, trainer.account, trainer.ledger()
        trainer.take_stock()
        quality = trainer.evaluation.window()
        first_event_ms, last_event_ms = trainer.event_span_ms()
        counts, train_seconds = account.window_counts(), account.window_seconds("train")
        return WindowReport(
            index=trainer.clock.index,
            reason=reason,
            first_event_ms=first_event_ms,
            last_event_ms=last_event_ms,
            counts=counts,
            num_users=recommender.num_users,
            num_items=recommender.num_items,
            quality=quality.pop("all"),
            quality_by_gap=quality,
            top_k=trainer.evaluation.top_k,
            budget_bytes=ledger.budget_bytes,
            ledger_bytes=ledger.total_bytes,
            peak_bytes=trainer.peak_bytes,
            arena_words=len(recommender.memory.words),
            arena_used_words=live_words(recommender.memory),
            peak_rss_bytes=self._ports.host.peak_rss_bytes(),
            user_sizes=trainer.sizes(USER),
            item_sizes=trainer.sizes(ITEM),
            decision=_describe(trainer),
            resizes=account.window_count("resizes"),
            train_seconds=train_seconds,
            eval_seconds=account.window_seconds("eval"),
            resize_seconds=account.window_seconds("resize"),
            checkpoint_seconds=0.0,
            checkpoint_bytes=0,
            events_per_second=counts.learnt / train_seconds if train_seconds > 0 else None,
        )

    def _report(self, finished: bool) -> Report:
        trainer, ports = self._trainer, self._ports
        account, ledger = trainer.account, trainer.ledger()
        trainer.take_stock()
        quality = trainer.evaluation.total()
        counts, train_seconds = account.counts(), account.seconds("train")
        return Report(
            data=ports.source.name,
            policy=ports.policy.name,
            seed=self._settings["seed"],
            counts=counts,
            dead_letter_reasons=dict(account.reasons),
            num_users=trainer.recommender.num_users,
            num_items=trainer.recommender.num_items,
            quality=quality.pop("all"),
            quality_by_gap=quality,
            top_k=trainer.evaluation.top_k,
            budget_bytes=ledger.budget_bytes,
            peak_bytes=trainer.peak_bytes,
            ledger=ledger.lines(),
            fixed=trainer.fixed_costs(),
            peak_rss_bytes=ports.host.peak_rss_bytes(),
            train_seconds=train_seconds,
            eval_seconds=account.seconds("eval"),
            resize_seconds=account.seconds("resize"),
            checkpoint_seconds=account.seconds("checkpoint"),
            wall_seconds=self._wall_seconds(),
            events_per_second=counts.learnt / train_seconds if train_seconds > 0 else None,
            finished=finished,
            resumed=self._resumed,
            settings=self._settings,
            versions=self._versions,
            windows=self._windows,
        )


def _describe(trainer: Trainer) -> dict[str, Any]:
    share, users, items = trainer.decision
    return {"users_share": share, "users": users._asdict(), "items": items._asdict()}


def _require_same(now: dict[str, Any], then: dict[str, Any]) -> None:
    flat_now, flat_then = _flatten(now), _flatten(then)
    for name in sorted(flat_now.keys() | flat_then.keys()):
        if flat_now.get(name) != flat_then.get(name):
            raise CheckpointError(
                f"the checkpoint was made with {name} = {flat_then.get(name)!r}, not {flat_now.get(name)!r}: "
                f"give the same options to resume, or leave out --resume to start afresh"
            )


def _flatten(settings: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        flat |= _flatten(value, inner) if isinstance(value, dict) else {inner: value}
    return flat
