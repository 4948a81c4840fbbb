"""The agent: what a step of the environment costs, and how noisy its reward is."""

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from simulators.environment import EmbeddingSizes, Stream
from simulators.synthetic import open_world
from simulators.tape import Tape
from stream.__main__ import main
from stream.assembly import build_trainer
from stream.core.action import ThreeNumbers
from tests.benchmarks.streams import DATA, STREAMS

_ACTION = np.array([-0.25, 0.3, -0.4], np.float32)
_STEPS = 8
WINDOW = 20_000


def environment(quick: bool = False) -> dict[str, Any]:
    """Steps of 20,000 events with 100,000 entities, 1 % tested, against the bare loop over the same events.

    Processor time, medians. The bare loop only learns, tests and resizes those events under the same decisions. The
    reference, a life with uniform sizes, is lived through once for all episodes of a scene. Quick: a quarter of the
    world, one episode.
    """
    # Most entities of this world are short-lived, so the index is as large as all that ever were alive.
    tape = Tape.record(open_world("churn", 1, 100_000 if quick else 400_000))
    window = WINDOW // 4 if quick else WINDOW
    env = EmbeddingSizes(
        tape, mean_sizes=8, window=f"{window}events", episode_windows=_STEPS, num_snapshots=12,
        settings={"evaluation.sample": 0.01},
    )  # fmt: skip
    resets, stepping, bare, steps = [], [], [], {}
    for seed in range(1 if quick else 3):
        options = {"scene": 0, "snapshot": len(env.scene(0).snapshots) - 1}
        begin = time.process_time()
        env.reset(seed=seed, options=options)
        resets.append(time.process_time() - begin)
        times = []
        for _ in range(_STEPS):
            begin = time.process_time()
            *_, info = env.step(_ACTION)
            times.append(time.process_time() - begin)
        stepping.append(median(times))
        bare.append(_bare_window(env, options, window))
        recommender = env.scene(0).trainer.recommender
        steps = {"entities": recommender.num_users + recommender.num_items, "tests": info["evaluated"]}
    return {
        "step_ms": round(1000 * median(stepping), 1),
        "reset_ms": round(1000 * median(resets), 1),
        "bare_loop_ms": round(1000 * median(bare), 1),
        "step_over_bare_loop": round(median(a / b for a, b in zip(stepping, bare, strict=True)), 3),
        **steps,
    }


def _bare_window(env: EmbeddingSizes, options: dict[str, int], window: int) -> float:
    """Return the median processor time of a window in a loop of nothing but learning, testing and resizing."""
    scene = env.scene(options["scene"])
    snapshot = scene.snapshots[options["snapshot"]]
    trainer, tape = build_trainer(scene.settings), scene.tape.reopened()
    trainer.restore(dict(snapshot.checkpoint.arrays), dict(snapshot.checkpoint.meta["trainer"]))
    tape.seek({0: int(snapshot.checkpoint.meta["position"]["0"])})
    decision = ThreeNumbers().decode(_ACTION)
    times, learnt, spent = [], 0, 0.0
    while len(times) < _STEPS and (poll := tape.poll()) is not None:
        batch, at = trainer.sort(poll, tape.origin), 0
        tested, num = set(batch.tested.tolist()), batch.events.num_events
        while at < num:
            end = min([t for t in batch.tested.tolist() if t > at] + [num, at + window - learnt])
            begin = time.process_time()
            if at in tested:
                trainer.test(batch, at)
            at_before = at
            at, resize_due, _ = trainer.learn(batch, at, end)
            if resize_due:
                trainer.resize_within_window()
            learnt += at - at_before
            if learnt == window:
                trainer.resize(decision)
            spent += time.process_time() - begin
            if learnt == window:
                times.append(spent)
                learnt, spent = 0, 0.0
    return median(times)


POLICIES = ("uniform/powerlaw:1@even", "scall")
MEAN_SIZES = "2,4,8,16"


def policies(quick: bool = False) -> dict[str, Any]:
    """NDCG@20 of policies on the first 80,000 events of each stream, against the same size for all, by mean size.

    Five seeds; quick: one of one stream.
    """
    out, seeds = {}, 1 if quick else 5
    for stream in STREAMS[:1] if quick else STREAMS:
        with tempfile.TemporaryDirectory() as folder:
            status = main([
                *("compare", str(DATA / stream.file), "--policies", ",".join(POLICIES), "--reference", "uniform@even"),
                *("--mean-sizes", MEAN_SIZES, "--seeds", str(seeds), "--window", "5000events", "--limit", "80000"),
                *("--eval-sample", "0.1", "--quiet", "--out", folder),
                *(["--exclude-seen"] if stream.exclude_seen else []),
            ])  # fmt: skip
            assert status == 0, stream.name
            out[stream.name] = summarised(json.loads((Path(folder) / "compare.json").read_text()))
    return out


def summarised(comparison: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a comparison by mean size and policy."""
    sizes = dict(zip(comparison["budgets"], comparison["mean_sizes"], strict=True))
    out: dict[str, Any] = {}
    for row in comparison["rows"]:
        of_size = out.setdefault(str(sizes[row["budget_bytes"]]), {"budget_bytes": row["budget_bytes"]})
        of_size[row["policy"]] = {"ndcg_at_20": round(row["ndcg_at_20"], 4), "violations": row["violations"]}
        difference = row["ndcg_at_20_difference"]
        if difference is not None:
            relative, margin = (
                difference["relative"],
                difference["margin"] * difference["relative"] / difference["mean"],
            )
            of_size[row["policy"]] |= {"relative": round(relative, 4), "margin": round(margin, 4)}
    return out


def reward_noise(quick: bool = False) -> dict[str, Any]:
    """Standard deviation of a step's reward from testing only some events, by how many are tested, on MovieLens-100K.

    Tests change nothing that is learnt, so the same steps with all events tested show the reward without that noise.
    """
    return {
        stream.name: _noise_of(stream, 20_000 if quick else 40_000) for stream in STREAMS if stream.name == "ml100k"
    }


def _noise_of(stream: Any, limit: int) -> dict[str, Any]:
    rewards = {}
    for sample in (1.0, 0.3, 0.1, 0.03):
        settings = {"exclude_seen": stream.exclude_seen, "evaluation.sample": sample}
        env = EmbeddingSizes(
            Stream(DATA / stream.file, settings), mean_sizes=4, limit=limit, episode_windows=6, num_snapshots=6
        )
        rewards[sample] = np.concatenate([_rewards(env, number) for number in range(len(env.scene(0).snapshots))])
    exact = rewards[1.0]
    noise = {f"{5000 * sample:.0f} tests": float(np.std(rewards[sample] - exact)) for sample in (0.3, 0.1, 0.03)}
    # The error of a mean falls with the root of the number: so many tests bring it down to one per cent.
    per_test = np.mean([np.std(rewards[sample] - exact) * np.sqrt(5000 * sample) for sample in (0.1, 0.03)])
    return {
        "mean_reward": round(float(exact.mean()), 4),
        "spread_of_reward": round(float(exact.std()), 4),
        "noise": {name: round(value, 4) for name, value in noise.items()},
        "tests_for_one_per_cent": round(float((per_test / 0.01) ** 2)),
    }


def _rewards(env: EmbeddingSizes, snapshot: int) -> list[float]:
    env.reset(options={"scene": 0, "snapshot": snapshot})
    return [float(env.step(_ACTION)[1]) for _ in range(6)]
