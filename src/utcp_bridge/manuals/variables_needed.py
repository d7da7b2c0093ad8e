"""Which variables the call templates of a manual name, and under which key to set each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from utcp_bridge.dialects.v1 import MAP_KEYS
from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject, Tool, is_object
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.variables import flat_key, variable_names

__all__ = ["names_in_template", "raw_fields_of", "variables_of_tools"]

_REGISTRY = TransportRegistry()


def raw_fields_of(template: JsonObject) -> frozenset[str]:
    """Return the fields of a v1 template in which a dollar sign does not start a variable."""
    try:
        return _REGISTRY.find(str(template.get("call_template_type"))).raw_fields
    except ConfigError:
        return frozenset()


def names_in_template(template: JsonObject) -> list[str]:
    """Return the names of the variables in a v1 template, in the order of their first use."""
    template = {key: value for key, value in template.items() if key not in MAP_KEYS}
    try:
        transport = _REGISTRY.find(str(template.get("call_template_type")))
    except ConfigError:
        return variable_names(template)
    return variable_names(template, raw_fields=transport.raw_fields, braced_only=transport.braced_only)


def variables_of_tools(tools: Iterable[JsonObject | Tool], manual: str) -> dict[str, list[str]]:
    """Return, for each key to set, the names of the tools that need it. Names of arguments are not variables.

    Tools that are not loaded have the form of UTCP v1.
    """
    needed: dict[str, list[str]] = {}
    for one in tools:
        template: Any
        inputs: Any
        if isinstance(one, Tool):
            tool_name, template, inputs = one.name, one.template, one.inputs
        else:
            tool_name, template, inputs = str(one.get("name")), one.get("tool_call_template"), one.get("inputs")
        if not is_object(template):
            continue
        properties = inputs.get("properties") if is_object(inputs) else None
        arguments = set(properties) if is_object(properties) else set[str]()
        for name in names_in_template(template):
            if name not in arguments:
                needed.setdefault(flat_key(manual, name) or name, []).append(tool_name)
    return needed
