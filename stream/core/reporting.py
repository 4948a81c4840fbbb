"""The figures of a trainer as reports: of the open window, and of the whole run."""

from collections.abc import Sequence
from typing import Any

from stream.core.arena import live_words
from stream.core.event import ITEM, USER
from stream.core.stats import LedgerLine, Report, WindowReport
from stream.core.trainer import Trainer


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


def _describe(trainer: Trainer) -> dict[str, Any]:
    share, users, items = trainer.decision
    return {"users_share": share, "users": users._asdict(), "items": items._asdict()}
