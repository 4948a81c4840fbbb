"""A real Prometheus scrapes the metrics as they are served, holds the alerts, and answers every panel's query."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from stream.adapters.http.metrics import Metrics
from tests.adapters.http.views import ReplayedView
from tests.integration.prometheus import FOLDER, Prometheus, running_prometheus, wait_until

DASHBOARD = FOLDER.parent / "grafana/dashboards/scall.json"


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """Serve the metrics of a view; return host and port."""
    metrics = Metrics(ReplayedView())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            metrics.requests.observe("/metrics", "GET", 200, 0.001)
            body, content_type = metrics.exposition(self.headers["Accept"])
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def prometheus(target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(target, tmp_path_factory.mktemp("prometheus")) as prometheus:
        # As many scrapes as a rate needs.
        prometheus.wait_for("count_over_time(scall_budget_bytes[1m]) >= 3")
        yield prometheus


def queries() -> list[Any]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [
        pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
        for panel in panels
        for target in panel.get("targets", [])
    ]


def test_the_service_is_a_target_that_is_up(prometheus: Prometheus, target: str) -> None:
    [healthy] = prometheus.ask("targets", state="active")["activeTargets"]
    assert (healthy["labels"], healthy["health"]) == ({"instance": target, "job": "scall"}, "up"), healthy["lastError"]
    [[_, num_samples]] = [series["value"] for series in prometheus.query("scrape_samples_scraped")]
    assert int(num_samples) > 100


@pytest.mark.parametrize("query", queries())
def test_every_panel_of_the_dashboard_has_something_to_show(prometheus: Prometheus, target: str, query: str) -> None:
    # What Grafana puts in their place.
    assert prometheus.query(query.replace("$instance", target).replace("$__rate_interval", "1m")), query


def test_the_dashboards_list_of_services_is_found(prometheus: Prometheus, target: str) -> None:
    [variable] = json.loads(DASHBOARD.read_text())["templating"]["list"]
    assert variable["query"]["query"] == 'label_values(up{job="scall"}, instance)'
    assert prometheus.ask("label/instance/values", **{"match[]": 'up{job="scall"}'}) == [target]


def test_every_alert_is_held_and_can_be_told(prometheus: Prometheus) -> None:
    wanted = [rule["alert"] for rule in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]]

    def health() -> dict[str, str]:
        [group] = prometheus.ask("rules")["groups"]
        return {rule["name"]: rule["health"] for rule in group["rules"]}

    wait_until(lambda: "unknown" not in health().values(), "not every rule was evaluated")
    assert health() == dict.fromkeys(wanted, "ok")


def test_every_metric_that_an_alert_or_a_panel_names_is_served(prometheus: Prometheus) -> None:
    served = set(prometheus.ask("label/__name__/values"))
    texts = [path.read_text() for path in (FOLDER / "alerts.yml", DASHBOARD)]
    # A name in an expression has labels, a range, an operator or the end of a call behind it.
    named = {name for text in texts for name in re.findall(r"\bscall_[a-z_]+(?=[\[{)]| [-+*/<>=])", text)}
    assert len(named) > 30
    assert named <= served
