"""The account of every byte under the budget."""

from collections.abc import Mapping
from typing import NamedTuple

from stream.core.stats import LedgerLine


class Ledger(NamedTuple):
    """Names every array under the budget and its bytes.

    >>> ledger = Ledger(100, {"arena": 60, "index": 30})
    >>> ledger.total_bytes, ledger.is_violated
    (90, False)
    """

    budget_bytes: int
    bytes_by_name: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Sum over all lines."""
        return sum(self.bytes_by_name.values())

    @property
    def is_violated(self) -> bool:
        """Whether the sum is over the budget."""
        return self.total_bytes > self.budget_bytes

    def lines(self) -> list[LedgerLine]:
        """Return the lines, largest first."""
        return [LedgerLine(n, b) for n, b in sorted(self.bytes_by_name.items(), key=lambda line: -line[1])]
