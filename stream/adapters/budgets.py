"""Budgets asked for while a run goes on: by a plan, or by another process through the folder of checkpoints.

A request is the file ``budget-request`` in the folder, the answer to it the file ``budget-answer``. Each is written
aside and renamed, so that nobody reads half of one.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from stream.adapters.checkpoint import is_in_use
from stream.errors import ScallError, StorageError, UsageError
from stream.ports import Host

_REQUEST: Final = "budget-request"
_ANSWER: Final = "budget-answer"
_LOOK_EVERY_S: Final = 1.0
_WAIT_S: Final = 0.1


class _Request(msgspec.Struct, frozen=True):
    id: str
    budget_bytes: int


class Answer(msgspec.Struct, frozen=True):
    """What became of a request."""

    id: str
    refusal: str | None
    """Why the budget stays as it was, in one line; None: the new one is in force."""


class _HostAround:
    """A host as it is, but for where budgets come from."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def elapsed_s(self) -> float:
        """Return what the host does."""
        return self._host.elapsed_s()

    def peak_rss_bytes(self) -> int:
        """Return what the host does."""
        return self._host.peak_rss_bytes()

    def stop_requested(self) -> bool:
        """Return what the host does."""
        return self._host.stop_requested()


class PlannedBudgets(_HostAround):
    """A host that asks for budgets by plan; a :class:`stream.ports.Host`.

    ``plan`` maps a number of events learnt to the budget in bytes from there on, ``num_learnt`` tells how many have
    been. What is asked for depends on nothing else, so that a run resumed anywhere meets the same budgets.
    """

    def __init__(self, host: Host, plan: Mapping[int, int], num_learnt: Callable[[], int]) -> None:
        super().__init__(host)
        self._plan = dict(plan)
        self._num_learnt = num_learnt

    def budget_requested(self) -> int | None:
        """Return the budget that is planned for this very event."""
        return self._plan.pop(self._num_learnt(), None)

    def answer_budget(self, refusal: str | None) -> None:
        """Do nothing: nobody waits for the answer."""


class RequestedBudgets(_HostAround):
    """A host that passes on the requests laid down in a folder; a :class:`stream.ports.Host`.

    It looks once a second.
    """

    def __init__(self, host: Host, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(host)
        self._folder = folder
        self._clock = clock
        self._next_look_s = clock()
        self._taken = _Request("", 0)

    def budget_requested(self) -> int | None:
        """Return the budget of a request that has come since the last look."""
        if self._clock() < self._next_look_s:
            return None
        self._next_look_s = self._clock() + _LOOK_EVERY_S
        path = self._folder / _REQUEST
        try:
            request = msgspec.json.decode(path.read_bytes(), type=_Request)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            logging.getLogger("scall").warning("%s cannot be read and is passed over: %s", path, error)
            with suppress(OSError):
                path.unlink()
            return None
        if request == self._taken:
            return None
        self._taken = request
        return request.budget_bytes

    def answer_budget(self, refusal: str | None) -> None:
        """Answer the last request, and take it away."""
        try:
            _replace(self._folder / _ANSWER, Answer(self._taken.id, refusal))
            path = self._folder / _REQUEST
            if msgspec.json.decode(path.read_bytes(), type=_Request) == self._taken:
                path.unlink()
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            logging.getLogger("scall").warning("cannot answer the request for a budget: %s", error)


def request_budget(folder: Path, budget_bytes: int, wait_s: float) -> str | None:
    """Ask the service that runs on a folder for another budget; return why it refuses, None once it is in force.

    Raises:
        UsageError: no service runs on the folder.
        ScallError: there was no answer within ``wait_s``, or another request came in between.
        StorageError: the disk refuses.

    """
    if not is_in_use(folder):
        raise UsageError(f"no service runs on {folder}: start one, or change memory.budget_bytes in its settings")
    request = _Request(secrets.token_hex(8), budget_bytes)
    until_s = time.monotonic() + wait_s
    try:
        _replace(folder / _REQUEST, request)
        while time.monotonic() < until_s:
            answer = _read_answer(folder)
            if answer is not None and answer.id == request.id:
                (folder / _ANSWER).unlink(missing_ok=True)
                return answer.refusal
            time.sleep(_WAIT_S)
    except OSError as error:
        raise StorageError(f"cannot ask through {folder}: {error.strerror or error}; mend its permissions") from error
    raise ScallError(
        f"the service on {folder} has not answered within {wait_s:g} s: it takes the request up when it comes to it"
    )


def _read_answer(folder: Path) -> Answer | None:
    try:
        return msgspec.json.decode((folder / _ANSWER).read_bytes(), type=Answer)
    except FileNotFoundError:
        return None


def _replace(path: Path, content: msgspec.Struct) -> None:
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    aside.write_bytes(msgspec.json.encode(content))
    aside.rename(path)
