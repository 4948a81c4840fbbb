"""A real Prometheus on loopback, with the configuration and the alerts of docker/, scraping whatever it is told to."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.integration.broker import TETHER, free_ports
from tests.integration.debian import program_or_skip

FOLDER = Path(__file__).parents[2] / "docker/prometheus"
PATIENCE_S = 60.0


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; raises AssertionError with its own words where it refuses."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[Any]:
        """Return the series that an expression has now."""
        series: list[Any] = self.ask("query", query=expression)["result"]
        return series

    def wait_for(self, expression: str) -> None:
        """Wait until an expression has a series."""
        wait_until(lambda: bool(self.query(expression)), f"{expression} has no series")


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition; raises AssertionError with the text where it does not come."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, otherwise
        time.sleep(0.1)


@contextmanager
def running_prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Run one that scrapes ``target`` (host and port) every second and keeps its data in ``folder``."""
    program = program_or_skip("prometheus", "prometheus")
    folder.mkdir(exist_ok=True)
    (folder / "alerts.yml").write_text((FOLDER / "alerts.yml").read_text())
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*TETHER, program, *options], cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: process.poll() is not None or _is_ready(address), "Prometheus does not get ready")
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        yield Prometheus(address)
    finally:
        process.kill()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1):
            return True
    except OSError:
        return False
