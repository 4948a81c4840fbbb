"""Measure the figures of the README's results: ``python -m tests.benchmarks [NAME...]``; all, without a name."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks import agent, kafka, quality, runs, serving, speed

BENCHMARKS = {
    "learning": speed.learning,
    "plain": speed.plain,
    "resizing": speed.resizing,
    "look_up": speed.look_up,
    "quality": quality.quality,
    "ablations": quality.ablations,
    "churn": runs.churn,
    "end_to_end": runs.end_to_end,
    "start_up": runs.start_up,
    "kafka": kafka.kafka,
    "serving": serving.serving,
    "environment": agent.environment,
    "policies": agent.policies,
    "reward_noise": agent.reward_noise,
}
RESULTS = Path(__file__).with_name("results.json")


def main(names: list[str]) -> None:
    """Measure, print, and keep the figures in results.json."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in names or BENCHMARKS:
        results[name] = BENCHMARKS[name]()
        print(f"{name}\n{json.dumps(results[name], indent=2)}", flush=True)
    results["machine"] = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
