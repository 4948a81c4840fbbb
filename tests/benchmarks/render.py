"""Brings the tables and plots of the documents up to date: ``python -m tests.benchmarks.render``.

A table stands between ``<!-- benchmark:NAME -->`` and ``<!-- end -->``; what is between them is written here, from
benchmarks.json, and the rest of both by hand.
"""

import re
from pathlib import Path

from tests.benchmarks import peer_results, quality_results, results
from tests.benchmarks import plots as drawn
from tests.benchmarks.entries import KEPT, ROOT, Entries, read_entries
from tests.benchmarks.summary import SUMMARY
from tests.benchmarks.tables import Table, markdown

DOCUMENTS = (ROOT / "README.md", Path(__file__).with_name("README.md"))
"""What users read first, and all results with how they were had."""
PLOTS = Path(__file__).with_name("plots")
TABLES: dict[str, Table] = {
    "speed": results.SPEED,
    "service": results.SERVICE,
    "scaling": results.SCALING,
    "dead-letters": results.DEAD_LETTERS,
    "checkpoint": results.CHECKPOINTS,
    "peers-speed": peer_results.SPEEDS,
    "peers-ratios": peer_results.RATIOS,
    "memory": peer_results.MEMORY,
    "by-peer": quality_results.BY_PEER,
    "equal-bytes": quality_results.EQUAL_BYTES,
    "by-budget": quality_results.BY_BUDGET,
    "ablations": quality_results.ABLATED,
    "scall-protocol": peer_results.PROTOCOL,
    "summary": SUMMARY,
}
_BLOCK = re.compile(r"(<!-- benchmark:(?P<name>[^ ]+) -->\n).*?(?P<end><!-- end -->|(?=<!-- benchmark:)|\Z)", re.DOTALL)


def with_tables(text: str, entries: Entries) -> str:
    """Return a text with all tables in it as the entries have them.

    Raises :class:`ValueError` for a block that is no table's, or has no end.
    """

    def block(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in TABLES:
            raise ValueError(f"there is no table benchmark:{name}: there are {', '.join(TABLES)}")
        if not found["end"]:
            raise ValueError(f"the table benchmark:{name} has no <!-- end -->")
        return "\n".join([found[1], *markdown(TABLES[name], entries), "", found["end"]])

    return _BLOCK.sub(block, text)


def write(entries: Entries) -> None:
    """Write documents and plots anew; a plot of which nothing was measured goes."""
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text(), entries))
    PLOTS.mkdir(exist_ok=True)
    wanted = drawn.plots(entries)
    for path in PLOTS.glob("*.svg"):
        if path.stem not in wanted:
            path.unlink()
    for name, svg in wanted.items():
        (PLOTS / f"{name}.svg").write_text(svg)


if __name__ == "__main__":
    write(read_entries(KEPT))
