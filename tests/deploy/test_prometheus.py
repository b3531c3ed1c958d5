"""The rules: well formed, each alert tested and explained, and no series named that a gateway does not have."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.app import App
from pointsman.dispatch.run import OF_THE_FLEET
from pointsman.errors import TABLE
from pointsman.settings import parse
from pointsman.settings_telemetry import EVENTS

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yml"
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
OURS = re.compile(r"\b(?:agent_router|pointsman_encoder|process)_\w+|\bpointsman:[\w:]+")
GATEWAY = """
cache: {exact: all}
models:
  - {id: small, backend: openai, url: "http://127.0.0.1:9/v1"}
  - {id: large, backend: openai, url: "http://127.0.0.1:9/v1"}
experiments: [{name: pair, kind: small_large, control: large, treatment: small}]
"""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", *map(str, TESTS))


def test_every_alert_is_seen_firing_and_at_rest() -> None:
    """At rest in its own test or in another's, where something else is wrong."""
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    fired = {check["alertname"] for check in checks if check["exp_alerts"]}
    assert fired == {rule["alert"] for rule in alerts()}


def test_a_models_errors_are_those_of_upstreams_and_of_loading() -> None:
    (rule,) = [rule for rule in rules() if rule.get("record") == "pointsman:attempt_failures:ratio_rate10m"]
    counted = re.search(r'error_type=~"([^"]+)"', rule["expr"])
    assert counted
    models = {code for code, row in TABLE.items() if row.openai_type == "upstream_error"} - {"plan_exhausted"}
    assert {code for code in TABLE if re.fullmatch(counted[1], code)} == models | OF_THE_FLEET


def test_every_alert_says_what_to_do() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for rule in alerts():
        anchor = f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == anchor
        assert f"### {rule['alert']}\n" in page, rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
    told = re.findall(r"^### (Pointsman\w+)$", page, re.MULTILINE)
    assert sorted(told) == sorted(rule["alert"] for rule in alerts())


def test_every_event_a_webhook_can_ask_for_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert not [name for name in EVENTS if f"`{name}`" not in page]


def test_no_series_is_named_that_a_gateway_does_not_have(tmp_path: Path) -> None:
    text = App(parse(f"cache_dir: {tmp_path}\n{GATEWAY}")).metrics().decode()
    have = {rule["record"] for rule in rules() if "record" in rule}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        have |= {name} | ({f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else set())
    for path in (RULES, *TESTS, *DASHBOARDS):
        named = set(OURS.findall(path.read_text(encoding="utf-8")))
        assert named, path.name
        assert named <= have, f"{path.name}: {sorted(named - have)}"
