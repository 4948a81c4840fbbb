"""A comparison's figures as people read them, and what they mean in a few sentences."""

from stream.adapters.comparison import Comparison, Row
from stream.adapters.comparison_statistics import CONFIDENCE, FEWEST_SEEDS, FEWEST_WINDOWS, Difference
from stream.adapters.units import NOTHING, bytes_text, guard_text, plural, share_text


def difference_text(difference: Difference | None) -> str:
    """Return a difference with its margin, marked with a star where it is clear.

    >>> difference_text(Difference(0.0123, 0.1, 0.004, 0.001, "seeds", 5)), difference_text(None)
    ('+0.0123 ±0.0040 *', '–')
    """
    if difference is None:
        return NOTHING
    margin = "" if difference.margin is None else f" \N{PLUS-MINUS SIGN}{difference.margin:.4f}"
    return f"{difference.mean:+.4f}{margin} {'*' if difference.is_clear else ' '}"


def relative_text(difference: Difference | None) -> str:
    """Return a difference as a share of the reference's figure.

    >>> relative_text(Difference(-0.01, -0.0523, None, None, "windows", 2)), relative_text(None)
    ('-5.2%', '–')
    """
    if difference is None or difference.relative is None:
        return NOTHING
    return f"{100 * difference.relative:+.1f}%"


def p_value_text(difference: Difference) -> str:
    """Return the p-value, nothing where there is none.

    >>> p_value_text(Difference(0.01, 0.1, 0.004, 0.00004, "seeds", 5))
    'p < 0.001'
    """
    if difference.p_value is None:
        return ""
    return "p < 0.001" if difference.p_value < 0.001 else f"p = {difference.p_value:.3f}"


def sizes_text(row: Row) -> str:
    """Return the mean sizes of users and items."""
    return f"{row.user_size:.1f} | {row.item_size:.1f}"


def budget_text(comparison: Comparison, budget_bytes: int) -> str:
    """Return a budget, to the byte and with the mean size where it was asked for by that."""
    if budget_bytes not in comparison.mean_sizes:
        return bytes_text(budget_bytes)
    mean_size = comparison.mean_sizes[budget_bytes]
    return f"{bytes_text(budget_bytes)} ({budget_bytes:,} bytes, mean size {mean_size})"


def explanations(comparison: Comparison) -> list[str]:
    """Return sentences that say what the figures are, and how far to trust them."""
    warm = f"the first {share_text(comparison.warm_share)} of the windows are warm-up"
    lines = [
        f"Means over {plural(len(comparison.seeds), 'seed')}, weighted by tested events; {warm} and do not count. "
        f"Differences are from {comparison.reference} under the same budget, paired by seed and window.",
        f"{_intervals(comparison)} Sizes are mean words of users | items.",
    ]
    if comparison.mean_sizes:
        lines.append("Under each budget every user and item of the data could own the mean size, in words, at once.")
    lines += [_guard(comparison, row) for row in comparison.rows if row.guard_trips]
    if not comparison.is_finished:
        done = f"{len(comparison.reports)} of {plural(comparison.num_planned, 'run')}"
        lines.append(f"Interrupted after {done}: all figures are of these alone.")
    return lines


def _guard(comparison: Comparison, row: Row) -> str:
    runs = f"{row.policy} under {budget_text(comparison, row.budget_bytes)}, over {plural(len(row.seeds), 'seed')}"
    return f"{runs}: {guard_text(row.guard_trips)}."


def _intervals(comparison: Comparison) -> str:
    differences = [row.ndcg_difference for row in comparison.rows if row.ndcg_difference is not None]
    if not differences:
        return "There is nothing to hold against the reference."
    if all(difference.margin is None for difference in differences):
        return (
            f"There are no intervals: they take {FEWEST_SEEDS} seeds (--seeds), or {FEWEST_WINDOWS} windows that count "
            f"(a shorter --window)."
        )
    # More than one only where an interruption has left some with fewer seeds.
    found = sorted({(difference.over, difference.num) for difference in differences})
    over = " or ".join(f"{num} {what}" + (" in moving blocks" if what == "windows" else "") for what, num in found)
    num_clear = sum(difference.is_clear for difference in differences)
    return (
        f"After \N{PLUS-MINUS SIGN} stands a {share_text(CONFIDENCE)} interval over {over}, and a star marks where it "
        f"excludes 0: {num_clear} of {len(differences)}, while chance alone marks one in twenty."
    )
