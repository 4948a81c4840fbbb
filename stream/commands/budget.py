"""``scall budget``: another memory budget for a running service."""

import argparse
import os
from pathlib import Path
from typing import Any

from stream.adapters.budgets import request_budget
from stream.adapters.units import bytes_text
from stream.config import parse_bytes, parse_seconds
from stream.errors import BudgetError
from stream.settings_file import load_service


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "budget",
        help="change the memory budget of a running service, up or down",
        description="Asks the service that runs on the settings' checkpoint folder for another budget, and waits until "
        "it is in force and in a checkpoint. The model keeps what it has room for. After a restart the budget stands, "
        "unless memory.budget_bytes in the settings has been changed since.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("size", metavar="SIZE", help="bytes for all that is stored per user, item or event, such as 64MiB")
    option("--config", type=Path, required=True, metavar="FILE", help="the service's settings, TOML")
    option("--wait", default="30s", metavar="TIME", help="how long to wait for the answer (30s)")
    parser.set_defaults(command=budget)


def budget(options: argparse.Namespace) -> int:
    """Ask for the budget, and tell what came of it."""
    budget_bytes, wait_s = parse_bytes(options.size), parse_seconds("--wait", options.wait)
    service = load_service(options.config, os.environ)
    # What is too small need not be asked for.
    service.settings.layout(budget_bytes)
    folder = Path(service.checkpoints.folder)
    refusal = request_budget(folder, budget_bytes, wait_s)
    if refusal is not None:
        raise BudgetError(f"the service on {folder} keeps its budget: {refusal}")
    print(f"{folder}: the budget is now {bytes_text(budget_bytes)}")
    return 0
