"""Settings: defaults, limits, the environment, and what errors may show."""

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import (
    BridgeSettings,
    ManualOptions,
    MetaTools,
    UtcpClientConfig,
    explain,
    settings_from_environment,
)

CANARY = "canary-91d0"


def fault(model: type[BaseModel], **values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return caught.value


def test_the_defaults_serve_on_loopback_without_a_configuration() -> None:
    config = UtcpClientConfig()
    assert (config.bridge.transport, config.bridge.host, config.bridge.insecure) == ("stdio", "127.0.0.1", False)
    assert config.bridge.meta_tools == MetaTools(search="search_tools", call="call_tool")


def test_every_setting_is_described_in_a_sentence() -> None:
    described = {name: field.description or "" for name, field in BridgeSettings.model_fields.items()}
    assert [name for name, text in described.items() if len(text) < 15] == []


@pytest.mark.parametrize("model", [BridgeSettings, MetaTools])
def test_an_unknown_setting_is_a_fault(model: type[BaseModel]) -> None:
    assert "Extra inputs are not permitted" in explain(fault(model, prot=1))


def test_keys_of_other_parts_of_a_manuals_entry_are_left_alone() -> None:
    assert ManualOptions.model_validate({"url": "https://shop.test", "concurrency": 3}).concurrency == 3
    assert UtcpClientConfig.model_validate({"name": "mine"}) == UtcpClientConfig()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 65_536),
        ("path", "mcp"),
        ("call_timeout", 0),
        ("call_timeout", 86_401),
        ("concurrency", 0),
        ("queue", -1),
        ("retries", 11),
        ("rate_limit", 0),
        ("page_size", 0),
        ("exposure", "some"),
    ],
)
def test_a_value_out_of_bounds_is_explained_with_its_key_and_without_the_value(key: str, value: object) -> None:
    assert explain(fault(BridgeSettings, **{key: value})).startswith(f"{key}: ")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        BridgeSettings().port = 1  # type: ignore[misc]


def test_no_secret_is_shown_by_a_representation_or_an_error() -> None:
    config = UtcpClientConfig.model_validate(
        {
            "variables": {"KEY": CANARY},
            "manual_call_templates": [{"url": CANARY}],
            "bridge": {"bearer_token": CANARY},
        }
    )
    assert CANARY not in repr(config)
    error = fault(UtcpClientConfig, bridge={"port": CANARY}, variables=CANARY)
    assert CANARY not in explain(error)
    assert CANARY not in str(error)


def test_an_explanation_counts_the_other_faults() -> None:
    assert explain(fault(BridgeSettings, port=-1)).endswith("greater than or equal to 0")
    assert explain(fault(BridgeSettings, port=-1, queue=-1, retries=-1)).endswith("(and 2 more)")
    assert explain(fault(UtcpClientConfig, bridge={"meta_tools": {"call": 1}})).startswith("bridge.meta_tools.call: ")
    with pytest.raises(ValidationError) as caught:
        BridgeSettings.model_validate("text")
    assert explain(caught.value).startswith("the value: ")


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
    assert settings.meta_tools == MetaTools(call=None)
    assert settings.bearer_token == SecretStr("12345"), "text stays text, however much it looks like a number"
    assert (settings.audit_log, settings.exposure) == ("null", "search")
    assert "retries" not in found


def test_lists_come_by_commas_or_as_json() -> None:
    found = settings_from_environment(
        {"UTCP_BRIDGE_PINNED": "shop.*, files.read ,", "UTCP_BRIDGE_ALLOW_NETWORKS": ' ["10.0.0.0/8"]'}
    )
    assert found == {"pinned": ["shop.*", "files.read"], "allow_networks": ["10.0.0.0/8"]}


def test_an_unknown_variable_of_ours_is_a_fault_that_names_it() -> None:
    with pytest.raises(ConfigError, match="UTCP_BRIDGE_PROT is not a setting") as caught:
        settings_from_environment({"UTCP_BRIDGE_PROT": CANARY})
    assert CANARY not in str(caught.value)


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTCP_BRIDGE_PORT", "8123")
    assert settings_from_environment()["port"] == 8123
