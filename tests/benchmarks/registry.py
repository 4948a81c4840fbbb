"""Which benchmarks there are, what each is held against, and how long it takes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_GOALS: Mapping[str, float] = MappingProxyType({})


class Benchmark(NamedTuple):
    """A benchmark by name.

    ``measures`` names a function, ``module:function``, that takes ``quick`` and returns figures for JSON. It is
    imported in a process of its own, so that a peer that is not installed, or dies, costs nothing but its own row.
    """

    name: str
    measures: str
    seconds: float
    """Roughly how long it takes."""
    quick_seconds: float | None = None
    """The same of its quick form; None: quick runs leave it out."""
    by_name: bool = False
    """It runs only when it is named: it takes too long for the rest."""
    goals: Mapping[str, float] = NO_GOALS
    libraries: tuple[str, ...] = ()
    """Distributions whose versions matter, beside our own, numpy and numba."""


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "learning", "tests.benchmarks.speed:learning", 60, 10, goals={"events_per_s": 200_000, "elastic": 0.8}
        ),
        Benchmark("plain", "tests.benchmarks.speed:plain", 15, 6, goals={"examples_per_s": 2_500_000}),
        Benchmark(
            "resizing", "tests.benchmarks.speed:resizing", 30, 12, goals={"everything_moves_ms": 50, "share": 0.2}
        ),
        Benchmark("look_up", "tests.benchmarks.speed:look_up", 20, 10, goals={"per_s": 10_000_000}),
        Benchmark("churn", "tests.benchmarks.runs:churn", 50, 10, goals={"growth_bytes": 5 * 2**20, "violations": 0}),
        Benchmark("end_to_end", "tests.benchmarks.runs:end_to_end", 50, 12, goals={"ratio": 0.8}),
        Benchmark("start_up", "tests.benchmarks.runs:start_up", 25, 8, goals={"seconds": 2}),
        Benchmark(
            "kafka",
            "tests.benchmarks.kafka:kafka",
            240,
            45,
            goals={"kafka_python": 0.8, "librdkafka": 0.9, "p99_ms": 250, "stall_ms": 200},
            libraries=("kafka-python", "confluent-kafka"),
        ),
        Benchmark(
            "serving",
            "tests.benchmarks.serving:serving",
            120,
            20,
            goals={"p99_ms": 10, "learner_loses": 0.2, "scrape_ms": 20},
            libraries=("fastapi", "uvicorn"),
        ),
        Benchmark(
            "reliability",
            "tests.benchmarks.reliability:reliability",
            360,
            60,
            goals={"lost_or_doubled": 0, "violations": 0},
            libraries=("kafka-python",),
        ),
        Benchmark("scaling", "tests.benchmarks.scaling:scaling", 270, 15),
        Benchmark(
            "learning_peers",
            "tests.benchmarks.peers_speed:learning_peers",
            300,
            20,
            libraries=("river", "vowpalwabbit", "torch", "fbgemm-gpu-cpu", "implicit"),
        ),
        Benchmark(
            "memory_under_churn",
            "tests.benchmarks.memory:memory_under_churn",
            420,
            20,
            libraries=("river", "vowpalwabbit", "torch", "implicit"),
        ),
        Benchmark(
            "scall_protocol",
            "tests.benchmarks.protocol:scall_protocol",
            120,
            15,
            goals={"recall_at_20": 0.2236, "ndcg_at_20": 0.0981, "seconds": 25},
        ),
        Benchmark(
            "equal_bytes",
            "tests.benchmarks.equal_bytes:equal_bytes",
            1350,
            35,
            libraries=("river", "vowpalwabbit", "implicit"),
        ),
        Benchmark("quality", "tests.benchmarks.quality:quality", 600, by_name=True),
        Benchmark("ablations", "tests.benchmarks.quality:ablations", 1800, by_name=True),
        Benchmark(
            "environment",
            "tests.benchmarks.agent:environment",
            120,
            by_name=True,
            goals={"step_ms": 250, "step_over_bare_loop": 1.3},
            libraries=("gymnasium",),
        ),
        Benchmark("policies", "tests.benchmarks.agent:policies", 3600, by_name=True),
        Benchmark("reward_noise", "tests.benchmarks.agent:reward_noise", 300, by_name=True),
    )
}


def chosen(names: list[str], *, quick: bool) -> list[Benchmark]:
    """Return the benchmarks of these names, or all of a run, in the order in which they are measured.

    Raises :class:`KeyError` with the first name that is none.
    """
    if names:
        return [BENCHMARKS[name] for name in names]
    if quick:
        return [benchmark for benchmark in BENCHMARKS.values() if benchmark.quick_seconds is not None]
    return [benchmark for benchmark in BENCHMARKS.values() if not benchmark.by_name]
