"""The files of deploy/: what they say fits the bridge. tests/interop/deploy starts and renders them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from tests.support.source import ROOT

from utcp_bridge.configuration.environment import settings_from_environment
from utcp_bridge.settings import BridgeSettings

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "utcp-bridge"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
UNIT = (DEPLOY / "systemd" / "utcp-bridge.service").read_text(encoding="utf-8")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


# --- Compose -------------------------------------------------------------------------------------


def test_what_compose_names_exists() -> None:
    for service in COMPOSE["services"].values():
        assert {one["source"] if isinstance(one, dict) else one for one in service.get("configs", ())} <= set(
            COMPOSE["configs"]
        )
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_the_settings_of_compose_are_settings_and_prometheus_may_come_in() -> None:
    document = yaml.safe_load(COMPOSE["configs"]["bridge"]["content"])
    settings = BridgeSettings.model_validate(
        {key: value for key, value in document["bridge"].items() if not key.endswith("_file")}
    )
    scraped = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == list(settings.allowed_hosts)
    grace = int(COMPOSE["services"]["bridge"]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.drain_seconds + 5
    assert settings.console == "on"  # a browser does not come from the machine of the container


# --- the chart -----------------------------------------------------------------------------------


def test_the_default_values_fit_the_schema_and_every_value_is_in_it() -> None:
    validator = jsonschema_rs.validator_for(SCHEMA)
    validator.validate(VALUES)
    for file in sorted((CHART / "ci").glob("*.yaml")):
        validator.validate(_merged(VALUES, yaml.safe_load(file.read_text(encoding="utf-8"))))
    assert set(SCHEMA["properties"]) - {"global", "nameOverride", "fullnameOverride"} == set(VALUES)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"mode": "daemon"}, "/mode"),
        ({"replica": 2}, ""),
        ({"replicas": "2"}, "/replicas"),
        ({"port": 80}, "/port"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"secret": {"token": "x"}}, "/secret"),
        ({"allowedHosts": ["https://mcp.example.com"]}, "/allowedHosts/0"),
        ({"drainSeconds": -1}, "/drainSeconds"),
        ({"config": "utcp.yaml"}, "/config"),
        ({"serviceMonitor": {"enabled": True}}, "/metrics"),
        ({"prometheusRule": {"enabled": True}}, "/metrics"),
        ({"ingress": {"enabled": True}}, "/ingress/hosts"),
        ({"ingress": {"hosts": ["https://mcp.example.com"]}}, "/ingress/hosts/0"),
        ({"httpRoute": {"enabled": True, "hosts": ["mcp.example.com"]}}, "/httpRoute/parentRefs"),
        ({"disruptionBudget": {"maxUnavailable": "half"}}, "/disruptionBudget/maxUnavailable"),
        ({"autoscaling": {"cpu": 120}}, "/autoscaling/cpu"),
        ({"mode": "sidecar"}, "/application/containers"),
        ({"podAnnotations": {"x": 1}}, "/podAnnotations/x"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_schema_refuses_wrong_values(changes: dict[str, Any], where: str) -> None:
    errors = jsonschema_rs.validator_for(SCHEMA).iter_errors(_merged(VALUES, changes))
    places = {"".join(f"/{part}" for part in error.instance_path) for error in errors}
    assert where in places


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def test_the_alerts_of_the_chart_are_those_of_prometheus() -> None:
    assert (CHART / "alerts.yml").read_bytes() == (DEPLOY / "prometheus" / "alerts.yml").read_bytes()


# --- the manifests -------------------------------------------------------------------------------


def pods(name: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8"))
    return [one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment"]


def bridge_of(pod: dict[str, Any]) -> dict[str, Any]:
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    [found] = [one for one in containers if one["name"] == "utcp-bridge"]
    return found


@pytest.mark.parametrize("name", ["gateway", "sidecar"])
def test_the_variables_of_the_manifests_are_settings(name: str) -> None:
    [pod] = pods(name)
    given = {one["name"]: one.get("value", "") for one in bridge_of(pod)["env"]}
    variables = {key: value for key, value in given.items() if key.startswith("UTCP_BRIDGE_")}
    files = {key for key in variables if key.endswith("_FILE")}
    documented = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert all(key.removeprefix("UTCP_BRIDGE_").lower() in documented for key in files)
    plain = {key: value for key, value in variables.items() if key not in files}
    settings = BridgeSettings.model_validate(settings_from_environment(plain))
    assert settings.transport == "http"
    assert settings.host == ("0.0.0.0" if name == "gateway" else "127.0.0.1")
    if name == "gateway":
        assert "$(POD_IP):*" in settings.allowed_hosts
        pause = int(bridge_of(pod)["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod["terminationGracePeriodSeconds"] == settings.drain_seconds + pause + 5


@pytest.mark.parametrize("name", ["gateway", "sidecar"])
def test_the_pods_have_few_rights(name: str) -> None:
    [pod] = pods(name)
    assert pod["automountServiceAccountToken"] is False
    security = bridge_of(pod)["securityContext"]
    assert (security["readOnlyRootFilesystem"], security["runAsNonRoot"], security["runAsUser"]) == (True, True, 10001)
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


# --- systemd -------------------------------------------------------------------------------------


def unit_value(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def test_the_unit_starts_a_bridge_that_reports_to_systemd_and_reloads(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for pair in unit_value("LoadCredential"):
        (credentials / pair.partition(":")[0]).write_text("token-of-the-test-0123456789\n")
    configuration = tmp_path / "utcp.yaml"
    configuration.write_text("manual_call_templates: []\n")
    variables = dict(word.split("=", 1) for line in unit_value("Environment") for word in shlex.split(line))
    places = {"%S": str(tmp_path), "%d": str(credentials)}
    environment = {key: re.sub("%[Sd]", lambda found: places[found[0]], text) for key, text in variables.items()}
    words = shlex.split(unit_value("ExecStart")[0])
    assert words[:3] == ["/opt/utcp-bridge/bin/utcp-bridge", "serve", "/etc/utcp-bridge/utcp.yaml"]
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(configuration), *words[3:], "--port", "0"]
    told = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(told))
        manager.settimeout(60)
        environment |= {"PATH": os.defpath, "NOTIFY_SOCKET": str(told), "UTCP_BRIDGE_DRAIN_SECONDS": "0"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert manager.recv(100) == b"READY=1"
                reload = unit_value("ExecReload")[0].replace("$MAINPID", str(process.pid))
                assert process.stderr is not None
                subprocess.run(shlex.split(reload), check=True)
                assert any("The configuration was read again" in line for line in process.stderr)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()
    assert float(unit_value("TimeoutStopSec")[0]) > float(variables["UTCP_BRIDGE_DRAIN_SECONDS"])


# --- a ConfigMap ---------------------------------------------------------------------------------


def test_a_configuration_that_kubernetes_replaces_is_read_again(tmp_path: Path) -> None:
    """A kubelet writes a new folder, and then renames a link to it over the old link."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "utcp.yaml").write_text("manual_call_templates: []\n")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "utcp.yaml").symlink_to("..data/utcp.yaml")
    command = [sys.executable, "-m", "utcp_bridge", "serve", str(tmp_path / "utcp.yaml"), "--http", "--port", "0"]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("UTCP_")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=plain) as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith("Serving MCP on") for line in process.stderr)
            (tmp_path / "second").mkdir()
            manual = {"name": "m", "call_template_type": "text", "content": {"utcp_version": "1.0.1", "tools": []}}
            (tmp_path / "second" / "utcp.yaml").write_text(json.dumps({"manual_call_templates": [manual]}))
            (tmp_path / "..next").symlink_to("second")
            (tmp_path / "..next").rename(tmp_path / "..data")
            assert any("The configuration was read again" in line for line in process.stderr)
        finally:
            process.kill()
