"""The arguments of a manual's own call template, in the input schemas that its discovery makes (pure).

Introspection and reflection describe what a service takes. `header_fields` and placeholders of the template take
arguments besides: callers learn of them from the schema only.
"""

from __future__ import annotations

from collections.abc import Iterable

from utcp_bridge.model import JsonObject, is_object

__all__ = ["with_own_arguments"]


def with_own_arguments(
    tools: Iterable[JsonObject],
    *,
    header_fields: Iterable[str] = (),
    named: Iterable[str] = (),
    as_what: str = "header",
) -> list[JsonObject]:
    """Return tool objects whose `inputs` also have the arguments of the template; what a schema has already stays.

    `named` are the arguments of placeholders. `as_what` says what `header_fields` are sent as.
    """
    own: JsonObject = {name: {"description": "Part of the request, besides its content."} for name in sorted(named)}
    own |= {name: {"type": "string", "description": f"Sent as the {as_what} {name}."} for name in header_fields}
    return [{**tool, "inputs": _extended(tool["inputs"], own)} for tool in tools] if own else list(tools)


def _extended(inputs: JsonObject, own: JsonObject) -> JsonObject:
    properties = inputs.get("properties")
    if not is_object(properties) or not properties:  # a schema without properties takes any argument, and still does
        return {"additionalProperties": True, **inputs, "properties": own}
    return {
        **inputs,
        "properties": {**properties, **{name: one for name, one in own.items() if name not in properties}},
    }
