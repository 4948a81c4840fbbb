"""``scall inspect``: what a checkpoint holds."""

import argparse
import json
from pathlib import Path
from typing import Any

from stream.adapters.checkpoint import Header, newest_file, read_header


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "inspect",
        help="tell what a checkpoint holds",
        description="Prints as JSON what a checkpoint says of itself: position, counts, digest of the records learnt, "
        "settings and arrays. Nothing is changed; a service may be running on the folder.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint, or a folder: its newest one")
    parser.set_defaults(command=inspect)


def inspect(options: argparse.Namespace) -> int:
    """Print the description of a checkpoint."""
    path: Path = newest_file(options.checkpoint) if options.checkpoint.is_dir() else options.checkpoint
    print(json.dumps({"file": str(path), **_describe(read_header(path))}, indent=1))
    return 0


def _describe(header: Header) -> dict[str, Any]:
    meta = header.meta
    trainer = meta["trainer"]
    return {
        "position": meta["position"],
        "dead_letters": meta["dead_letters"],
        "digest": trainer["digest"],
        "counts": trainer["account"]["counts"],
        "dead_letter_reasons": trainer["account"]["reasons"],
        "window": trainer["clock"]["index"],
        "decision": trainer["decision"],
        "budget_bytes": trainer["budget_bytes"],
        "settings": meta["settings"],
        "arrays": {entry.name: {"shape": entry.shape, "bytes": entry.num_bytes} for entry in header.arrays},
    }
