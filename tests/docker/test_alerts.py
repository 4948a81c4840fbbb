"""Every alert is tested both ways, explained in the runbook, and fit for an operator to read."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.integration.debian import program_or_skip

DOCKER = Path(__file__).parents[2] / "docker"
RULES = DOCKER / "prometheus/alerts.yml"
TESTS = DOCKER / "prometheus/alerts.test.yml"
WANTED = {
    *("ScallDown", "ScallBudgetViolated", "ScallBudgetTight", "ScallLagGrowing", "ScallNoProgress"),
    *("ScallCheckpointOld", "ScallDeadLetters", "ScallBelowPopularity"),
}


def alerts() -> dict[str, Any]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str) -> str:
    program = program_or_skip("promtool", "prometheus")
    result = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_there_is_an_alert_for_everything_that_needs_someone() -> None:
    assert alerts().keys() >= WANTED


def test_promtool_finds_nothing_wrong_with_configuration_and_rules() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "config", str(DOCKER / "prometheus/prometheus.yml"))


def test_the_alerts_fire_when_they_have_to_and_not_otherwise() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(TESTS))


def test_each_alert_is_tested_both_ways() -> None:
    tested: dict[str, set[bool]] = {}
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            tested.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert tested == {name: {False, True} for name in alerts()}


def test_each_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() -> None:
    for name, alert in alerts().items():
        notes = alert["annotations"]
        assert alert["labels"]["severity"] in {"critical", "warning"}, name
        assert "{{ $labels.instance }}" in notes["summary"], name
        assert notes["description"].endswith("."), name
        assert notes["runbook_url"] == f"docker/runbook.md#{name.lower()}", name


def test_each_alert_has_its_section_in_the_runbook_and_no_other_has_one() -> None:
    text = (DOCKER / "runbook.md").read_text()
    sections = dict(re.findall(r"^### (Scall\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(alerts())
    for name, section in sections.items():
        for part in ("*Means*:", "*Look*", "*Harmless*:"):
            assert part in section, f"{name}: {part}"


def test_links_within_the_runbook_lead_somewhere() -> None:
    text = (DOCKER / "runbook.md").read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 4
    for link in links:
        assert link[1:] in anchors if link.startswith("#") else (DOCKER / link).is_file(), link
