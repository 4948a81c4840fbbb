"""Measure the figures of the README's results, ours and the peers', on this machine, one after the other.

``python -m tests.benchmarks [NAME...] [--quick] [--minutes M]``; all that belong to the run, without a name.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.compilation import fill_kernel_cache
from tests.benchmarks import render
from tests.benchmarks.entries import ROOT, file_for, read_entries
from tests.benchmarks.harness import FAILED, SKIPPED, Run
from tests.benchmarks.registry import BENCHMARKS, chosen
from tests.benchmarks.tables import NOT_MEASURED, provenance


def main() -> int:
    """Measure, keep the figures, and bring documents and plots up to date with them; 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    option = parser.add_argument
    option("names", nargs="*", metavar="NAME", help="one of " + ", ".join(BENCHMARKS))
    option("--quick", action="store_true", help="small forms, to out/benchmarks-quick.json; documents and plots stay")
    option("--minutes", type=float, metavar="M", help="skip what does not fit into so many minutes")
    options = parser.parse_args()
    try:
        benchmarks = chosen(options.names, quick=options.quick)
    except KeyError as error:
        parser.error(f"there is no benchmark {error}: there are {', '.join(BENCHMARKS)}")
    console = Console()
    fill_kernel_cache()
    path = file_for(quick=options.quick)
    run = Run(path, ROOT / "out" / "benchmarks", quick=options.quick, console=console)
    outcomes = run.measure_all(benchmarks, options.minutes and 60 * options.minutes)
    if not options.quick:
        render.write(read_entries(path))
    show(console, path, {outcome.name for outcome in outcomes if outcome.state != SKIPPED})
    return int(any(outcome.state == FAILED for outcome in outcomes))


def show(console: Console, path: Path, measured: set[str]) -> None:
    """Print the documents' tables that say something of what was measured, from the figures of a file."""
    entries = read_entries(path)
    for name, shown in render.TABLES.items():
        rows = [row for row in shown.rows(entries) if NOT_MEASURED not in row]
        if rows and measured.intersection(shown.benchmarks):
            caption = provenance(entries[of] for of in shown.benchmarks if of in entries)
            table = Table(*shown.header, title=name, caption=caption)
            for row in rows:
                table.add_row(*map(in_bold, row))
            console.print(table)
    if any(entry.quick for entry in entries.values()):
        console.print("quick: fewer events, entities and runs than the rows name", highlight=False)
    console.print(f"figures: {path.relative_to(ROOT)}; what the benchmarks said: out/benchmarks", highlight=False)


def in_bold(cell: str) -> Text:
    """Return a cell for a terminal: what Markdown has between pairs of asterisks is bold.

    >>> in_bold("1.2 M, **0.5 x**").plain
    '1.2 M, 0.5 x'
    """
    return Text.assemble(*((part, "bold" if number % 2 else "") for number, part in enumerate(cell.split("**"))))


if __name__ == "__main__":
    sys.exit(main())
