"""The model put together from its settings: the same for service, replay and environment."""

from stream.config import Settings
from stream.core.evaluation import Prequential
from stream.core.intake import Intake
from stream.core.recommender import Recommender
from stream.core.trainer import Trainer
from stream.core.windows import WindowClock, parse_window


def build_trainer(settings: Settings) -> Trainer:
    """Return a trainer before its first event.

    Raises:
        BudgetError: the budget is too small for anything useful.

    """
    windows = settings.windows
    lateness_ms = round(1000 * windows.allowed_lateness_s)
    return Trainer(
        recommender=Recommender(
            settings.layout(), settings.hyper(), settings.user_bounds(), settings.item_bounds(), settings.seed
        ),
        intake=Intake(
            allowed_lateness_ms=lateness_ms,
            learn_late=windows.learn_late,
            max_future_jump_ms=round(1000 * windows.max_future_jump_s),
            test_share=settings.evaluation.sample,
            seed=settings.seed,
        ),
        clock=WindowClock(parse_window(windows.close_after), lateness_ms),
        evaluation=Prequential(settings.evaluation.top_k),
        budget_bytes=settings.memory.budget_bytes,
        resize_every=settings.sizes.resize_every_events,
        plan_layout=settings.layout,
    )
