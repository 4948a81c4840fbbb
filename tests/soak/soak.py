"""The course of a soak: a long life under requests and a full disk, then lives that are killed, then the reckoning."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

from stream.service_settings import Kafka
from tests.demo_kafka import POISON, poison
from tests.integration.broker import Broker, OwnBroker, free_ports
from tests.soak.visitors import Account, Dripper, Flooder, Reader, Visitor
from tests.soak.watch import Watch, children, state

SCALL: Final = (sys.executable, "-m", "stream")
TOKEN: Final = "no-secret-at-all-but-long-enough"
BUDGET: Final = 2 * 2**20
START_S: Final = 90.0
BACK_S: Final = 20.0
"""How long after a kill nobody need be there to answer."""
NO_DISK: Final = "the disk was never full: that needs root and mount"
SETTINGS: Final = """\
policy = "powerlaw"
[memory]
budget_bytes = {budget}
[windows]
close_after = "20000events"
[evaluation]
sample = 0.02
[kafka]
bootstrap_servers = ["{bootstrap}"]
topics = ["{topic}"]
group = "{topic}-soak"
[checkpoints]
folder = "{folder}"
every_s = 2
on_disk_error = "continue"
[http]
port = {port}
token = {{ env = "SCALL_SOAK_TOKEN" }}
"""


class Plan(NamedTuple):
    """How long, how hard."""

    minutes: float
    seed: int
    rate: int
    """Events a second."""
    calm_share: float = 0.5
    """The first part of the time, in which nothing is killed: memory has to stay flat there."""
    faults: int | None = None
    """End after so many, however long they take; ``minutes`` then says only how much is fed."""


class Outcome(NamedTuple):
    """What came of it."""

    account: Account
    faults: Counter[str]
    looks: int
    growth_mib: dict[str, float]
    learnt: int
    fed: int
    violations: int
    """Looks at which the ledger was over the budget."""
    complaints: list[str]


class Disk:
    """The folder of checkpoints on a file system of its own, small enough to be filled; whole where that cannot be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        size = 6 * BUDGET
        mount = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        self.can_be_filled = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0

    def fill(self) -> None:
        with suppress(OSError), (self.folder / "ballast").open("wb") as file:
            while True:
                file.write(b"\0" * 65536)
                file.flush()

    def empty(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.can_be_filled:
            subprocess.run(("umount", "--lazy", str(self.folder)), check=False)


class Soak:
    """One soak on a broker; ``tell`` gets a line for each thing that is done."""

    def __init__(self, broker: Broker, folder: Path, plan: Plan, tell: Callable[[str], None]) -> None:
        self._broker = broker
        self._folder = folder
        self._plan = plan
        self._tell = tell
        self._random = random.Random(plan.seed)
        self._topic = f"soak-{folder.name}"
        self._port = free_ports(1)[0]
        self._disk = Disk(folder / "checkpoints")
        self._config = folder / "service.toml"
        text = SETTINGS.format(
            budget=BUDGET,
            bootstrap=broker.bootstrap,
            topic=self._topic,
            folder=self._disk.folder,
            port=self._port,
        )
        self._config.write_text(text)
        self._log = (folder / "service.log").open("wb")
        self._service: subprocess.Popen[bytes] | None = None
        self._killed_s = time.monotonic()
        self._faults: Counter[str] = Counter()
        self._num_poison = 0
        self._account = Account()
        self._watch = Watch(self._port)

    def run(self) -> Outcome:
        """Go through it all."""
        num_events = int(self._plan.rate * 60 * self._plan.minutes)
        feed = self._start_feed(num_events)
        try:
            self._start_service()
            self._watch.start()
            visitors = self._visitors()
            for visitor in visitors:
                visitor.start()
            self._course(visitors)
            self._tell("the visitors go; the rest of the feed is awaited")
            for visitor in visitors:
                visitor.is_over.set()
            for visitor in visitors:
                visitor.join(60)
            self._watch.is_over.set()
            self._watch.join(30)
            assert feed.wait(600) == 0
            return self._reckon(num_events)
        finally:
            feed.kill()
            feed.wait()
            self._stop_service(kill=True)
            self._disk.close()
            self._log.close()

    def _start_feed(self, num_events: int) -> "subprocess.Popen[bytes]":
        options = ("--topic", self._topic, "--bootstrap", self._broker.bootstrap, "--rate", str(self._plan.rate))
        feed = subprocess.Popen([*SCALL, "feed", "synthetic:churn", *options, "--limit", str(num_events), "--quiet"])
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with self._broker.admin() as admin:
                if self._topic in admin.list_topics():
                    return feed
            time.sleep(0.2)
        raise TimeoutError(f"the feed has not made its topic within {START_S:.0f} s")

    def _start_service(self) -> None:
        environment = os.environ | {"SCALL_SOAK_TOKEN": TOKEN}
        command = [*SCALL, "run", "--config", str(self._config), "--quiet"]
        self._service = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        deadline, begin_s = time.monotonic() + START_S, time.time()
        # What is left of a life that was killed may answer for a moment.
        while (status := state(self._port)) is None or status["started_s"] < begin_s:
            if time.monotonic() > deadline or self._service.poll() is not None:
                raise RuntimeError((self._folder / "service.log").read_text())
            time.sleep(0.1)
        self._killed_s = time.monotonic()
        self._watch.begin_life(self._service.pid)

    def _stop_service(self, *, kill: bool) -> None:
        service, self._service = self._service, None
        if service is not None and service.poll() is None:
            self._killed_s = time.monotonic()
            (service.kill if kill else service.terminate)()
            if service.wait(60) != 0 and not kill:
                self._account.complain(f"SIGTERM ended it with {service.returncode}")

    def _is_away(self, since_s: float) -> bool:
        """Return whether a request that began then may have met a service that was killed or just came back."""
        return self._service is None or since_s < self._killed_s + BACK_S

    def _visitors(self) -> list[Visitor]:
        kinds = (*[Reader] * 3, *[Flooder] * 2, *[Dripper] * 6)
        seeds = (self._random.randrange(10**9) for _ in kinds)
        return [kind(self._port, self._account, seed, self._is_away) for kind, seed in zip(kinds, seeds, strict=True)]

    def _course(self, visitors: list[Visitor]) -> None:
        begin_s, seconds, most = time.monotonic(), 60 * self._plan.minutes, self._plan.faults
        calm = [self._fill_disk, self._poison, self._rest]
        rough = [self._kill, self._kill_answering, self._change_budget, *calm, self._restart, self._pause_broker]
        turns: dict[bool, Iterator[Callable[[], None]]] = {True: cycle(calm), False: cycle(rough)}
        while True:
            elapsed_s = time.monotonic() - begin_s
            if elapsed_s >= seconds if most is None else self._faults.total() == most:
                return
            fault = next(turns[elapsed_s < seconds * self._plan.calm_share])
            self._faults[fault.__name__.strip("_").replace("_", " ")] += 1
            self._tell(f"{elapsed_s:6.0f} s  {fault.__name__.strip('_').replace('_', ' ')}")
            fault()
            time.sleep(self._random.uniform(1, 4))
            if not any(visitor.is_alive() for visitor in visitors):
                raise RuntimeError("no visitor is left")

    def _rest(self) -> None:
        time.sleep(2)

    def _fill_disk(self) -> None:
        if self._disk.can_be_filled:
            self._disk.fill()
            time.sleep(5)
            self._disk.empty()

    def _poison(self) -> None:
        kafka = Kafka(bootstrap_servers=(self._broker.bootstrap,), topics=(self._topic,), group="soak")
        poison(kafka, self._topic)
        self._num_poison += len(POISON)

    def _kill(self) -> None:
        self._stop_service(kill=True)
        self._start_service()

    def _restart(self) -> None:
        self._stop_service(kill=False)
        self._start_service()

    def _kill_answering(self) -> None:
        assert self._service is not None
        self._killed_s = time.monotonic()
        for process in children(self._service.pid):
            with suppress(ProcessLookupError):
                os.kill(process, 9)

    def _change_budget(self) -> None:
        budget = self._random.choice([BUDGET // 2, BUDGET, 3 * BUDGET // 2])
        visitor = Reader(self._port, self._account, 0, self._is_away)
        body = json.dumps({"budget": budget}).encode()
        headers = {"authorization": f"Bearer {TOKEN}", "content_type": "application/json"}
        with suppress(OSError):
            status, answer = visitor.ask("POST", "/v1/budget", body, **headers)
            if status not in (200, 202):
                self._account.complain(f"a budget of {budget} was refused: {status} {answer}")

    def _pause_broker(self) -> None:
        if isinstance(self._broker, OwnBroker):
            self._broker.pause()
            time.sleep(4)
            self._broker.resume()

    def _reckon(self, num_events: int) -> Outcome:
        """Let the service come to the end of the topic, and hold what it learnt against what was fed."""
        self._stop_service(kill=False)
        environment = os.environ | {"SCALL_SOAK_TOKEN": TOKEN}
        end = [*SCALL, "run", "--config", str(self._config), "--quiet", "--until-end"]
        subprocess.run(end, env=environment, stdout=self._log, stderr=self._log, check=True, timeout=600)
        told = subprocess.run([*SCALL, "inspect", str(self._disk.folder)], check=True, capture_output=True, text=True)
        counts: dict[str, Any] = json.loads(told.stdout)["counts"]
        complaints = [*self._account.complaints, *self._watch.complaints]
        dead = self._num_poison
        if (counts["learnt"], counts["dead_letters"]) != (num_events, dead):
            told_counts = f"learnt {counts['learnt']}, dead letters {counts['dead_letters']}"
            complaints.append(f"fed {num_events} events and {dead} bad records; {told_counts}")
        if not self._disk.can_be_filled:
            complaints.append(NO_DISK)
        watch = self._watch
        return Outcome(
            self._account,
            self._faults,
            watch.looks,
            watch.growth(),
            counts["learnt"],
            num_events,
            len(watch.complaints),
            complaints,
        )
