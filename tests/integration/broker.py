"""A real Apache Kafka, one node on loopback, for tests and demonstrations: started, stopped, killed and paused at will.

``KAFKA_BOOTSTRAP`` names a broker that runs already. Otherwise one is started from jars: those of the installation that
``KAFKA_HOME`` names, those kept beside the checkout, or those that Maven brings by ``pom.xml``.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError

from tests.integration.turns import turn

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "../shared/kafka/lib"
POM = Path(__file__).with_name("pom.xml")
JAVA = (
    "java",
    *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
    *("-Djava.awt.headless=true", "-Dlog4j2.level=WARN"),
)
# Where the system can, it ends a broker with whoever started it, even if that was killed.
TETHER = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
# Below the ports that systems give to outgoing connections: otherwise a client that knocks while the broker is away may
# be given the broker's own port, and keeps it.
PORTS = range(20_000, 32_000)
MAX_WORKERS = 64
START_S = 60
STOP_S = 30

# One node, few partitions of its own, no waiting for more members or replicas, and soon back after a crash.
PROPERTIES: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": 0,
    "broker.heartbeat.interval.ms": 500,
    "broker.session.timeout.ms": 2_000,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
}


class NoKafkaError(Exception):
    """There is neither a broker nor anything to start one from; the text says what to set."""


class Broker:
    """A broker that runs somewhere, and what tests do to its topics."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        """Host and port."""

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """Give an administrator's client for a while."""
        client = KafkaAdminClient(bootstrap_servers=self.bootstrap, reconnect_backoff_max_ms=200)
        try:
            yield client
        finally:
            client.close()

    def create_topic(self, name: str, partitions: int = 1, **configs: object) -> None:
        """Create a topic and wait until it can be used; configs are named with ``_`` for the dot."""
        named = {key.replace("_", "."): str(value) for key, value in configs.items()}
        topic = {name: {"num_partitions": partitions, "replication_factor": 1, "configs": named}}
        with self.admin() as admin:
            admin.create_topics(topic, wait_for_metadata=True)

    def add_partitions(self, topic: str, total: int) -> None:
        """Let a topic have ``total`` partitions from now on."""
        with self.admin() as admin:
            admin.create_partitions({topic: total})

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete a partition's records of lower offsets, as retention does."""
        with self.admin() as admin:
            admin.delete_records({TopicPartition(topic, partition): before})

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Return the offsets that a group has committed, by topic and partition."""
        with self.admin() as admin:
            offsets = admin.list_group_offsets([group])[group]
        return {tuple(partition): found.offset for partition, found in offsets.items() if found.offset >= 0}

    def members(self, group: str) -> int:
        """Return how many members a group has."""
        with self.admin() as admin:
            return len(admin.describe_groups([group])[group]["members"])

    def stop(self) -> None:
        """Shut the broker down in good order. Its topics stay, for :meth:`start`."""
        self._need_process()

    def start(self) -> None:
        """Start the broker, anew or again, and wait until it answers."""
        self._need_process()

    def kill(self) -> None:
        """Let the broker die at once."""
        self._need_process()

    def pause(self) -> None:
        """Let the broker hang: connections stay open, nothing is answered."""
        self._need_process()

    def resume(self) -> None:
        """Let a broker that hangs go on."""
        self._need_process()

    def _need_process(self) -> None:
        pytest.skip(f"the broker at {self.bootstrap} is not ours to stop: unset KAFKA_BOOTSTRAP")


class OwnBroker(Broker):
    """A broker that is a process of ours, with everything it stores in a folder.

    Besides the plain listener, :attr:`bootstrap`, it has one of its own for each of ``protocols``, such as
    ``"SASL_SSL"``; see :meth:`address`. ``properties`` are added to the server's.
    """

    def __init__(
        self, folder: Path, properties: Mapping[str, object] | None = None, protocols: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.log = folder / "broker.log"
        self._classpath = find_jars()
        names = ("PLAINTEXT", *protocols, "CONTROLLER")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._properties = {**PROPERTIES, **self._listeners(), "log.dirs": folder / "data", **(properties or {})}
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(self.address("PLAINTEXT"))

    def address(self, protocol: str) -> str:
        """Return host and port of the listener for a protocol."""
        return f"127.0.0.1:{self._ports[protocol]}"

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        assert self._process is None, "it runs already"
        server = self.folder / "server.properties"
        if not server.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            server.write_text("".join(f"{name}={value}\n" for name, value in self._properties.items()))
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # In one word with its name, for one id in 64 begins with a dash.
            self._run("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", str(server))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*TETHER, *JAVA, "-cp", self._classpath, "kafka.Kafka", str(server)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; they stop the broker when they are done
            )
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        if self._process:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def _listeners(self) -> dict[str, str]:
        addresses = {name: f"{name}://{self.address(name)}" for name in self._ports}
        return {
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(addresses[name] for name in addresses if name != "CONTROLLER"),
            "controller.quorum.voters": f"1@{self.address('CONTROLLER')}",
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in addresses
            ),
        }

    def _run(self, main: str, *arguments: str) -> None:
        command = [*JAVA, "-cp", self._classpath, main, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
        if done.returncode:
            raise RuntimeError(f"{main} {arguments[0]} failed in {self.folder}: {done.stderr or done.stdout}")

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_S
        host, port = self.bootstrap.split(":")
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker in {self.folder} does not start:\n{self.log.read_text()[-3000:]}")
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        with self.admin() as admin:
            # The first question about a group makes a new broker create the topic that groups live in.
            while True:
                try:
                    admin.list_group_offsets(["none"])
                    return
                except RetriableError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


def free_ports(number: int) -> list[int]:
    """Return different ports of loopback that nobody listens at."""
    # Test workers draw from parts of their own, so that no two find the same port before either listens there.
    own = PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % MAX_WORKERS :: MAX_WORKERS]
    found: list[int] = []
    for port in random.sample(own, len(own)):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            return found
    raise RuntimeError(f"no {number} ports of {own} are free")


@cache
def find_jars() -> str:
    """Return a class path that a broker can be started from, or raise :class:`NoKafkaError`."""
    if shutil.which("java") is None:
        raise NoKafkaError("no Kafka: install Java 17 or newer, or set KAFKA_BOOTSTRAP to a broker that runs")
    home = os.environ.get("KAFKA_HOME")
    if home and not (Path(home) / "libs").is_dir():
        raise NoKafkaError(f"no Kafka: KAFKA_HOME is {home}, which has no folder libs; set it to an installation")
    if home:
        return str(Path(home) / "libs" / "*")
    if BESIDE_THE_CHECKOUT.is_dir():
        return str(BESIDE_THE_CHECKOUT.resolve() / "*")
    classpath = jars_of_maven()
    if classpath is None:
        raise NoKafkaError("no Kafka: set KAFKA_HOME to an installation, or KAFKA_BOOTSTRAP to a broker that runs")
    return classpath


def jars_of_maven() -> str | None:
    """Let Maven bring the jars into its repository and return their class path; None where it cannot."""
    maven = shutil.which("mvn")
    if maven is None:
        return None
    with turn("maven"), TemporaryDirectory() as folder:
        output = Path(folder) / "classpath"
        goal = ("dependency:build-classpath", f"-Dmdep.outputFile={output}")
        command = [maven, "--quiet", "--batch-mode", "--file", str(POM), *goal]
        try:
            done = subprocess.run(command, capture_output=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            return None
        return None if done.returncode else output.read_text().strip()


@contextmanager
def running_broker(
    folder: Path, properties: Mapping[str, object] | None = None, protocols: tuple[str, ...] = ()
) -> Iterator[OwnBroker]:
    """Start a broker of our own in a folder, and stop it in the end; the folder stays. See :class:`OwnBroker`.

    Raises :class:`NoKafkaError` where there is nothing to start it from.
    """
    broker = OwnBroker(folder, properties, protocols)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def any_broker(folder: Path) -> Iterator[Broker]:
    """Give the broker that ``KAFKA_BOOTSTRAP`` names, or one of our own in a folder."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    if bootstrap:
        yield Broker(bootstrap)
    else:
        with running_broker(folder) as broker:
            yield broker


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests: they use topics and groups of their own, and leave it running."""
    folder = tmp_path_factory.mktemp("kafka")
    try:
        with any_broker(folder) as found:
            yield found
    except NoKafkaError as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder)
