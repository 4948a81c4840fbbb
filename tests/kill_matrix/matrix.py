"""The matrix: lives that end at every step and at any moment, and what is to be the same in the end all the same."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Literal, NamedTuple

from simulators.faults import Death
from tests.integration.broker import Broker
from tests.kill_matrix.feeder import Feeder
from tests.kill_matrix.findings import (
    Findings,
    Tally,
    compare,
    letters_by_reason,
    look_at_checkpoint,
    look_at_end,
)
from tests.kill_matrix.launcher import Launcher, Living
from tests.kill_matrix.life import AT_THE_START, STEPS, Life
from tests.kill_matrix.service import Service, set_up
from tests.kill_matrix.trouble import MAX_RECORD_BYTES

ROOT = Path(__file__).parents[2]
OFTEN = frozenset({"client.poll", "decoder.decode", "trainer.sort", "trainer.test", "trainer.learn", "disk.write"})
WINDOWS = ("90events", "7min", "growth:88")
"""When windows close; the seed chooses."""
MOMENT_S = 1.2
COMMAND_S = (0.5, 4.0)
DAWDLE_S = 0.003
EVERY_COMMAND, EVERY_STOP = 25, 10
"""Of so many kills one is of the real command; of so many lives one is asked to stop instead."""
RECORDS_BEFORE, RECORDS_MEANWHILE, PAUSE_S = 100, 50, 0.04
MAX_BACKLOG = 600
"""So many records may wait for a life: it takes no longer for the next to come to its end."""
RECORDS_PER_POLL = 30
PATIENCE_S = 60

MOMENT, COMMAND, STOP = "at any moment", "the command, at any moment", "asked to stop"
MOMENTS: tuple[Literal["before", "after"], ...] = ("before", "after")
How = Death | str
"""How a life is to end."""


class Plan(NamedTuple):
    """What to do."""

    kills: int
    seed: int
    client: str = "kafka-python"
    partitions: int = 1
    sabotage: str | None = None


class StuckError(Exception):
    """A service did not do what it was about to; the text has its last words."""


class Result(NamedTuple):
    """What became of a matrix."""

    findings: Findings
    kills: Counter[str]
    """By step, and by other ways to be killed."""
    lives: int
    learnt: int
    letters: dict[str, Tally]
    """By reason."""


class Matrix:
    """Runs a plan in a folder over a broker; ``tell`` takes a line for each life."""

    def __init__(
        self, broker: Broker, launcher: Launcher, feeder: Feeder, folder: Path, plan: Plan, tell: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._launcher = launcher
        self._feeder = feeder
        self._folder = folder
        self._plan = plan
        self._tell = tell
        self._rng = random.Random(plan.seed)
        self._service = self._set_up("killed")

    def run(self) -> Result:
        """Live all the lives, then one to the end, and compare with a model that had only one."""
        kills: Counter[str] = Counter()
        complaints: list[str] = []
        number, ways = 0, deque(self._ways_to_die())
        while ways and not complaints:
            number += 1
            begun = self._service.position()
            for _ in range(len(ways)):
                if not begun and isinstance(ways[0], Death) and ways[0].step in AT_THE_START:
                    ways.rotate(-1)
            is_asked = number % EVERY_STOP == 0
            how = STOP if is_asked else ways.popleft()
            told = self._live(how)
            kills[how.step if isinstance(how, Death) else how] += not is_asked
            found = look_at_checkpoint(self._service, self._feeder).complaints
            state, at = "; ".join(found) or "as it should be", self._service.position()
            self._tell(f"{number:>4}  {told:<64} {_short(begun):>7} -> {_short(at):<7} {state}")
            complaints += [f"life {number}: {complaint}" for complaint in found]
        return self._end(+kills, number, complaints)

    def _end(self, kills: Counter[str], lives: int, complaints: list[str]) -> Result:
        self._finish(self._service, self._plan.sabotage)
        findings = look_at_end(self._service, self._feeder, self._broker, self._letters)
        complaints += findings.complaints
        if self._plan.sabotage is None:
            complaints += self._compare_with_uninterrupted()
        ends = self._feeder.ends()
        return Result(
            findings._replace(complaints=complaints),
            kills,
            lives + 1,
            self._feeder.learnt_before(ends).num,
            letters_by_reason(self._service, self._feeder, self._broker, self._letters),
        )

    def _compare_with_uninterrupted(self) -> list[str]:
        whole = self._set_up("uninterrupted")
        self._finish(whole, None)
        found = look_at_end(whole, self._feeder, self._broker, self._letters).complaints
        # With several partitions, it depends on the polls in which order they are learnt.
        unlike = compare(self._service.checkpoints, whole.checkpoints) if self._plan.partitions == 1 else []
        return [*(f"uninterrupted: {line}" for line in found), *(f"unlike uninterrupted: {line}" for line in unlike)]

    @property
    def _letters(self) -> str:
        return f"{self._feeder.topic}.dead-letters"

    def _set_up(self, name: str) -> Service:
        return set_up(
            self._folder / name,
            self._broker,
            self._feeder.topic,
            f"{self._feeder.topic}-{name}",
            kafka={"client": self._plan.client, "max_record_bytes": MAX_RECORD_BYTES},
            dead_letters={"topic": self._letters},
            windows={"close_after": WINDOWS[self._plan.seed % len(WINDOWS)]},
        )

    def _ways_to_die(self) -> list[How]:
        """Return one for each kill: every step, before and after, as often as there is room; and any moment."""
        kills, rng = self._plan.kills, self._rng
        num_named = min(kills, max(len(STEPS), 2 * kills // 3))
        named: list[How] = []
        while len(named) < num_named:
            for when in rng.sample(MOMENTS, 2):
                for step in rng.sample(STEPS, len(STEPS)):
                    most = 1 if step in AT_THE_START else 40 if step in OFTEN else 3
                    named.append(Death(step, rng.randint(1, most), when))
        commands = [COMMAND] * (kills // EVERY_COMMAND)
        ways = [*named[:num_named], *commands, *[MOMENT] * kills][:kills]
        rng.shuffle(ways)
        return ways

    def _live(self, how: How) -> str:
        """Live until the end that was chosen; return what happened."""
        rng = self._rng
        self._feeder.feed(rng.randint(0, RECORDS_BEFORE))
        last_step = self._folder / "last_step"
        last_step.unlink(missing_ok=True)
        with self._feeding():
            if how == COMMAND:
                return self._kill_command(rng.uniform(*COMMAND_S))
            death = how if isinstance(how, Death) else None
            dawdle_s = rng.choice((0.0, DAWDLE_S))
            living = self._launcher.start(
                Life(
                    self._service.config,
                    self._service.log,
                    last_step=last_step,
                    death=death,
                    dawdle_s=dawdle_s,
                    records_per_poll=RECORDS_PER_POLL,
                    seed=rng.getrandbits(32),
                    sabotage=self._plan.sabotage,
                )
            )
            if death is not None:
                self._expect(living, {-signal.SIGKILL}, f"come to {death}")
                return f"died {death}"
            after_s = rng.uniform(0, MOMENT_S)
            time.sleep(after_s)
            if how == STOP:
                living.send(signal.SIGTERM)
                # Before it listens to signals, one ends it like any other process.
                self._expect(living, {0, -signal.SIGTERM}, "stopped")
                return f"asked to stop after {after_s:.2f} s"
            living.send(signal.SIGKILL)
            self._expect(living, {-signal.SIGKILL}, "been killed")
            step = last_step.read_text().strip() if last_step.exists() else ""
            return f"killed after {after_s:.2f} s, last seen at {step or 'its start'}"

    def _kill_command(self, after_s: float) -> str:
        command = [sys.executable, "-m", "stream", "run", "--config", str(self._service.config), "--quiet"]
        with (
            self._service.log.open("ab") as log,
            subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
        ):
            time.sleep(after_s)
            process.kill()
        self._require(process.returncode == -signal.SIGKILL, f"the command ended with {process.returncode}")
        return f"the command killed after {after_s:.2f} s"

    def _finish(self, service: Service, sabotage: str | None) -> None:
        living = self._launcher.start(Life(service.config, service.log, until_end=True, sabotage=sabotage))
        self._expect(living, {0}, "come to the end")

    def _expect(self, living: Living, statuses: set[int], what: str) -> None:
        try:
            status = living.wait(PATIENCE_S)
        except TimeoutError:
            living.send(signal.SIGKILL)
            self._require(False, f"has not {what} in {PATIENCE_S} s")
        self._require(status in statuses, f"ended with {status} and has not {what}")

    def _require(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise StuckError(f"the service {otherwise}; it says:\n{self._service.told()[-3000:]}")

    def _backlog(self) -> int:
        return sum(self._feeder.ends().values()) - sum(self._service.position().values())

    @contextmanager
    def _feeding(self) -> Iterator[None]:
        """Feed on in a thread."""
        over, rng = Event(), random.Random(self._rng.random())
        done: Future[None] = Future()

        def feed() -> None:
            try:
                while not over.wait(PAUSE_S):
                    if self._backlog() < MAX_BACKLOG:
                        self._feeder.feed(rng.randint(1, RECORDS_MEANWHILE))
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        thread = Thread(target=feed, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE_S)
        done.result(0)


def _short(position: dict[int, int]) -> str:
    return "+".join(str(position[partition]) for partition in sorted(position)) or "nothing"
