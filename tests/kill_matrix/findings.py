"""What is found wrong with a model: with a checkpoint, at the end, and against a model that nothing came across."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stream.adapters.checkpoint import newest_file
from stream.adapters.checkpoint_file import read_checkpoint
from stream.ports import Checkpoint
from tests.doubles import UNLIKE
from tests.integration.broker import Broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.service import Service, read_letters


class Findings(NamedTuple):
    """How many records were lost and doubled, learnt or as dead letters, and all that is wrong, a line each."""

    lost: int
    doubled: int
    complaints: list[str]


NOTHING = Findings(0, 0, [])


class Tally(NamedTuple):
    """What became of all records that are dead letters for one reason."""

    written: int
    lost: int
    doubled: int


def look_at_checkpoint(service: Service, feeder: Feeder) -> Findings:
    """Hold the newest checkpoint against what there was to learn before the position it names."""
    header = service.saved()
    if header is None:
        return NOTHING
    position, trainer = service.position(), header.meta["trainer"]
    counts, reasons = trainer["account"]["counts"], trainer["account"]["reasons"]
    learnt, dead = feeder.learnt_before(position), feeder.dead_before(position)
    lost, doubled = _difference(counts["learnt"], learnt.num)
    complaints = []
    if trainer["digest"] != learnt.digest:
        lost, doubled = (lost, doubled) if lost + doubled else (1, 1)
        complaints.append(
            f"at {position}: learnt {counts['learnt']} records with digest {trainer['digest']}, to be learnt were "
            f"{learnt.num} with {learnt.digest}"
        )
    if reasons != Counter(dead.values()):
        complaints.append(f"at {position}: counted dead letters {reasons}, there were {dict(Counter(dead.values()))}")
    never = ("violations", "lost", "failed_checkpoints")
    complaints += [f"at {position}: {counts[name]} {name}" for name in never if counts[name]]
    return Findings(lost, doubled, complaints)


def look_at_end(service: Service, feeder: Feeder, broker: Broker, letter_topic: str) -> Findings:
    """Hold everything that a model leaves against what was fed, after it has come to the end."""
    lost, doubled, complaints = look_at_checkpoint(service, feeder)
    ends, position = feeder.ends(), service.position()
    if position != ends:
        complaints.append(f"ended at {position}, the topic at {ends}")
        behind = feeder.learnt_before(ends).num - feeder.learnt_before(position).num
        lost += max(0, behind)
    committed = {partition: offset for (_, partition), offset in broker.committed(service.group).items()}
    if committed != position:
        complaints.append(f"committed {committed}, saved {position}")
    if unfinished := sorted(path.name for path in service.checkpoints.glob("*.tmp")):
        complaints.append(f"left unfinished: {unfinished}")
    expected = {(*place, reason) for place, reason in feeder.dead_before(ends).items()}
    found = read_letters(broker, letter_topic, service.group)
    for letters, told in ((expected - found.keys(), "missing"), (found.keys() - expected, "unexpected")):
        if letters:
            complaints.append(f"{len(letters)} dead letters {told}, such as {min(letters)}")
    if repeated := [letter for letter, times in found.items() if times > 1]:
        complaints.append(f"{len(repeated)} dead letters doubled, such as {min(repeated)}")
    places, expected_places = ({letter[:2] for letter in letters} for letters in (found, expected))
    return Findings(
        lost + len(expected_places - places),
        doubled + found.total() - len(places & expected_places),
        complaints,
    )


def letters_by_reason(service: Service, feeder: Feeder, broker: Broker, letter_topic: str) -> dict[str, Tally]:
    """Return by reason how many records were to become dead letters, and how many stand there never or twice."""
    places: dict[str, list[tuple[int, int]]] = {}
    for place, reason in feeder.dead_before(feeder.ends()).items():
        places.setdefault(reason, []).append(place)
    found = read_letters(broker, letter_topic, service.group)
    times = {reason: [found[*place, reason] for place in of_reason] for reason, of_reason in places.items()}
    return {
        reason: Tally(len(counts), counts.count(0), sum(count - 1 for count in counts if count > 1))
        for reason, counts in sorted(times.items())
    }


def compare(folder: Path, other: Path) -> list[str]:
    """Return in what the newest checkpoints of two folders differ, that ought to be the same to the last bit."""
    ours, theirs = (read_checkpoint(newest_file(which)) for which in (folder, other))
    return [*_unlike_arrays(ours, theirs), *_unlike(_without_times(ours.meta), _without_times(theirs.meta))]


def _unlike_arrays(ours: Checkpoint, theirs: Checkpoint) -> Iterator[str]:
    for name in sorted(ours.arrays.keys() | theirs.arrays.keys()):
        pair = [which.arrays.get(name) for which in (ours, theirs)]
        contents = [None if array is None else (array.dtype, array.shape, array.tobytes()) for array in pair]
        if contents[0] != contents[1]:
            yield f"array {name} differs"


def _without_times(meta: Any) -> dict[str, Any]:
    account = {name: value for name, value in meta["trainer"]["account"].items() if "seconds" not in name}
    windows = [{name: value for name, value in window.items() if name not in UNLIKE} for window in meta["windows"]]
    kept = {name: meta[name] for name in ("position", "policy")}
    return {**kept, "trainer": {**meta["trainer"], "account": account}, "windows": windows}


def _unlike(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours.keys() | theirs.keys():
            yield from _unlike(ours.get(name), theirs.get(name), f"{path}.{name}" if path else name)
    elif ours != theirs:
        yield f"{path} is {str(ours)[:200]}, not {str(theirs)[:200]}"


def _difference(num: int, expected: int) -> tuple[int, int]:
    return max(0, expected - num), max(0, num - expected)
