"""A comparison of models as people read it, and what its figures mean in a few sentences."""

from stream.adapters.comparison_statistics import CONFIDENCE
from stream.adapters.model_comparison import Estimate, ModelComparison, ModelRow
from stream.adapters.units import bytes_text, plural, quality_text, share_text

GAP_TEXTS = {"first": "first event", "under_1h": "under 1 h", "over_1h": "over 1 h"}


def estimate_text(estimate: Estimate) -> str:
    """Return a figure with the ends of its interval.

    >>> estimate_text(Estimate(0.31234, 0.305, 0.32))
    '0.3123 [0.3050, 0.3200]'
    """
    return f"{quality_text(estimate.mean)} [{quality_text(estimate.low)}, {quality_text(estimate.high)}]"


def gaps_text(row: ModelRow) -> str:
    """Return recall by the time since the user's last event."""
    return " | ".join(quality_text(recall) for recall in row.recall_by_gap.values())


def memory_text(row: ModelRow) -> str:
    """Return the bytes that a model takes, and those that it may take where there is a limit."""
    limit = "" if row.budget_bytes is None else f" of {bytes_text(row.budget_bytes)}"
    return f"{bytes_text(row.num_bytes)}{limit}"


def explanations(comparison: ModelComparison) -> list[str]:
    """Return sentences that say what the figures are, and how far to trust them."""
    shares = ", ".join(f"{GAP_TEXTS.get(gap, gap)} {share_text(share)}" for gap, share in comparison.gap_shares.items())
    lines = [
        f"All models are tested on the same {plural(comparison.num_tests, 'event')} of "
        f"{plural(comparison.num_users, 'user')} before they learn them, against all items that have occurred, over "
        f"{plural(len(comparison.seeds), 'seed')}; the first {share_text(comparison.warm_share)} of the events do not "
        f"count. Nobody could have recommended {share_text(comparison.no_place_share)} of the items tested.",
        f"Intervals are of {share_text(CONFIDENCE)}, by a bootstrap over users; differences are paired by event. A "
        f"star marks a difference from {comparison.reference} whose interval excludes 0.",
        f"Recall by the time since the user's last event: {shares} of the tests.",
        "Where a peer has variants, the one that recalls most on these very events is told: more than anyone could "
        "know beforehand. Bytes of peers are of their figures alone, as flat arrays of four-byte numbers, without "
        "what finds them; those of scall are all that it takes under its budget.",
    ]
    if any(row.model == "oracle" for row in comparison.rows):
        lines.append("The oracle knows what made the world: nobody can expect to recall more.")
    if len(comparison.seeds) < comparison.num_planned:
        done = f"{len(comparison.seeds)} of {plural(comparison.num_planned, 'seed')}"
        lines.append(f"Interrupted after {done}: all figures are of these alone.")
    return lines
