"""A budget changed while the loop runs: asked for through the host, put in force, answered once it is durable."""

from stream.core.trainer import Trainer
from stream.errors import BudgetError
from stream.ports import Host, Reporter


class BudgetChanges:
    """Puts the budget that a host asks for in force. One that is refused is told of, and the old one stays.

    Where the loop ``saves``, a request is answered once a checkpoint holds it, otherwise at once.
    """

    def __init__(self, trainer: Trainer, host: Host, reporter: Reporter, *, saves: bool) -> None:
        self.is_pressing = False
        """A request has been met that no checkpoint was begun with."""
        self._trainer = trainer
        self._host = host
        self._reporter = reporter
        self._saves = saves
        # Numbers of requests that have been met, that the last checkpoint begun holds, and that have been answered.
        self._num_met = self._num_held = self._num_answered = 0

    def heed(self) -> None:
        """Ask the host, and do what it asks for."""
        trainer, host = self._trainer, self._host
        requested = host.budget_requested()
        if requested is None:
            return
        if requested != trainer.budget_bytes:
            begin_s = host.elapsed_s()
            try:
                trainer.change_budget(requested)
            except BudgetError as error:
                self._reporter.warn(f"the budget stays at {trainer.budget_bytes:,} bytes: {error}")
                host.answer_budget(str(error))
                return
            spent_s = host.elapsed_s() - begin_s
            trainer.account.spend("resize", spent_s)
            self._reporter.spent("resize", spent_s)
        self._num_met += 1
        self.is_pressing = self._saves
        if not self._saves:
            host.answer_budget(None)

    def note_save(self) -> None:
        """Note that a checkpoint of this instant is begun."""
        self._num_held, self.is_pressing = self._num_met, False

    def note_durable(self) -> None:
        """Note that the checkpoint last begun is safe; answer the request, unless there has been another since."""
        if self._num_answered < self._num_held == self._num_met:
            self._num_answered = self._num_met
            self._host.answer_budget(None)
