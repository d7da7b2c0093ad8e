"""The files of deploy/ as the programs read them that they are for: Helm, Kubernetes, Compose, systemd, logrotate."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.interop.software import Debian, PyPI
from tests.support.source import ROOT

HELM = PyPI("helm-python-sdk==0.2.2 pyyaml==6.0.3", light=False)
"""Helm 4 itself, as a library."""
KUBERNETES = PyPI("kubernetes-validate==1.37.0", "kubernetes-validate")
COMPOSE = PyPI("compose-spec==0.2.1", optional=True)
LOGROTATE = Debian("logrotate")
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "utcp-bridge"
RENDER = """
import json, sys
from helm_python.chart import Chart, lint
from helm_python.errors import HelmError
chart, asked = Chart.load(sys.argv[1]), json.load(sys.stdin)
try:
    chart.validate_schema(asked)
    said = chart.render(asked, name="utcp-bridge", namespace="default")
    report = lint(sys.argv[1], asked, strict=True)
    json.dump({"files": said, "faults": [one for one in report["messages"] if one["severity"] > 1]}, sys.stdout)
except HelmError as error:
    json.dump({"error": str(error)}, sys.stdout)
"""


def rendered(values: dict[str, Any]) -> dict[str, Any]:
    """Return the files that Helm makes of the chart, and what its linter finds; or the error."""
    command = [str(HELM.folder / "bin" / "python"), "-c", RENDER, str(CHART)]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def documents(files: dict[str, str]) -> dict[str, Any]:
    """Return the objects of Kubernetes by their kinds."""
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return {one["kind"]: one for text in texts for one in yaml.safe_load_all(text) if one}


def values_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text(encoding="utf-8"))
    return found


@pytest.mark.needs(HELM)
@pytest.mark.parametrize("name", ["gateway", "sidecar"])
def test_the_plain_manifests_are_what_helm_makes_of_the_chart(name: str) -> None:
    made = rendered(values_of(name))
    assert made["faults"] == []
    written = (DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8")
    kept = {one["kind"]: one for one in yaml.safe_load_all(written)}
    assert kept == documents(made["files"]), f"Write the file again: {written.splitlines()[0]}"


EVERYTHING: dict[str, Any] = {
    "replicas": 3, "metrics": True, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "secret": {"name": "s", "metricsToken": "m", "stateKey": "k", "redisUrl": "r"},
    "autoscaling": {"enabled": True}, "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["p"]},
    "env": [{"name": "SHOP_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "shop"}}}],
    "envFrom": [{"secretRef": {"name": "keys"}}], "nodeSelector": {"a": "b"}, "podLabels": {"team": "x"},
    "podAnnotations": {"note": "y"}, "tolerations": [{"key": "a", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}}, "service": {"type": "LoadBalancer", "annotations": {"z": "1"}},
    "networkPolicy": {"from": [{"namespaceSelector": {}}], "egress": [{"ports": [{"port": 6379}]}]},
    "serviceAccount": {"annotations": {"role": "r"}}, "drainSeconds": 12.5, "workers": 2, "host": "::",
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "ingress": {"enabled": True, "className": "nginx", "hosts": ["a.example.com", "b.example.com"], "tlsSecret": "t",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"}},
    "httpRoute": {"enabled": True, "hosts": ["c.example.com"], "parentRefs": [{"name": "public"}]},
}  # fmt: skip


@pytest.mark.needs(HELM, KUBERNETES)
@pytest.mark.parametrize(
    "values", [values_of("gateway"), values_of("sidecar"), EVERYTHING], ids=["gateway", "sidecar", "everything"]
)
def test_kubernetes_accepts_every_object(tmp_path: Path, values: dict[str, Any]) -> None:
    made = rendered(values)
    found = documents(made["files"])
    if values is EVERYTHING:
        assert {"HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceMonitor", "NetworkPolicy"} <= set(found)
        assert found["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 13 + 5 + 5
        assert "replicas" not in found["Deployment"]["spec"]
        check_ways_in(found)
    for kind in ("ServiceMonitor", "PrometheusRule", "HTTPRoute"):  # not of Kubernetes itself
        found.pop(kind, None)
    paths = []
    for kind, document in found.items():
        paths.append(str(tmp_path / f"{kind}.json"))
        Path(paths[-1]).write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([KUBERNETES.command, "--strict", *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_ways_in(found: dict[str, Any]) -> None:
    """Check what leads to the service from outside, and what is said of its alerts."""
    alerts = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    assert found["PrometheusRule"]["spec"] == alerts
    service = found["Service"]["metadata"]["name"]
    ingress, route = found["Ingress"]["spec"], found["HTTPRoute"]["spec"]
    assert (
        [rule["host"] for rule in ingress["rules"]] == ingress["tls"][0]["hosts"] == ["a.example.com", "b.example.com"]
    )
    backend = {"service": {"name": service, "port": {"name": "http"}}}
    assert [rule["http"]["paths"][0]["backend"] for rule in ingress["rules"]] == [backend] * 2
    assert route["rules"][0]["backendRefs"] == [{"name": service, "port": found["Service"]["spec"]["ports"][0]["port"]}]
    environment = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
    [hosts] = [one["value"].split(",") for one in environment if one["name"] == "UTCP_BRIDGE_ALLOWED_HOSTS"]
    assert {"a.example.com", "b.example.com", "c.example.com"} <= set(hosts)
    assert {"name": "UTCP_BRIDGE_HOST", "value": "::"} in environment
    assert {"name": "UTCP_BRIDGE_MAX_CONNECTIONS_PER_ADDRESS", "value": "null"} in environment


@pytest.mark.needs(HELM)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "secret.name: A gateway needs a Secret"),
        ({"replicas": 2, "secret": {"name": "s"}}, "secret.stateKey: Several replicas need the same key"),
        ({"metrics": True, "secret": {"name": "s"}}, "secret.metricsToken: Prometheus is not on the same machine"),
        ({"insecure": True, "secret": {"redisUrl": "r"}}, "secret.name: Keys of a Secret are named"),
        ({"replicas": "2"}, "replicas"),
        ({"mode": "sidecar"}, "application"),
        ({"secrets": {}}, "secrets"),
    ],
    ids=["no secret", "no state key", "no metrics token", "no secret for a key", "a text", "no application", "unknown"],
)
def test_helm_refuses_values_that_would_not_work(changes: dict[str, Any], words: str) -> None:
    assert words in rendered(changes)["error"]


@pytest.mark.needs(HELM)
def test_a_change_of_settings_starts_new_pods_and_a_change_of_manuals_does_not() -> None:
    def template(config: dict[str, Any]) -> Any:
        found = documents(rendered({"secret": {"name": "s"}, "config": config})["files"])
        assert yaml.safe_load(found["ConfigMap"]["data"]["utcp.yaml"]) == config
        return found["Deployment"]["spec"]["template"]

    manual = {"name": "shop", "call_template_type": "http", "url": "https://shop.example.com"}
    first = template({"manual_call_templates": []})
    assert template({"manual_call_templates": [manual]}) == first
    assert template({"manual_call_templates": [], "bridge": {"exposure": "search"}}) != first


COMPOSE_CHECK = "import sys, compose_spec; compose_spec.PyCompose.from_yaml(sys.stdin.read()).validate()"


@pytest.mark.needs(COMPOSE)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("", ""), ""),
        (("read_only: true", "read_onl: true"), "read_onl"),
        (("secrets: [bearer-token, metrics-token]", "secrets: [bearer]"), "secret `bearer`"),
    ],
    ids=["as it is", "an unknown key", "an unknown secret"],
)
def test_the_compose_file_follows_the_specification(change: tuple[str, str], words: str) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8").replace(*change, 1)
    command = [str(COMPOSE.folder / "bin" / "python"), "-c", COMPOSE_CHECK]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, words in done.stderr) == (not words, True), done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_unit_and_rates_it_well(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "utcp-bridge.service").read_text(encoding="utf-8")
    unit = tmp_path / "utcp-bridge.service"
    unit.write_text(text.replace("/opt/utcp-bridge/bin/utcp-bridge", sys.executable), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    rate = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", str(unit)]
    rated = subprocess.run(rate, capture_output=True, text=True, check=False)
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd-analyze cannot rate files")
    assert rated.returncode == 0, rated.stdout[-300:] + rated.stderr


@pytest.mark.needs(LOGROTATE)
def test_after_logrotate_the_bridge_writes_into_a_new_file(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    log = logs / "bridge.log"
    configuration = tmp_path / "utcp.json"
    settings = {"transport": "http", "port": 0, "log_file": str(log), "log_level": "info"}
    configuration.write_text(json.dumps({"manual_call_templates": [], "bridge": settings}), encoding="utf-8")
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(configuration)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith("Serving MCP on") for line in process.stderr)
            os.kill(process.pid, 1)  # SIGHUP, for a first line
            while "read again" not in log.read_text(encoding="utf-8"):
                pass
            text = (DEPLOY / "systemd" / "utcp-bridge.logrotate").read_text(encoding="utf-8")
            text = text.replace("/var/log/utcp-bridge", str(logs))
            text = text.replace("systemctl reload utcp-bridge.service", f"kill -HUP {process.pid}")
            rules = tmp_path / "rules"
            rules.write_text(text if os.geteuid() == 0 else re.sub(r"^ *su .*\n", "", text, flags=re.MULTILINE))
            rules.chmod(0o644)
            rotate = [LOGROTATE.command, "--force", "--state", str(tmp_path / "state"), str(rules)]
            done = subprocess.run(rotate, env=LOGROTATE.environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            while not log.exists() or "read again" not in log.read_text(encoding="utf-8"):
                assert process.poll() is None
            assert sorted(path.name for path in logs.iterdir()) == ["bridge.log", "bridge.log.1"]
        finally:
            process.kill()
