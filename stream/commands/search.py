"""``scall search``: trains the agent in the environment, and writes a policy."""

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream.adapters.search_progress import SearchProgress
from stream.commands.assembly import versions
from stream.commands.options import WORLD, list_settings, listed, mean_sizes, parse_assignments
from stream.config import parse_bytes
from stream.core.observation import PARTS
from stream.errors import UsageError

_LEARNERS: Final = ("sac", "random")
_PACKAGES: Final = ("torch", "stable-baselines3", "gymnasium")


def add(commands: Any) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "search",
        help="train the agent that decides embedding sizes",
        description="Trains a soft actor-critic agent in the environment over data sets and worlds, under several "
        "budgets, evaluates it now and then on the last part of each stream, and writes the best policy.",
        epilog=list_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("--data", nargs="+", action="extend", default=[], metavar="FILE", help="data sets")
    option(
        "--data-once", nargs="+", action="extend", default=[], metavar="FILE",
        help="data sets in which a user takes an item once (replay's --exclude-seen)",
    )  # fmt: skip
    option("--world", nargs="+", action="extend", default=[], metavar="NAME", help="synthetic worlds, such as drift")
    option("--out", type=Path, required=True, metavar="POLICY", help="file for the policy, such as policy.npz")
    option("--steps", type=int, default=2000, metavar="N", help="windows to learn from (2000)")
    option("--budgets", metavar="SIZES", help="budgets, such as 256KiB,1MiB, instead of --mean-sizes")
    option(
        "--mean-sizes", type=mean_sizes, default="2,4,8,16", metavar="WORDS",
        help="budgets in which every user and item of a stream could own so many words (2,4,8,16)",
    )  # fmt: skip
    option("--limit", type=int, default=150_000, metavar="N", help="events of each stream, at most (150000)")
    option("--snapshots", type=int, default=16, metavar="N", help="places in each stream where episodes begin (16)")
    option(
        "--lives", type=int, default=12, metavar="N",
        help="times each stream is lived through beforehand: once with uniform sizes, then with any (12)",
    )  # fmt: skip
    option("--window", default="5000events", metavar="RULE", help="when windows close (5000events)")
    option("--episode", type=int, default=8, metavar="N", help="windows of an episode (8)")
    option("--eval-sample", default="0.2", metavar="SHARE", help="share of the events tested (0.2)")
    option(
        "--held-out", type=float, default=0.4, metavar="SHARE", help="last part of each stream, not trained on (0.4)"
    )
    option("--evaluate-every", type=int, default=250, metavar="N", help="steps between evaluations (250)")
    option("--patience", type=int, default=4, metavar="N", help="end after so many without a better one (4)")
    option("--learner", choices=_LEARNERS, default="sac", help="soft actor-critic, or random search as a control (sac)")
    option("--actions", default="scall", metavar="NAME", help="action space: scall or groups (scall)")
    option(
        "--seen", default="room", metavar="PARTS",
        help="parts of an observation that the agent learns from, such as room,drift,quality; with more it tells "
        "streams apart, and does worse on those that it has not seen (room)",
    )  # fmt: skip
    option(
        "--caution", type=float, default=0.1, metavar="COST",
        help="what an action farthest from the middle costs in training, 0.1 being 10 %% of NDCG; less where the "
        "policy is to act on the streams that it is trained on (0.1)",
    )  # fmt: skip
    option("--seed", type=int, default=1, metavar="N", help="same seed, same data: same policy (1)")
    option("--logs", type=Path, metavar="DIR", help="folder for logs that TensorBoard reads")
    option("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting below")
    option("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(command=search)


def search(options: argparse.Namespace) -> int:
    """Train, and write the policy ``--out``."""
    _check(options)
    _seen(options)
    try:
        from agents import sac, trained
        from simulators.environment import EmbeddingSizes
    except ImportError as error:
        raise UsageError(f"scall search needs {error.name}: pip install 'scall-stream[agent]'") from None
    common = _environment(options)
    whole = EmbeddingSizes(**common)
    plan = sac.Plan(
        steps=options.steps,
        evaluate_every=options.evaluate_every,
        patience=options.patience,
        seed=options.seed,
        log_dir=options.logs,
        seen=_seen(options),
        caution=options.caution,
    )
    with SearchProgress(options.steps, quiet=options.quiet) as progress:
        progress.say(f"living through {whole.num_scenes} scenes, {options.lives} times each")
        env = whole.within(0, 1 - options.held_out)
        _require_windows_held_out(whole, options.held_out)
        trial = sac.Trial(whole.within(0, 1), _lives(whole), 1 - options.held_out)
        uniform = sac.evaluate(trial, lambda seen: np.array(whole.actions.uniform(seen), np.float32))
        progress.say(f"uniform sizes get {uniform.reward:+.4f} on the part held out of {len(trial.episodes)} lives")
        if options.learner == "sac":
            policy, scores = sac.train(env, trial, options.actions, plan, progress, env.experience())
        else:
            action, scores = sac.search_at_random(env, trial, plan, progress)
            policy = trained.constant(action, options.actions, {})
        policy = policy._replace(provenance=_provenance(options, common, scores))
        num_bytes = trained.save(policy, options.out)
    best = max(scores, key=lambda score: score.reward)
    spread = "" if best.standard_error is None else f" (standard error {100 * best.standard_error:.1f})"
    if not options.quiet:
        print(
            f"{options.out}: {num_bytes:,} bytes; {100 * best.reward:+.1f} % NDCG over uniform sizes held out"
            f"{spread}, after {best.step} steps"
        )
    return 0


def _lives(env: Any) -> list[dict[str, int]]:
    """Return an episode for each scene that goes from its first snapshot to the stream's end."""
    return [
        {"scene": scene, "snapshot": 0, "windows": len(env.scene(scene).lives.reference)}
        for scene in range(env.num_scenes)
    ]


def _seen(options: argparse.Namespace) -> list[str]:
    parts = listed("--seen", options.seen)
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"--seen {part}: an observation has no such part: give some of {', '.join(PARTS)}")
    return parts


