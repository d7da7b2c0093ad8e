"""A model of which few fields are given is the model that pydantic makes of all, also in its errors."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from utcp_bridge.settings import BridgeSettings, ManualOptions, UtcpClientConfig
from utcp_bridge.settings.narrow import model_of

GIVEN: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (BridgeSettings, {}),
    (BridgeSettings, {"exposure": "all"}),
    (BridgeSettings, {"exposure": "all", "concurrency": "8", "pinned": ["a", "b"], "call_timeout": 3}),
    (BridgeSettings, {"exposure_limits": {"tools": 4}, "meta_tools": {"read": None}, "aliases": {"a": "b"}}),
    (BridgeSettings, {"bearer_token": "secret-token-of-a-client", "pin": False, "dotenv": "no"}),
    (BridgeSettings, {"limits": {"concurrency": 4}}),
    (BridgeSettings, {"exposure": {"mode": "search"}}),
    (BridgeSettings, {"exposure": "some"}),
    (BridgeSettings, {"concurrency": 0, "queue": -1}),
    (BridgeSettings, {"allowed_hosts": ["https://a"], "bearer_token": " "}),
    (BridgeSettings, {"no_such_setting": 1}),
    (ManualOptions, {"allow_networks": ["127.0.0.0/8"], "trusted": "yes"}),
    (ManualOptions, {"shadow": {"new": "b", "ignore": ["/a"]}, "forward_headers": ["x-id"], "sha256": "0" * 64}),
    (ManualOptions, {"shadow": {"new": "b", "ignore": ["a"]}}),
    (ManualOptions, {"forward_headers": ["host"]}),
    (ManualOptions, {"retries": 11, "sha256": "x"}),
    (UtcpClientConfig, {"manual_call_templates": ({"name": "m"},), "variables": {"a": 1}}),
    (UtcpClientConfig, {"manual_call_templates": [1]}),
    (UtcpClientConfig, {"manual_call_templates": [], "other": 1}),
]


def fresh(kind: type[BaseModel]) -> type[BaseModel]:
    """The same model, whose check is not built yet."""
    made = type(kind.__name__, (kind,), {"__module__": __name__})
    assert not made.__pydantic_complete__
    return made


def outcome(kind: type[BaseModel], make: Any, values: dict[str, Any]) -> Any:
    """Everything that can be seen of what a function makes, or of its error."""
    try:
        one = make(kind, values)
    except ValidationError as error:
        return error.title, error.errors(include_url=False, include_context=False)
    assert type(one) is kind
    shown = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in one}
    return repr(one), shown, one.model_fields_set, one.model_dump(mode="json"), list(vars(one)), one == one.model_copy()


@pytest.mark.parametrize(("kind", "values"), GIVEN)
def test_it_is_what_the_model_makes(kind: type[BaseModel], values: dict[str, Any]) -> None:
    narrow = outcome(fresh(kind), model_of, values)
    assert narrow == outcome(fresh(kind), lambda kind, values: kind.model_validate(values), values)


def test_the_check_of_every_field_is_built_when_many_need_it() -> None:
    kind = fresh(BridgeSettings)
    assert model_of(kind, {"exposure": "all"}).model_fields_set == {"exposure"}
    assert not kind.__pydantic_complete__
    for number in range(1, 5):
        assert model_of(kind, {"concurrency": number}).model_dump(include={"concurrency"}) == {"concurrency": number}
    assert kind.__pydantic_complete__


def test_the_check_of_every_field_is_built_for_many_fields() -> None:
    kind = fresh(BridgeSettings)
    model_of(kind, dict([*BridgeSettings().model_dump(exclude={"exposure_limits", "meta_tools"}).items()][:31]))
    assert kind.__pydantic_complete__


def test_objects_that_are_made_already_are_taken() -> None:
    kind, bridge = fresh(UtcpClientConfig), BridgeSettings(concurrency=3)
    config = model_of(kind, {"variables": {"a": "b"}}, {"bridge": bridge})
    assert config.bridge is bridge  # type: ignore[attr-defined]
    assert config.model_fields_set == {"variables", "bridge"}
    assert config == kind(variables={"a": "b"}, bridge=bridge)
