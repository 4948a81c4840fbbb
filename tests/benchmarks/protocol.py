"""SCALL's own protocol on the data that its released code was measured on: film tweets, 10-core."""

import json
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.runs import run_scall
from tests.benchmarks.streams import DATA, STREAMS

POLICIES: Final = ("uniform", "uniform/powerlaw:1@0.3", "scall")
THEIRS: Final = {
    "SCALL's released code, stopped early by the test part": (0.2236, 0.0981, 2461.0),
    "the same, uniform sizes": (0.2053, 0.0842, 320.0),
}
"""Recall@20, NDCG@20 and seconds, measured once, elsewhere: mean size 8, width 64, the same segments."""


def scall_protocol(quick: bool = False) -> Any:
    """Return Recall@20, NDCG@20 and seconds of a run of every plan of ours, and of two peers."""
    file = next(stream.file for stream in STREAMS if stream.name == "movietweetings")
    with tempfile.TemporaryDirectory() as out:
        run_scall(
            *("compare", str(DATA / file), "--protocol", "scall", "--core", "10", "--window", "growth:600"),
            *("--mean-sizes", "8", "--seeds", "1" if quick else "3", "--quiet", "--out", out),
            *("--policies", ",".join(POLICIES[:1] if quick else POLICIES)),
            *("--models", "scall,popularity" if quick else "scall,popularity,cooccurrence"),
        )
        found = json.loads(Path(out, "segments.json").read_text())
    rows = [
        {
            "model": row["model"],
            "bytes": round(row["num_bytes"]),
            "recall_at_20": [round(row["recall"][of], 4) for of in ("mean", "low", "high")],
            "ndcg_at_20": [round(row["ndcg"][of], 4) for of in ("mean", "low", "high")],
            "seconds": round(row["learn_seconds"] + row["test_seconds"], 1),
        }
        for row in found["rows"]
    ]
    return {"events": found["protocol"]["events"], "seeds": len(found["seeds"]), "rows": rows}
