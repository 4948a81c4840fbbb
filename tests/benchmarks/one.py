"""Measure one benchmark in this process: ``python -m tests.benchmarks.one MODULE:FUNCTION FILE [--quick]``."""

import argparse
from pathlib import Path
from pkgutil import resolve_name

import msgspec


def main() -> None:
    """Call the function and write what it returns to the file, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.one", description=__doc__)
    parser.add_argument("measures", metavar="MODULE:FUNCTION")
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    figures = resolve_name(options.measures)(quick=options.quick)
    options.file.write_bytes(msgspec.json.encode(figures))


if __name__ == "__main__":
    main()
