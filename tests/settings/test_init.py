"""Settings: defaults, limits, groups, the environment, and errors without secrets."""

import re

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from utcp_bridge.configuration.environment import settings_from_environment
from utcp_bridge.errors import ConfigError
from utcp_bridge.settings import (
    GROUPS,
    BridgeSettings,
    ManualOptions,
    MetaToolNames,
    UtcpClientConfig,
    explain,
    flat_settings,
    grouped_name,
    nearest_setting,
    setting_named,
    settings_fault,
)

CANARY = "canary-91d0"


def fault(model: type[BaseModel], **values: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return caught.value


def test_the_defaults_serve_on_loopback_without_a_configuration() -> None:
    config = UtcpClientConfig()
    assert (config.bridge.transport, config.bridge.host, config.bridge.insecure) == ("stdio", "127.0.0.1", False)
    assert config.bridge.meta_tools == MetaToolNames(search="search_tools", call="call_tool")


def test_every_setting_is_described_in_a_sentence() -> None:
    described = {name: field.description or "" for name, field in BridgeSettings.model_fields.items()}
    assert [name for name, text in described.items() if len(text) < 15] == []


@pytest.mark.parametrize("model", [BridgeSettings, MetaToolNames])
def test_an_unknown_setting_is_an_error(model: type[BaseModel]) -> None:
    assert "Extra inputs are not permitted" in explain(fault(model, prot=1))


def test_other_keys_of_a_manuals_entry_are_ignored() -> None:
    assert ManualOptions.model_validate({"url": "https://shop.test", "concurrency": 3}).concurrency == 3


def test_an_unknown_key_of_a_configuration_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"manual_call_template\n.*Extra inputs are not permitted"):
        UtcpClientConfig.model_validate({"manual_call_template": []})


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


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("allowed_hosts", ["name", "name:80", "name:*", "[::1]:*"], ["https://name", "name/"]),
        ("allowed_browser_origins", ["https://name", "http://name:80", "null"], ["name", "https://name/", "https://"]),
    ],
)
def test_a_host_or_an_origin_that_no_request_can_have_is_refused(key: str, right: list[str], wrong: list[str]) -> None:
    assert getattr(BridgeSettings(**{key: right}), key) == tuple(right)
    for value in wrong:
        with pytest.raises(ValidationError, match="is written as"):
            BridgeSettings(**{key: [value]})


@pytest.mark.parametrize("value", [3.5, "x", [1], {"a": 1}, True, None], ids=str)
def test_the_words_for_a_wrong_type_are_not_those_of_python(value: object) -> None:
    said: list[str] = []
    for key in BridgeSettings.model_fields:
        try:
            BridgeSettings.model_validate({key: value})
        except ValidationError as error:
            said.append(explain(error))
    assert said
    assert not [words for words in said if re.search(r"tuple|dictionary|instance|frozenset|\bNone\b", words)]


def test_on_and_off_may_be_true_and_false_as_helm_writes_them() -> None:
    given = {"console": True, "pin": False, "validation": False, "search_memory": False, "access": {"spotlight": False}}
    settings = BridgeSettings.model_validate(given)
    words = (settings.console, settings.pin, settings.validation, settings.search_memory, settings.spotlight)
    assert words == ("on", "off", "off", "off", "off")
    with pytest.raises(ValidationError, match="pin"):
        BridgeSettings.model_validate({"pin": True})


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        BridgeSettings().port = 1  # type: ignore[misc]


def test_representations_and_errors_show_no_secret() -> None:
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


def test_every_setting_belongs_to_exactly_one_group() -> None:
    grouped = [key for model in GROUPS.values() for key in model.model_fields]
    assert sorted(grouped) == sorted(BridgeSettings.model_fields)


@pytest.mark.parametrize("key", list(BridgeSettings.model_fields))
def test_each_setting_is_found_by_its_flat_and_its_grouped_name(key: str) -> None:
    group, _, inner = grouped_name(key).partition(".")
    assert setting_named(key) == setting_named(grouped_name(key)) == setting_named(f"{group}.{key}") == key
    assert flat_settings({key: 1}) == flat_settings({group: {inner: 1}}) == flat_settings({f"{group}.{inner}": 1})


