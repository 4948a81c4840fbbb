"""``scall validate``: what is wrong with a settings file."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from stream.commands.assembly import build_policy
from stream.settings_file import find_mistakes


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "validate",
        help="tell every mistake in a settings file",
        description="Tells every mistake in a service's settings file, each with its line and the setting's path. "
        "Exit status 0: it has none, 2: it has.",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="FILE", help="settings of scall run, TOML")
    parser.set_defaults(command=validate)


def validate(options: argparse.Namespace) -> int:
    """Print the mistakes, or that there is none."""
    mistakes = find_mistakes(options.config, os.environ, build_policy)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if not mistakes:
        print(f"{options.config}: no mistake found")
    return 2 if mistakes else 0
