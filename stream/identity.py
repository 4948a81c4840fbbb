"""What makes a checkpoint another model's: the settings that it was made under."""

from typing import Any

from stream.errors import CheckpointError


def require_same(now: dict[str, Any], then: dict[str, Any]) -> None:
    """Refuse settings that are not those of a checkpoint; raises :class:`CheckpointError`, naming the first."""
    flat_now, flat_then = _flatten(now), _flatten(then)
    for name in sorted(flat_now.keys() | flat_then.keys()):
        if flat_now.get(name) != flat_then.get(name):
            raise CheckpointError(
                f"the checkpoint was made with {name} = {flat_then.get(name)!r}, not {flat_now.get(name)!r}: "
                f"give the same options to resume, or leave out --resume to start afresh"
            )


def _flatten(settings: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = f"{path}.{name}" if path else name
        flat |= _flatten(value, inner) if isinstance(value, dict) else {inner: value}
    return flat
