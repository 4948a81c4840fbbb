"""What makes a checkpoint another model's: the settings that it was made under."""

from typing import Any, Final

from stream.errors import CheckpointError

_BUDGET: Final = "memory.budget_bytes"
"""A model outlives a change of it."""


def require_same(now: dict[str, Any], then: dict[str, Any]) -> None:
    """Refuse settings that are not those of a checkpoint, but for the budget.

    Raises :class:`CheckpointError`, naming the first that differs.
    """
    flat_now, flat_then = _flatten(now), _flatten(then)
    for name in sorted((flat_now.keys() | flat_then.keys()) - {_BUDGET}):
        if flat_now.get(name) != flat_then.get(name):
            raise CheckpointError(
                f"the checkpoint was made with {name} = {flat_then.get(name)!r}, not {flat_now.get(name)!r}: "
                f"give the same options to resume, or leave out --resume to start afresh"
            )


def budget_in(settings: dict[str, Any]) -> Any:
    """Return the budget in bytes that settings ask for, None where they do not.

    >>> budget_in({"seed": 1, "memory": {"budget_bytes": 4096}})
    4096
    """
    return _flatten(settings).get(_BUDGET)


def _flatten(settings: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        flat |= _flatten(value, inner) if isinstance(value, dict) else {inner: value}
    return flat
