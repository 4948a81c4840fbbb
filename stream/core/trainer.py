"""The incremental trainer: one recommender with its windows, its tests and its account, all of one instant."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core import memory
from stream.core.account import Account
from stream.core.evaluation import Prequential
from stream.core.event import Origin, Poll, digest_of
from stream.core.intake import Batch, Intake
from stream.core.ledger import Ledger
from stream.core.memory import Layout
from stream.core.observation import observe
from stream.core.recommender import Recommender
from stream.core.sizes import Curve, SizeDecision, summarise_sizes
from stream.core.stats import LedgerLine, SizeSummary
from stream.core.windows import WindowClock

FIRST_DECISION: Final = SizeDecision(0.5, Curve("uniform"), Curve("uniform"))
"""Until the first window closes."""
USERS_TURN: Final = 4
NOTHING_DEAD: Final[Mapping[tuple[int, int], str]] = {}


class Step(NamedTuple):
    """How far a call of :meth:`Trainer.learn` came, and why it stopped."""

    reached: int
    resize_due: bool
    """Sizes are to be assigned anew before the next event."""
    is_waiting: bool
    """The next event waits for room, its user perhaps admitted already: nothing may come before it but a resize."""


class Trainer:
    """Learns and tests events, keeps the window and the account; the loop tells it when.

    ``resize_every`` is the number of learnt events after which sizes are assigned anew within a window, by the decision
    that stands: ranks move faster than a policy needs to think. Users, who are many and gain little, have their turn
    every USERS_TURN times. ``plan_layout`` lays another budget out, should it be changed.
    """

    def __init__(
        self,
        recommender: Recommender,
        intake: Intake,
        clock: WindowClock,
        evaluation: Prequential,
        budget_bytes: int,
        resize_every: int,
        plan_layout: Callable[[int], Layout],
    ) -> None:
        self.recommender = recommender
        self.clock = clock
        self.evaluation = evaluation
        self.account = Account()
        self.decision = FIRST_DECISION
        self.budget_bytes = budget_bytes
        """The budget in force."""
        self.peak_bytes = 0
        """The most that the ledger came to under it."""
        self._intake = intake
        self._resize_every = resize_every
        self._plan_layout = plan_layout
        self._first_event_ms = self._last_event_ms = 0
        self._needs_room = False
        self._digest = 0

    @property
    def digest(self) -> str:
        """Digest (:func:`~stream.core.event.digest_of`) of all records learnt: 16 hexadecimal digits."""
        return f"{self._digest:016x}"

    def sort(
        self, poll: Poll, origin: Callable[[int, int], Origin], dead: Mapping[tuple[int, int], str] = NOTHING_DEAD
    ) -> Batch:
        """Sort a poll out into what is learnt and what is not; see :meth:`stream.core.intake.Intake.sort`."""
        return self._intake.sort(poll, origin, dead)

    def learn(self, batch: Batch, begin: int, end: int) -> Step:
        """Learn events ``begin`` to ``end``; stops early where a growth window is full or a resize is due.

        What was learnt has to be noted (:meth:`note_learnt`) before the window is looked at.
        """
        before = self.recommender.num_learnt % self._resize_every
        stop = min(end, begin + self._resize_every - before)
        reached, num_new, needs_resize = self.recommender.learn(batch.events, begin, stop, self.clock.remaining_growth)
        self.clock.note_new_entities(num_new)
        self._needs_room = needs_resize
        return Step(reached, needs_resize or before + reached - begin == self._resize_every, needs_resize)

    def note_learnt(self, batch: Batch, begin: int, end: int) -> None:
        """Note that events ``begin`` to ``end`` have been learnt."""
        if begin == end:
            return
        timestamp_ms = batch.events.timestamp_ms[begin:end]
        if self.clock.num_learnt == 0:
            self._first_event_ms = int(timestamp_ms[0])
        self._last_event_ms = int(timestamp_ms[-1])
        self.clock.note_learnt(timestamp_ms)
        self._digest += digest_of(batch.events.partition[begin:end], batch.events.offset[begin:end])
        self._digest %= 2**64
        self.account.count("events", end - begin)
        self.account.count("learnt", end - begin)
        self.account.count("late", int(batch.late[begin:end].sum()))

    def test(self, batch: Batch, index: int) -> None:
        """Rank one event before it is learnt."""
        events = batch.events
        self.evaluation.add(
            self.recommender.test(events.user[index], events.item[index], int(events.timestamp_ms[index]))
        )

    def resize_within_window(self) -> None:
        """Assign sizes anew by the decision that stands: items always, users in their turn or if room is short."""
        turn = self.recommender.num_learnt % (USERS_TURN * self._resize_every) == 0
        self.recommender.resize(self.decision, items_only=not (turn or self._needs_room))
        self.account.count("resizes", 1)

    def resize(self, decision: SizeDecision) -> None:
        """Assign all sizes anew by a decision, which stands from now on."""
        self.decision = decision
        self.recommender.resize(decision)
        self.account.count("resizes", 1)

    def change_budget(self, budget_bytes: int) -> None:
        """Go on under another budget, with all of the model that it has room for.

        Sizes are assigned anew by the decision that stands. At no instant the model takes more than the larger budget.

        Raises:
            BudgetError: too small for anything useful, or more than the machine gives; the old one stays.

        """
        self.recommender.change_layout(self._plan_layout(budget_bytes), self.decision)
        self.budget_bytes = budget_bytes
        self.peak_bytes = self.ledger().total_bytes
        self.account.count("budget_changes", 1)
        self.account.count("resizes", 1)
        self.check_ledger()

    def observe(self) -> NDArray[np.float32]:
        """Return what the policy sees at the window's end, as :data:`stream.core.observation.PARTS` has it."""
        return observe(self.recommender, self.evaluation.window())

    def ledger(self) -> Ledger:
        """Name every array under the budget, as it is now."""
        return memory.ledger_of(self.recommender.memory, self.budget_bytes)

    def check_ledger(self) -> None:
        """Hold the ledger against the budget; a violation is counted and would be a bug."""
        ledger = self.ledger()
        self.peak_bytes = max(self.peak_bytes, ledger.total_bytes)
        self.account.count("violations", int(ledger.is_violated))

    def take_stock(self) -> None:
        """Bring the counts that others keep into the account."""
        counters = self.recommender.memory.counters
        self.account.note("evicted_users", int(counters[memory.EVICTED_USERS]))
        self.account.note("evicted_items", int(counters[memory.EVICTED_ITEMS]))
        self.account.note("drift_alarms", self.evaluation.num_alarms)

    def open_window(self) -> None:
        """Close the window and open the next."""
        self.clock.close()
        self.evaluation.close_window()
        self.account.open_window()

    def event_span_ms(self) -> tuple[int, int]:
        """Return the event times of the window's first and last event learnt, in the order of learning."""
        return self._first_event_ms, self._last_event_ms

    def sizes(self, side: int) -> SizeSummary:
        """Sum up the sizes of a side's entities."""
        return summarise_sizes(self.recommender.sizes(side))

    def fixed_costs(self) -> list[LedgerLine]:
        """List what does not grow with users, items or events."""
        recommender = self.recommender
        shared = sum(array.nbytes for array in recommender.shared)
        return [
            LedgerLine("parameters shared by all", shared),
            LedgerLine("scratch for one event", recommender.workspace_bytes),
            LedgerLine("tests waiting to be summed", self.evaluation.num_bytes),
        ]

    def state(self, batch: Batch | None, position: dict[int, int]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return arrays and JSON-able values of this instant, at a position within the batch last sorted."""
        meta = {
            "clock": self.clock.state(),
            "intake": self._intake.state(batch, position),
            "evaluation": self.evaluation.state(),
            "account": self.account.state(),
            "decision": self.decision.state(),
            "span_ms": [self._first_event_ms, self._last_event_ms],
            "budget_bytes": self.budget_bytes,
            "peak_bytes": self.peak_bytes,
            "digest": self.digest,
        }
        return self.recommender.state(), meta

    def restore(self, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> None:
        """Go on from a state, under the budget that was in force in it."""
        self.recommender.restore(arrays)
        self.budget_bytes = meta["budget_bytes"]
        self.clock.restore(meta["clock"])
        self._intake.restore(meta["intake"])
        self.evaluation.restore(meta["evaluation"])
        self.account.restore(meta["account"])
        self.decision = SizeDecision.from_state(meta["decision"])
        self._first_event_ms, self._last_event_ms = meta["span_ms"]
        self.peak_bytes = meta["peak_bytes"]
        self._digest = int(meta["digest"], 16)
