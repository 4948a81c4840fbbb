"""Every policy by the name it is asked for by."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from agents.bandit import DiscountedLinUCB
from agents.baselines import EvenDecision, FixedDecision, Unchanged
from agents.decisions import GRID, parse_decision, write_decision
from agents.policy import Policy
from agents.scall import ScallPolicy
from agents.search import RandomSearch
from agents.trained import load
from stream.core.sizes import FAMILIES
from stream.errors import UsageError

LEARNERS: Final[Mapping[str, Callable[[str, int], Policy]]] = {"random": RandomSearch, "bandit": DiscountedLinUCB}
"""Policies that learn from the stream's own rewards: opened by name and seed."""
SHIPPED: Final = Path(__file__).with_name("scall.npz")
"""The trained policy that comes with the package."""
_LEARNT: Final = "scall"
_ONLINE: Final = "scall-online"
_UNCHANGED: Final = "unchanged:"
_GRID: Final = "grid"
_EVEN: Final = "@even"
NAMES: Final = (_LEARNT, _ONLINE, *FAMILIES, *LEARNERS, f"{_UNCHANGED}POLICY")
"""What a name may begin with."""


def open_policy(text: str, users_share: float, seed: int) -> Policy:
    """Return the policy that ``text`` names.

    * ``scall`` is the learnt policy that comes with the package, ``scall:FILE`` one that was searched for;
      ``scall-online`` and ``scall-online:FILE`` go on learning.
    * ``FAMILY[:SHAPE]`` is a fixed curve for both sides, ``CURVE/CURVE`` one for users and one for items; behind an
      ``@`` stands a users' share, if it is not to be ``users_share`` (:mod:`agents.decisions`), or ``even``: the
      same mean size for users and items.
    * ``random`` and ``bandit`` learn from the stream's own rewards, and draw by ``seed``.
    * ``unchanged:POLICY`` holds the policy's first decision for good.

    Raises:
        UsageError: no such policy, or a shape or share that is out of its range.

    >>> open_policy("uniform/powerlaw:3@0.1", users_share=0.4, seed=1).name
    'uniform/powerlaw:3@0.1'

    """
    held = text.removeprefix(_UNCHANGED)
    if held != text:
        return Unchanged(text, _open(held, text, users_share, seed))
    return _open(text, text, users_share, seed)


def expand(name: str) -> list[str]:
    """Return the names that a name in a list stands for: ``grid`` for every fixed decision of the grid, else itself.

    >>> len(expand("grid")), expand("grid")[1], expand("bandit")
    (60, 'uniform/powerlaw:3@0.05', ['bandit'])
    """
    return [write_decision(decision) for decision in GRID] if name == _GRID else [name]


def _open(name: str, text: str, users_share: float, seed: int) -> Policy:
    """Open a policy that holds no other; ``text`` is what a person wrote."""
    learnt, _, file = name.partition(":")
    if learnt in (_LEARNT, _ONLINE):
        return _open_learnt(name, Path(file) if file else SHIPPED, seed, goes_on=learnt == _ONLINE)
    kind, colon = re.match(r"([^:/@]*)(.?)", name).groups()  # type: ignore[union-attr]  # it matches anything
    if kind in LEARNERS:
        if colon:
            raise UsageError(f"policy {text!r}: {kind} takes nothing behind its name; write {kind!r} alone")
        return LEARNERS[kind](name, seed)
    if kind == _GRID:
        raise UsageError(
            f"policy {text!r}: grid stands for {len(GRID)} policies, to compare; write one, such as {expand(_GRID)[0]}"
        )
    if kind not in FAMILIES:
        raise UsageError(f"policy {text!r}: no such policy; write one of {', '.join(NAMES)}")
    if name.endswith(_EVEN):
        return EvenDecision(name, parse_decision(name.removesuffix(_EVEN), users_share))
    return FixedDecision(name, parse_decision(name, users_share))


def _open_learnt(name: str, file: Path, seed: int, *, goes_on: bool) -> Policy:
    trained = load(file)
    if not goes_on:
        return ScallPolicy(name, trained)
    try:
        # Only this needs torch, which takes seconds to load.
        from agents.online import OnlineScallPolicy
    except ImportError as error:
        raise UsageError(f"policy {name!r} needs {error.name}: pip install 'scall-stream[agent]'") from None
    return OnlineScallPolicy(name, trained, seed)
