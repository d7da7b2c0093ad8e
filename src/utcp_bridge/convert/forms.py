"""An argument in the form in which every UTCP client sends it as this bridge does (pure).

Clients differ in how they write booleans, lists and objects outside of a JSON body, so these become text, or one value:

    boolean                       the text `true` or `false`
    list with a delimiter         text with that delimiter
    list that repeats its name    one value, unless the name ends in `[]`
    object in a form              JSON text
    a body that is not JSON       the text of the body

`ArgumentForm.back` turns such a value into the argument of the original tool, so that both requests can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from utcp_bridge.convert.official import Unwritable
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.placement.body import media_kind
from utcp_bridge.placement.openapi_styles import DELIMITERS
from utcp_bridge.placement.plan_models import BodyPlan, PropertyPlan
from utcp_bridge.urls import at_pointer

__all__ = ["ALL_TYPES", "ArgumentForm", "body_form", "types_of", "unchanged", "value_form"]

ALL_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_PLAIN: Final = frozenset({"string", "number", "integer"})
_KINDS: Final = ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"))
_MAX_DEPTH: Final = 12
_DELIMITED: Final = {"spaceDelimited": "spaces", "pipeDelimited": "`|`", "tabDelimited": "tabs"}
_JSON: Final = "application/json"


def unchanged(value: Any) -> Any:
    """Return the value."""
    return value


@dataclass(frozen=True, slots=True)
class ArgumentForm:
    """The schema of a written argument, how to read a value back, and what it cannot say that the original can."""

    schema: JsonObject
    back: Callable[[Any], Any] = unchanged
    limits: tuple[str, ...] = ()


# --- types ------------------------------------------------------------------------------------


def types_of(schema: Any, root: JsonObject, depth: int = 0) -> frozenset[str]:
    """Return the JSON types that a schema may allow; a number includes integers. `root` has its definitions."""
    if not is_object(schema) or depth > _MAX_DEPTH:
        return ALL_TYPES
    found = ALL_TYPES
    kind = schema.get("type")
    if isinstance(kind, str) or is_list(kind):
        named = {kind} if isinstance(kind, str) else {str(one) for one in kind}
        found &= named | ({"integer"} if "number" in named else set())
    if is_list(values := schema.get("enum")):
        found &= frozenset(map(_type_of, values))
    if "const" in schema:
        found &= frozenset({_type_of(schema["const"])})
    if (target := _referenced(schema, root)) is not None:
        found &= types_of(target, root, depth + 1)
    for word in ("anyOf", "oneOf"):
        if is_list(branches := schema.get(word)) and branches:
            found &= frozenset[str]().union(*(types_of(one, root, depth + 1) for one in branches))
    for one in schema.get("allOf") or ():
        found &= types_of(one, root, depth + 1)
    if found == ALL_TYPES and "properties" in schema:
        return frozenset({"object"})
    return found


def _type_of(value: Any) -> str:
    if is_object(value) or is_list(value):
        return "object" if is_object(value) else "array"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _referenced(schema: JsonObject, root: JsonObject) -> Any:
    """Return the schema that `$ref` names within `root`; None if there is none."""
    place = schema.get("$ref")
    return at_pointer(root, place) if isinstance(place, str) else None


def _resolved(schema: Any, root: JsonObject) -> JsonObject:
    """Return the schema behind references, and the only branch beside null."""
    for _ in range(_MAX_DEPTH):
        if not is_object(schema):
            return {}
        target = _referenced(schema, root)
        branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if target is None and is_list(branches):
            rest = [one for one in branches if types_of(one, root) != frozenset({"null"})]
            target = rest[0] if len(rest) == 1 else None
        if target is None:
            return schema
        schema = target
    return {}


def _narrowed(schema: Any, root: JsonObject, kinds: frozenset[str]) -> JsonObject:
    """Return the schema with these types alone."""
    if not is_object(schema) or types_of(schema, root) == kinds:
        return schema if is_object(schema) else {}
    shown = sorted(kinds - ({"integer"} if "number" in kinds else set()))
    typed: JsonObject = {"type": shown[0] if len(shown) == 1 else shown}
    if not schema.keys() - {"description", "title", "type"}:
        return {**schema, **typed}
    return {**_described(schema), **typed, "allOf": [schema]}


def _described(schema: Any, more: str = "") -> JsonObject:
    """Return the description of a schema, with one more sentence."""
    text = schema.get("description") if is_object(schema) else None
    parts = [part for part in (text.strip() if isinstance(text, str) else "", more) if part]
    return {"description": "\n\n".join(parts)} if parts else {}


# --- values outside of a JSON body ------------------------------------------------------------


def value_form(
    schema: Any, root: JsonObject, *, name: str, delimiter: str | None = None, repeats: bool = False
) -> ArgumentForm:
    """Return the form of an argument that is written as text: in the URL, a header, or a form.

    A list has a `delimiter`, or else repeats its name. `repeats` keeps such a list, for clients that all repeat it.

    :raises Unwritable: the clients would write another text.
    """
    kinds = types_of(schema, root) - {"null"}
    if plain := kinds & _PLAIN:
        is_any = kinds == ALL_TYPES - {"null"}
        limits = () if is_any or kinds <= _PLAIN | {"boolean"} else ("takes text or a number only",)
        return ArgumentForm(_narrowed(schema, root, plain), limits=limits)
    if kinds == frozenset({"boolean"}):
        return _boolean(schema, root)
    if kinds == frozenset({"array"}):
        return _list(schema, root, name, delimiter, repeats=repeats)
    raise Unwritable("clients write an object in other ways")


def _boolean(schema: Any, root: JsonObject) -> ArgumentForm:
    resolved = _resolved(schema, root)
    values = resolved.get("enum")
    allowed: list[Any] = values if is_list(values) else [True, False]
    texts = [str(value).lower() for value in allowed if isinstance(value, bool)]
    written: JsonObject = {
        "type": "string",
        "enum": texts,
        **_described(schema if "description" in schema else resolved),
    }
    if isinstance(default := resolved.get("default"), bool):
        written["default"] = str(default).lower()
    return ArgumentForm(written, back=lambda text: text == "true")


def _list(schema: Any, root: JsonObject, name: str, delimiter: str | None, *, repeats: bool) -> ArgumentForm:
    resolved = _resolved(schema, root)
    items = resolved.get("items", {})
    kinds = types_of(items, root) - {"null"}
    if not kinds & _PLAIN and kinds != frozenset({"boolean"}):
        raise Unwritable("clients write a list of lists or objects in other ways")
    if delimiter is not None:
        mark = next((word for style, word in _DELIMITED.items() if DELIMITERS[style] == delimiter), "commas")
        text = f"Several values are separated by {mark}."
        return ArgumentForm(
            {"type": "string", **_described(schema if "description" in schema else resolved, text)},
            back=lambda joined: joined.split(delimiter),
        )
    inner = value_form(items, root, name=name)
    if (repeats or name.endswith("[]")) and kinds <= _PLAIN:
        return ArgumentForm({**resolved, "items": inner.schema}, limits=inner.limits)
    least = resolved.get("minItems", 0)
    if isinstance(least, int) and least > 1:
        raise Unwritable("clients write a list in other ways")
    about = _described(schema if "description" in schema else resolved, "One value.")
    return ArgumentForm(
        {**inner.schema, **about},
        back=lambda value: [inner.back(value)],
        limits=(*inner.limits, "takes one value instead of a list"),
    )


# --- bodies -----------------------------------------------------------------------------------


def body_form(plan: BodyPlan, schema: Any, root: JsonObject, *, repeats: bool = False) -> ArgumentForm:
    """Return the form of the argument that is the body. `schema` is that of the whole body.

    :raises Unwritable: no client sends such a body from an official template.
    """
    kind = "binary" if plan.binary else media_kind(plan.media_type)
    if kind == "json" and _JSON in plan.media_type:
        return _json_body(schema, root)
    if "*" in plan.media_type or kind in {"binary", "multipart"}:
        raise Unwritable(f"clients do not send a body of type {plan.media_type}")
    if kind == "form":
        return _form_body(plan, schema, root, repeats=repeats)
    essence = plan.media_type.partition(";")[0].strip()
    text: JsonObject = {"type": "string", "contentMediaType": essence}
    if kind == "json":
        written = {**text, **_described(schema, "The body as JSON text.")}
        if is_object(schema) and schema:
            written["contentSchema"] = schema
        return ArgumentForm(written, back=json.loads)
    if not types_of(schema, root) & {"string", "object"}:
        raise Unwritable(f"clients do not send a body of type {plan.media_type}")
    return ArgumentForm({**text, **_described(schema, f"The {essence} document.")})


def _json_body(schema: Any, root: JsonObject) -> ArgumentForm:
    """Return a JSON body. TypeScript's client does not quote text that is JSON itself, so a body is not text."""
    kinds = types_of(schema, root)
    kept = kinds - {"string", "null"}
    if not kept:
        raise Unwritable("clients write a JSON body that is text in different ways")
    if kinds == ALL_TYPES:
        kept = frozenset({"object", "array"})
    limits = ("takes no text",) if "string" in kinds else ()
    return ArgumentForm(_narrowed(schema, root, kept), limits=limits)