def _require_windows_held_out(env: Any, share: float) -> None:
    for number in range(env.num_scenes):
        scene = env.scene(number)
        num_windows = len(scene.lives.reference)
        if (num_windows - 1) / num_windows < 1 - share:
            raise UsageError(
                f"--held-out {share:g}: no window of {num_windows} of {scene.tape.name}; give a larger share"
            )


def _check(options: argparse.Namespace) -> None:
    for name, least in (
        ("steps", 1),
        ("episode", 1),
        ("snapshots", 2),
        ("lives", 2),
        ("evaluate_every", 1),
        ("patience", 1),
        ("limit", 1),
    ):
        if getattr(options, name) < least:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(options, name)}: give at least {least}")
    if not 0 < options.held_out < 1:
        raise UsageError(f"--held-out {options.held_out:g}: give a share between 0 and 1")
    if not 0 <= options.caution <= 1:
        raise UsageError(f"--caution {options.caution:g}: give a cost from 0 to 1")
    try:
        options.out.open("ab").close()
    except OSError as error:
        raise UsageError(f"--out {options.out}: {error.strerror}; name another file") from None
    if options.out.stat().st_size == 0:
        options.out.unlink()
    if not (options.data or options.data_once or options.world):
        raise UsageError("nothing to train on: give --data, --data-once or --world")


def _environment(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that the environment to train in and the one to evaluate in share."""
    from simulators.environment import Stream

    settings = parse_assignments(options.set) | {"evaluation.sample": options.eval_sample, "seed": options.seed}
    streams = [
        *(Stream(path, {}) for path in options.data),
        *(Stream(path, {"exclude_seen": True}) for path in options.data_once),
        *(Stream(f"{WORLD}{name.removeprefix(WORLD)}", {}) for name in options.world),
    ]
    budgets = None if options.budgets is None else [parse_bytes(size) for size in options.budgets.split(",")]
    return {
        "data": streams,
        "budget_bytes": budgets,
        "mean_sizes": options.mean_sizes,
        "window": options.window,
        "episode_windows": options.episode,
        "num_snapshots": options.snapshots,
        "num_lives": options.lives,
        "limit": options.limit,
        "action": options.actions,
        "settings": settings,
    }


def _provenance(options: argparse.Namespace, common: dict[str, Any], scores: list[Any]) -> dict[str, Any]:
    given = {name: value for name, value in common.items() if name != "data"}
    return {
        "learner": options.learner,
        "data": [[Path(stream.data).name, stream.settings] for stream in common["data"]],
        **given,
        "held_out": options.held_out,
        "seen": _seen(options),
        "caution": options.caution,
        "steps": options.steps,
        "seed": options.seed,
        "versions": versions() | {name: version(name) for name in _PACKAGES},
        "learning_curve": [[score.step, score.reward, score.standard_error] for score in scores],
    }
