"""The command line: the composition root, with the commands it is made of the only modules that know all others."""

import argparse
import io
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from stream.commands import budget, compare, deadletters, feed, inspect, replay, run, search, size, validate
from stream.errors import ScallError, StorageError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 2 a usage or input error, 1 a failing disk."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a character shows its code; that is no reason to fail at the end of a long run.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        command: Any = options.command
        return int(command(options))
    except ScallError as error:
        # One line, whatever a file is called.
        print(f"scall: {error}".replace("\n", "\\n"), file=sys.stderr)
        return 1 if isinstance(error, StorageError) else 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].lower()}{message[1:]} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="scall", description="Streaming recommendation under one hard memory budget.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for command in (replay, compare, search, run, feed, validate, inspect, budget, size, deadletters):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
