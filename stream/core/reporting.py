"""The figures of a trainer as reports: of the open window, and of the whole run."""

from collections.abc import Sequence
from typing import Any

import msgspec

from stream.core.arena import live_words
from stream.core.event import ITEM, USER
from stream.core.memory import EVICTED_ITEMS, EVICTED_USERS
from stream.core.stats import Counts, LedgerLine, Report, WindowReport
from stream.core.status import Status
from stream.core.trainer import Trainer
from stream.core.windows import NO_EVENT_TIME


def report_window(trainer: Trainer, reason: str, peak_rss_bytes: int, guard_trips: dict[str, int]) -> WindowReport:
    """Return what happened in the open window, which ends here for this ``reason``."""
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
        peak_rss_bytes=peak_rss_bytes,
        user_sizes=trainer.sizes(USER),
        item_sizes=trainer.sizes(ITEM),
        decision=_describe(trainer),
        guard_trips=guard_trips,
        resizes=account.window_count("resizes"),
        train_seconds=train_seconds,
        eval_seconds=account.window_seconds("eval"),
        resize_seconds=account.window_seconds("resize"),
        checkpoint_seconds=0.0,
        checkpoint_bytes=0,
        events_per_second=counts.learnt / train_seconds if train_seconds > 0 else None,
    )


def report_run(trainer: Trainer, fixed: Sequence[LedgerLine], **circumstances: Any) -> Report:
    """Return what happened since the start of the stream.

    ``fixed`` are fixed costs beside the trainer's own; ``circumstances`` are the report's fields of which a trainer
    knows nothing.
    """
    account, ledger = trainer.account, trainer.ledger()
    trainer.take_stock()
    quality = trainer.evaluation.total()
    counts, train_seconds = account.counts(), account.seconds("train")
    return Report(
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
        fixed=[*trainer.fixed_costs(), *fixed],
        train_seconds=train_seconds,
        eval_seconds=account.seconds("eval"),
        resize_seconds=account.seconds("resize"),
        checkpoint_seconds=account.seconds("checkpoint"),
        events_per_second=counts.learnt / train_seconds if train_seconds > 0 else None,
        digest=trainer.digest,
        **circumstances,
    )


def report_status(trainer: Trainer, last: WindowReport | None, **circumstances: Any) -> Status:
    """Return how a trainer stands now, changing nothing about it.

    ``last`` is the last window closed; ``circumstances`` are the status' fields of which a trainer knows nothing.
    """
    recommender, account, ledger = trainer.recommender, trainer.account, trainer.ledger()
    newest_ms = trainer.clock.running_max_ms
    return Status(
        counts=_counts_now(trainer),
        dead_letter_reasons=dict(account.reasons),
        watermark_ms=newest_ms if newest_ms != NO_EVENT_TIME else None,
        num_windows=trainer.clock.index,
        hit_rate=trainer.evaluation.hit_rate(),
        quality=last.quality if last else None,
        top_k=trainer.evaluation.top_k,
        budget_bytes=ledger.budget_bytes,
        peak_bytes=trainer.peak_bytes,
        ledger=ledger.lines(),
        arena_words=len(recommender.memory.words),
        arena_used_words=live_words(recommender.memory),
        num_users=recommender.num_users,
        num_items=recommender.num_items,
        decision=_describe(trainer),
        reward=last.quality.reward if last else None,
        **circumstances,
    )


def _counts_now(trainer: Trainer) -> Counts:
    # Not by taking stock: when a status is asked for must make no difference to the model, its checkpoints included.
    counters = trainer.recommender.memory.counters
    users, items = int(counters[EVICTED_USERS]), int(counters[EVICTED_ITEMS])
    return msgspec.structs.replace(
        trainer.account.counts(),
        evictions=users + items,
        evicted_users=users,
        evicted_items=items,
        drift_alarms=trainer.evaluation.num_alarms,
    )


def _describe(trainer: Trainer) -> dict[str, Any]:
    share, users, items = trainer.decision
    return {"users_share": share, "users": users._asdict(), "items": items._asdict()}
