"""Settings in the environment, and variables of others that look like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from utcp_bridge.configuration.environment import (
    settings_from_environment,
    unknown_variables,
    variables_of_settings,
)
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import BridgeSettings, MetaToolNames

CANARY = "canary-3f6a"
SERVICES = ["UTCP_BRIDGE", "UTCP_BRIDGE_METRICS", "UTCP_BRIDGE_2", "UTCP_BRIDGE_HOST", "UTCP_BRIDGE_LIMITS"]


def of_kubernetes(service: str, port: int, name: str) -> dict[str, str]:
    """The variables that a kubelet writes for a Service with one named port."""
    address = f"tcp://10.96.0.7:{port}"
    return {
        f"{service}_SERVICE_HOST": "10.96.0.7",
        f"{service}_SERVICE_PORT": str(port),
        f"{service}_SERVICE_PORT_{name}": str(port),
        f"{service}_PORT": address,
        f"{service}_PORT_{port}_TCP": address,
        f"{service}_PORT_{port}_TCP_PROTO": "tcp",
        f"{service}_PORT_{port}_TCP_PORT": str(port),
        f"{service}_PORT_{port}_TCP_ADDR": "10.96.0.7",
    }


def of_docker(alias: str, port: int) -> dict[str, str]:
    """The variables that Docker writes for a linked container with a range of ports and one variable of its own."""
    address = f"udp://172.17.0.5:{port}"
    return {
        f"{alias}_NAME": "/web/utcp-bridge",
        f"{alias}_PORT": address,
        f"{alias}_PORT_{port}_UDP": address,
        f"{alias}_PORT_{port}_UDP_START": address,
        f"{alias}_PORT_{port}_UDP_END": address,
        f"{alias}_PORT_{port}_UDP_PORT_START": str(port),
        f"{alias}_PORT_{port}_UDP_PORT_END": str(port),
        f"{alias}_PORT_{port}_UDP_ADDR": "172.17.0.5",
        f"{alias}_PORT_{port}_UDP_PROTO": "udp",
        f"{alias}_ENV_PORT": "8000",
        f"{alias}_ENV_BEARER_TOKEN": CANARY,
    }


@given(
    service=st.sampled_from(SERVICES),
    port=st.integers(1, 65_535),
    name=st.from_regex(r"[A-Z][A-Z0-9_]{0,14}", fullmatch=True),
)
def test_variables_of_a_service_or_a_linked_container_are_not_settings(service: str, port: int, name: str) -> None:
    environ = {**of_docker(service, port), **of_kubernetes(service, port, name)}
    assert settings_from_environment(environ) == {}
    assert variables_of_settings(environ) == {}
    assert list(unknown_variables(environ)) == []


def test_a_port_that_the_operator_wrote_is_a_setting_beside_the_variables_of_a_service() -> None:
    environ = {**of_kubernetes("UTCP_BRIDGE", 8477, "HTTP"), "UTCP_BRIDGE_PORT": "8477", "UTCP_BRIDGE_HOST": "0.0.0.0"}
    assert settings_from_environment(environ) == {"port": 8477, "host": "0.0.0.0"}


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("UTCP_BRIDGE_PROT", "Did you mean UTCP_BRIDGE_SERVER__PORT?"),
        ("UTCP_BRIDGE_LIMITS__CONCURENCY", "Did you mean UTCP_BRIDGE_LIMITS__CONCURRENCY?"),
        ("UTCP_BRIDGE_ZZZZ", "`utcp-bridge help settings` lists the settings."),
        ("UTCP_BRIDGE_NAME", "Did you mean UTCP_BRIDGE_EXPOSURE__NAMING?"),
    ],
)
def test_a_variable_that_is_not_a_setting_is_a_warning_with_the_nearest_one(variable: str, remedy: str) -> None:
    environ = {variable: CANARY, "UTCP_BRIDGE_PORT": "9000"}
    assert settings_from_environment(environ) == {"port": 9000}
    [warning] = unknown_variables(environ)
    assert (warning.severity, warning.what, warning.remedy) == ("warning", "it is not a setting.", remedy)
    assert variable in warning.where
    assert CANARY not in str(warning)


def test_environment_variables_are_read_as_json_or_text() -> None:
    found = settings_from_environment(
        {
            "UTCP_BRIDGE_PORT": "9000",
            "UTCP_BRIDGE_STRICT": "true",
            "UTCP_BRIDGE_RATE_LIMIT": "2.5",
            "UTCP_BRIDGE_META_TOOLS": '{"call": null}',
            "UTCP_BRIDGE_HOST": "127.0.0.1",
            "UTCP_BRIDGE_BEARER_TOKEN": "12345",
            "UTCP_BRIDGE_AUDIT_LOG": "null",
            "UTCP_BRIDGE_EXPOSURE": "search",
            "UTCP_BRIDGE_RETRIES": "",
            "PATH": "/bin",
        }
    )
    settings = BridgeSettings.model_validate(found)
    assert (settings.port, settings.strict, settings.rate_limit) == (9000, True, 2.5)
    assert settings.meta_tools == MetaToolNames(call=None)
    assert settings.bearer_token == SecretStr("12345"), "a text setting stays text, also if it looks like a number"
    assert (settings.audit_log, settings.exposure) == ("null", "search")
    assert "retries" not in found


def test_lists_come_by_commas_or_as_json() -> None:
    found = settings_from_environment(
        {"UTCP_BRIDGE_PINNED": "shop.*, files.read ,", "UTCP_BRIDGE_ALLOW_NETWORKS": ' ["10.0.0.0/8"]'}
    )
    assert found == {"pinned": ["shop.*", "files.read"], "allow_networks": ["10.0.0.0/8"]}


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_BRIDGE_PORT", "8123")
    assert settings_from_environment()["port"] == 8123


def test_a_group_in_the_environment_is_separated_by_two_underscores() -> None:
    environ = {
        "UTCP_BRIDGE_LIMITS__CONCURRENCY": "8",
        "UTCP_BRIDGE_EXPOSURE__PINNED": "a.*,b",
        "UTCP_BRIDGE_TIMEOUTS": '{"call_timeout": 7}',
        "UTCP_BRIDGE_PORT": "1",
    }
    assert settings_from_environment(environ) == {
        "concurrency": 8,
        "pinned": ["a.*", "b"],
        "call_timeout": 7,
        "port": 1,
    }
    assert variables_of_settings(environ) == {
        "concurrency": "UTCP_BRIDGE_LIMITS__CONCURRENCY",
        "pinned": "UTCP_BRIDGE_EXPOSURE__PINNED",
        "call_timeout": "UTCP_BRIDGE_TIMEOUTS",
        "port": "UTCP_BRIDGE_PORT",
    }


def test_two_variables_of_one_setting_with_different_values_are_an_error() -> None:
    with pytest.raises(ConfigError, match="'concurrency' has two values"):
        settings_from_environment({"UTCP_BRIDGE_LIMITS__CONCURRENCY": "8", "UTCP_BRIDGE_CONCURRENCY": "4"})
