"""The service itself under the eyes of a real Prometheus: it learns, is killed, and comes back."""

from collections import Counter
from pathlib import Path

from tests.integration.broker import free_ports
from tests.integration.prometheus import running_prometheus
from tests.integration.scenes import Scene, kill, stop, wait_until


def test_prometheus_sees_a_service_learn_die_and_come_back(scene: Scene, tmp_path: Path) -> None:
    [port] = free_ports(1)
    service, reasons = scene.service(http={"port": port}), scene.feeder.reasons
    living = scene.start(service)
    with running_prometheus(f"127.0.0.1:{port}", tmp_path / "prometheus") as prometheus:
        prometheus.wait_for(f"scall_events_read_total == {len(reasons)}")
        dead = {
            series["metric"]["reason"]: int(series["value"][1])
            for series in prometheus.query("scall_dead_letters_total")
        }
        assert dead == Counter(filter(None, reasons.values()))
        [learnt] = prometheus.query("scall_events_learnt_total")
        assert int(learnt["value"][1]) == len(reasons) - sum(dead.values())
        prometheus.wait_for("sum(scall_partition_lag_records) == 0")
        wait_until(lambda: scene.has_caught_up(service), service)
        assert prometheus.query("sum without (line) (scall_ledger_bytes) <= scall_budget_bytes")
        assert prometheus.query("scall_resident_memory_bytes > 1e7")

        kill(living)
        # No alert yet, but it is under observation.
        prometheus.wait_for('ALERTS{alertname="ScallDown", alertstate="pending"}')
        known = len(reasons)
        scene.feeder.feed(100)
        again = scene.start(service)
        # Nothing of what was learnt before is counted a second time.
        prometheus.wait_for(f"scall_events_read_total == {len(reasons) - known}")
        assert prometheus.query("resets(scall_events_read_total[5m]) == 1")
        assert not prometheus.query("scall_budget_violations_total > 0")
        stop(again)
