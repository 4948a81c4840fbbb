"""Parts of a service that break its promises: the harness has to notice each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream.adapters.kafka.client import TopicPartition
from stream.adapters.kafka.reader import Numbering
from stream.commands.run import Part
from stream.core.event import Rejection
from stream.ports import Checkpoint, Position
from stream.service_settings import Service
from tests.integration.broker import Broker


class _Instead:
    """A part that is as the original but for what is written here."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class TrustingSource(_Instead):
    """Commits what it has given, learnt or not, and begins where the broker says."""

    def __init__(self, original: Any, service: Service) -> None:
        super().__init__(original)
        self._service = service

    def poll(self) -> Any:
        poll = self._original.poll()
        if poll is not None:
            self._original.commit(dict(self._original._given))
        return poll

    def seek(self, position: Position) -> None:
        kafka = self._service.kafka
        committed = Broker(kafka.bootstrap_servers[0]).committed(kafka.group)
        number_of = Numbering(kafka.topics).number_of
        self._original.seek(position | {number_of(TopicPartition(*place)): end for place, end in committed.items()})


class StaleCheckpoints(_Instead):
    """Saves the model with the position that was saved before."""

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self._position: dict[str, int] = {}

    def save(self, checkpoint: Checkpoint) -> Any:
        position, self._position = self._position, checkpoint.meta["position"]
        return self._original.save(checkpoint._replace(meta={**checkpoint.meta, "position": position}))


class ForgetfulLetters(_Instead):
    """Does not know after a restart which letters it has written."""

    def rewind(self, mark: Position) -> dict[tuple[int, int], str]:
        self._original.rewind(mark)
        return {}


class LazyLetters(_Instead):
    """Writes only every other letter."""

    def write(self, rejections: Sequence[Rejection]) -> None:
        self._original.write(rejections[::2])


def _only(part: str, spoil: Callable[..., Any]) -> Callable[[str, Any], Any]:
    return lambda name, original: spoil(original) if name == part else original


SABOTAGE: Mapping[str, Callable[[Service], Part]] = {
    "trusts the broker": lambda service: _only("source", lambda source: TrustingSource(source, service)),
    "saves an old position": lambda _: _only("checkpoints", StaleCheckpoints),
    "forgets its letters": lambda _: _only("dead_letters", ForgetfulLetters),
    "loses letters": lambda _: _only("dead_letters", LazyLetters),
}
