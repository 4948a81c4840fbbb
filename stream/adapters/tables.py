"""Tables as plain text, for standard output."""

import io
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Line(NamedTuple):
    """A row of a table: its name, and its cells by column."""

    name: str
    cells: Mapping[str, str]
    is_reference: bool = False


def table_of(title: str, what: str, lines: Iterable[Line]) -> Table:
    """Return a table of lines that have the same columns; ``what`` is what their names are names of."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 1, 0, 0))
    for line in lines:
        if not table.columns:
            table.add_column(what, overflow="fold")
            for column in line.cells:
                table.add_column(column, justify="right", no_wrap=True)
        # Names are text, never markup.
        table.add_row(Text(line.name), *map(Text, line.cells.values()), style="bold" if line.is_reference else "")
    return table


def text_of(tables: Iterable[Table], sentences: Iterable[str], width: int) -> str:
    """Return tables in ``width`` columns of text, and sentences below them.

    >>> print(text_of([table_of("Fruit", "kind", [Line("plum", {"eaten": "3"})])], ["All ripe."], 40))
    Fruit
    <BLANKLINE>
     kind  eaten
     ────────────
     plum      3
    <BLANKLINE>
    All ripe.
    """
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    for part in (*tables, *map(Text, sentences)):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
