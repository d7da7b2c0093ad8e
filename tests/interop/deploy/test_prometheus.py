"""Prometheus itself scrapes a bridge, answers the questions of the dashboard, and reads the alerts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.interop.serving import until
from tests.interop.software import Debian
from tests.support.source import ROOT

PROMETHEUS = Debian("prometheus", "prometheus")
PROMTOOL = Debian("prometheus", "promtool")
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
ASKED = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
TOKEN, METRICS_TOKEN = "token-of-clients-0123456789", "token-of-metrics-0123456789"
FILLED = {"$manual": ".*", "$__rate_interval": "1m", "$__range": "1h"}
"""What Grafana puts in the place of its variables."""


@dataclass
class Scraped:
    """A bridge and the Prometheus that scrapes it: their addresses."""

    bridge: str
    prometheus: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a PromQL query."""
        data = urllib.parse.urlencode({"query": expression}).encode()
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query", data, timeout=30) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def until(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a query once it has one. Prometheus scrapes ten times in a second."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = self.query(expression)
            return bool(found)

        until(is_there)
        return found

    def call(self, name: str, token: str = TOKEN) -> int:
        """Call a tool, and return the status."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.bridge}/utcp/tools/{name}", b"{}", headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@contextmanager
def program(command: list[str], pattern: str, environment: dict[str, str] | None = None) -> Iterator[re.Match[str]]:
    """Start a program, and yield the first line on stderr that matches; end the program."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if found := re.search(pattern, line):
                    yield found
                    break
            else:
                pytest.fail("".join(said))
        finally:
            process.kill()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    if not PROMETHEUS.present:
        pytest.skip("prometheus is not installed; scripts/interop does that")
    folder = tmp_path_factory.mktemp("prometheus")
    tools = [
        {"name": "door", "tool_call_template": {"call_template_type": "text", "content": "Mind the step."}},
        {"name": "gone", "tool_call_template": {"call_template_type": "http", "url": "http://127.0.0.1:9/"}},
    ]
    manual = {"name": "house", "call_template_type": "text", "allowed_communication_protocols": ["text", "http"],
              "content": {"utcp_version": "1.0.1", "tools": tools}}  # fmt: skip
    settings = {"transport": "http", "port": 0, "bearer_token": TOKEN, "metrics": True, "metrics_token": METRICS_TOKEN,
                "retries": 0, "breaker_failures": 1, "audit_log": "calls.jsonl"}  # fmt: skip
    configuration = folder / "utcp.json"
    configuration.write_text(json.dumps({"bridge": settings, "manual_call_templates": [manual]}), encoding="utf-8")
    (folder / "metrics-token").write_text(f"{METRICS_TOKEN}\n", encoding="utf-8")
    serve = [sys.executable, "-m", "utcp_bridge", "serve", str(configuration)]
    with program(serve, r"Serving MCP on (http://(127\.0\.0\.1:\d+))/mcp") as bridge:
        config = {
            "global": {"scrape_interval": "100ms", "scrape_timeout": "100ms", "evaluation_interval": "100ms"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": "utcp-bridge", "static_configs": [{"targets": [bridge[2]]}],
                                "authorization": {"credentials_file": str(folder / "metrics-token")}}],
        }  # fmt: skip
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [PROMETHEUS.command, f"--config.file={folder / 'prometheus.yml'}",
                   f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"]  # fmt: skip
        with program(command, r"msg=\"?Listening on\"?.* address=(127\.0\.0\.1:\d+)", PROMETHEUS.environment) as said:
            found = Scraped(bridge[1], f"http://{said[1]}")
            assert [found.call("house_door") for _ in range(3)] == [200, 200, 200]
            assert found.call("house_gone") >= 500
            assert found.call("house_door", "a wrong token") == 401
            yield found


@pytest.mark.needs(PROMETHEUS)
def test_prometheus_counts_the_calls(scraped: Scraped) -> None:
    scraped.until('utcp_bridge_calls_total{tool="house.gone"}')
    found = scraped.query("sum by (tool, outcome) (utcp_bridge_calls_total)")
    counts = {(one["metric"]["tool"], one["metric"]["outcome"]): one["value"][1] for one in found}
    assert counts == {("house.door", "ok"): "3", ("house.gone", "unreachable"): "1"}
    assert scraped.query('up{job="utcp-bridge"}')[0]["value"][1] == "1"
    assert scraped.query("sum(utcp_bridge_call_seconds_count)")[0]["value"][1] == "4"


@pytest.mark.needs(PROMETHEUS)
@pytest.mark.parametrize("expression", ASKED)
def test_each_question_of_the_dashboard_has_an_answer(scraped: Scraped, expression: str) -> None:
    for variable, value in FILLED.items():
        expression = expression.replace(variable, value)
    for name in set(re.findall(r"utcp_bridge_\w+", expression)):
        scraped.until(name)
    assert scraped.until(expression)


@pytest.mark.needs(PROMETHEUS)
def test_the_alerts_are_read_and_run_without_an_error(scraped: Scraped) -> None:
    def rules() -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{scraped.prometheus}/api/v1/rules", timeout=30) as reply:
            groups = json.load(reply)["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()))
    written = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert {rule["name"]: rule["health"] for rule in rules()} == {one["alert"]: "ok" for one in written}
    for name in {name for one in written for name in re.findall(r"utcp_bridge_\w+", one["expr"])}:
        scraped.until(name)


@pytest.mark.needs(PROMTOOL)
def test_promtool_accepts_the_alerts_and_they_fire_when_they_should(tmp_path: Path) -> None:
    series = {
        'up{job="utcp-bridge", instance="a"}': "0x20",
        'utcp_bridge_ready{instance="a"}': "0x20",
        'utcp_bridge_manuals{instance="a", state="failed"}': "2x20",
        'utcp_bridge_breakers{instance="a", state="open"}': "1x20",
        'utcp_bridge_calls_total{manual="m", tool="m.t", outcome="ok"}': "0+80x40",
        'utcp_bridge_calls_total{manual="m", tool="m.t", outcome="unreachable"}': "0+20x40",
        'utcp_bridge_calls_total{manual="n", tool="n.t", outcome="ok"}': "0+80x40",
        'utcp_bridge_calls_total{manual="n", tool="n.t", outcome="invalid_arguments"}': "0+80x40",
        'utcp_bridge_call_seconds_bucket{manual="m", le="10.0"}': "0+1x40",
        'utcp_bridge_call_seconds_bucket{manual="m", le="30.0"}': "0+10x40",
        'utcp_bridge_call_seconds_bucket{manual="m", le="+Inf"}': "0+10x40",
        'utcp_bridge_audit_lines_lost{instance="a"}': "0 0 0 3x20",
    }
    fires = {
        "BridgeDown": ("3m", 1), "BridgeNotReady": ("6m", 1), "BridgeManualFailed": ("11m", 1),
        "BridgeBreakerOpen": ("6m", 1), "BridgeCallsFail": ("30m", 1), "BridgeCallsSlow": ("30m", 1),
        "BridgeAuditLinesLost": ("5m", 1),
    }  # fmt: skip
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert [one["alert"] for one in rules] == list(fires)
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})', "eval_time": when,
             "exp_samples": [{"labels": "{}", "value": number}]}
            for name, (when, number) in fires.items()
        ],
    }  # fmt: skip
    (tmp_path / "case.yml").write_text(
        yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [case]}), encoding="utf-8"
    )
    for arguments in (["check", "rules", str(ALERTS)], ["test", "rules", str(tmp_path / "case.yml")]):
        done = subprocess.run([PROMTOOL.command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