@pytest.mark.parametrize(
    ("key", "grouped"),
    [
        ("concurrency", "limits.concurrency"),
        ("exposure", "exposure.mode"),
        ("exposure_by_client", "exposure.by_client"),
        ("log_level", "log.level"),
        ("audit_log", "log.audit_log"),
    ],
)
def test_the_name_in_a_group_does_not_repeat_the_group(key: str, grouped: str) -> None:
    assert grouped_name(key) == grouped


def test_groups_and_flat_settings_may_be_mixed() -> None:
    bridge = {"limits": {"concurrency": 8, "queue": 3}, "port": 9000, "log": {"level": "debug"}}
    settings = BridgeSettings.model_validate(bridge)
    assert (settings.concurrency, settings.queue, settings.port, settings.log_level) == (8, 3, 9000, "debug")
    assert settings == BridgeSettings(concurrency=8, queue=3, port=9000, log_level="debug")


@pytest.mark.parametrize(
    "exposure", ["search", {"mode": "search"}, {"exposure": "search"}], ids=["flat", "grouped", "both names"]
)
def test_exposure_is_a_setting_and_a_group(exposure: object) -> None:
    assert BridgeSettings.model_validate({"exposure": exposure}).exposure == "search"


def test_the_group_exposure_takes_the_limits_of_auto() -> None:
    settings = BridgeSettings.model_validate({"exposure": {"limits": {"tools": 5}, "pinned": ["shop.*"]}})
    assert (settings.exposure, settings.exposure_limits.tools, settings.pinned) == ("auto", 5, ("shop.*",))


def test_a_setting_with_two_values_is_an_error_that_names_both_spellings() -> None:
    bridge = {"concurrency": 4, "limits": {"concurrency": 8}}
    with pytest.raises(ConfigError) as caught:
        flat_settings(bridge)
    assert caught.value.message == (
        "The setting 'concurrency' has two values, one as 'concurrency' and another as 'limits.concurrency'."
    )
    assert "has two values" in explain(fault(BridgeSettings, **bridge))
    assert flat_settings({"concurrency": 8, "limits": {"concurrency": 8}}) == {"concurrency": 8}


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("concurency", "limits.concurrency"),
        ("limits.concurency", "limits.concurrency"),
        ("server.concurrency", "limits.concurrency"),
        ("log.levl", "log.level"),
        ("limts", "limits"),
        ("timeout", "timeouts"),
        ("zzzzzz", None),
    ],
)
def test_the_nearest_setting_is_named_with_its_group(wrong: str, near: str | None) -> None:
    assert nearest_setting(wrong) == near


@pytest.mark.parametrize(
    ("bridge", "message"),
    [
        ({"limits": {"concurency": 1}}, "'limits.concurency' is not a setting. Did you mean 'limits.concurrency'?"),
        ({"limits": 5}, "'limits' is a group of settings and must be an object."),
        ({1: 5}, "'1' is not a setting."),
    ],
)
def test_what_is_not_a_setting_is_explained(bridge: dict[object, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        BridgeSettings.model_validate(bridge)
    assert str(settings_fault(caught.value, lambda _key: "")).startswith(message)


@pytest.mark.parametrize(
    ("settings", "fails", "rules"),
    [
        (BridgeSettings(), False, False),
        (BridgeSettings(strict=True), True, False),
        (BridgeSettings(fail_on_fault=True), True, False),
        (BridgeSettings(reference_protocol_rules=True), False, True),
        (BridgeSettings(strict=True, fail_on_fault=False), False, False),
    ],
)
def test_strict_makes_warnings_count_and_does_not_set_the_protocol_rules(
    settings: BridgeSettings, fails: bool, rules: bool
) -> None:
    assert (settings.fails_on_fault, settings.follows_reference_protocol_rules) == (fails, rules)


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "\t",
        "${DOOR}",
        "$DOOR",
        "%DOOR%",
        "{{ door }}",
        "$(cat door)",
        "<your token>",
        "YOUR_TOKEN",
        "a\nb",
        " x",
    ],
)
def test_a_token_that_is_empty_or_a_placeholder_is_refused(token: str) -> None:
    with pytest.raises(ValidationError, match="The token"):
        BridgeSettings(bearer_token=SecretStr(token))


def test_an_empty_token_in_the_environment_is_not_taken_for_an_unset_one() -> None:
    values = settings_from_environment({"UTCP_BRIDGE_BEARER_TOKEN": "", "UTCP_BRIDGE_PROXY": ""})
    assert values == {"bearer_token": ""}