def _form_body(plan: BodyPlan, schema: Any, root: JsonObject, *, repeats: bool) -> ArgumentForm:
    resolved = _resolved(schema, root)
    if types_of(resolved, root) - {"null"} != frozenset({"object"}):
        raise Unwritable(f"clients do not send a body of type {plan.media_type}")
    given = resolved.get("properties")
    members: JsonObject = given if is_object(given) else {}
    required = [str(name) for name in resolved.get("required") or ()]
    forms: dict[str, ArgumentForm] = {}
    limits: list[str] = []
    for name, member in members.items():
        try:
            forms[name] = _member_form(member, root, name, plan.encoding.get(name), repeats=repeats)
        except Unwritable as reason:
            if name in required:
                raise Unwritable(f"its field {name!r} is required, and {reason}") from None
            limits.append(f"has no field {name!r}, because {reason}")
        else:
            limits.extend(f"{text} in its field {name!r}" for text in forms[name].limits)
    if not forms:
        raise Unwritable("clients do not send a form without known fields")
    written = {
        **{key: value for key, value in resolved.items() if key not in {"properties", "additionalProperties"}},
        "type": "object",
        "properties": {name: form.schema for name, form in forms.items()},
        "additionalProperties": False,
        "minProperties": 1,
    }
    return ArgumentForm(
        {key: value for key, value in written.items() if key not in {"anyOf", "oneOf", "allOf", "$ref"}},
        back=lambda value: {name: forms[name].back(one) for name, one in value.items()},
        limits=tuple(limits),
    )


def _member_form(member: Any, root: JsonObject, name: str, plan: PropertyPlan | None, *, repeats: bool) -> ArgumentForm:
    if plan is not None and plan.binary:
        raise Unwritable("clients do not send files")
    kinds = types_of(member, root) - {"null"}
    if kinds == frozenset({"object"}) and (plan is None or not plan.style):
        about = _described(member, "JSON text.")
        return ArgumentForm({"type": "string", "contentMediaType": _JSON, **about}, back=json.loads)
    if plan is not None and plan.style and kinds == frozenset({"array"}):
        delimiter = None if plan.explode else DELIMITERS.get(plan.style, ",")
        return value_form(member, root, name=name, delimiter=delimiter, repeats=repeats)
    form = value_form(member, root, name=name, repeats=repeats)
    if plan is not None and plan.content_type and media_kind(plan.content_type) == "json" and form.back is unchanged:
        raise Unwritable("clients do not write JSON into a field of a form")
    return form
