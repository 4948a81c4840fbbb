"""How a size decision is written and read, and the grid of fixed ones that every policy has to beat.

A decision is written ``CURVE[/CURVE][@SHARE]``: the users' curve, the items' where it is another, and the users' share
of the words; a curve is ``FAMILY[:SHAPE]``, such as ``powerlaw:0.5``.
"""

import math
from itertools import product
from typing import Final

from stream.core.sizes import FAMILIES, Curve, SizeDecision, parse_curve
from stream.errors import UsageError

_SHARES: Final = (0.05, 0.1, 0.2, 0.4, 0.7)
_USERS: Final = ("uniform", "powerlaw:1", "powerlaw:0.3")
_ITEMS: Final = ("uniform", "powerlaw:3", "powerlaw:1", "powerlaw:0.3")

GRID: Final = tuple(
    SizeDecision(share, parse_curve(users), parse_curve(items))
    for share, users, items in product(_SHARES, _USERS, _ITEMS)
)
"""Fixed decisions over the range that pays: shares in steps of about a factor of two, curves from flat to steep."""


def parse_decision(text: str, users_share: float) -> SizeDecision:
    """Return the decision that a person wrote; ``users_share`` stands where they wrote none.

    Raises:
        UsageError: no such family, a shape that is out of its range, or a share that is none.

    >>> parse_decision("powerlaw:0.5", 0.4)
    SizeDecision(users_share=0.4, users=Curve(family='powerlaw', shape=0.5), items=Curve(family='powerlaw', shape=0.5))
    >>> parse_decision("uniform/pareto:2@0.1", 0.4)
    SizeDecision(users_share=0.1, users=Curve(family='uniform', shape=1.0), items=Curve(family='pareto', shape=2.0))

    """
    curves, at, written = text.partition("@")
    users, slash, items = curves.partition("/")
    if at:
        users_share = _parse_share(text, written)
    return SizeDecision(users_share, parse_curve(users), parse_curve(items if slash else users))


def write_decision(decision: SizeDecision) -> str:
    """Return a decision as :func:`parse_decision` reads it, in full.

    >>> write_decision(SizeDecision(0.1, Curve("uniform"), Curve("powerlaw", 3.0)))
    'uniform/powerlaw:3@0.1'
    """
    users, items = _write_curve(decision.users), _write_curve(decision.items)
    return f"{users}/{items}@{_write_number(decision.users_share)}"


def _parse_share(text: str, written: str) -> float:
    try:
        share = float(written)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UsageError(f"policy {text!r}: {written!r} is no users' share; write a number from 0 to 1 after the @")
    return share


def _write_curve(curve: Curve) -> str:
    family, shape = curve
    assert not isinstance(shape, tuple), f"{family} is no family that a person asks for"
    low, high = FAMILIES[family].shape_range
    return family if low == high else f"{family}:{_write_number(shape)}"


def _write_number(number: float) -> str:
    """Return the shortest text that is read as the same number."""
    return repr(float(number)).removesuffix(".0")
