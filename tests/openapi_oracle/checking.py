"""What has to hold of every tool: a valid, self-contained input schema, a legal and unique name, plain JSON."""

import json
import re
from collections import Counter

import jsonschema_rs

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BOUNDS = {
    "pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "multipleOf",
    "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "minProperties", "maxProperties", "not", "propertyNames",
}  # fmt: skip

_NAMES = {"properties", "$defs", "definitions", "schemas"}


def faults_of(tools):
    """(fault, tool name) of everything that is wrong with a list of tools."""
    found = [("duplicate name", name) for name, uses in Counter(tool["name"] for tool in tools).items() if uses > 1]
    for tool in tools:
        found += [(fault, tool["name"]) for fault in _faults(tool)]
    return found


def _faults(tool):
    if not _NAME.fullmatch(tool["name"]):
        yield "illegal name"
    if not tool["description"].strip():
        yield "no description"
    if json.loads(json.dumps(tool, allow_nan=False)) != tool:
        yield "not JSON"
    if tool["inputs"].get("type") != "object":
        yield "input is no object"
    for key in ("inputs", "outputs"):
        schema = tool.get(key)
        if schema is None:
            continue
        if not _is_valid(schema):
            yield f"invalid schema in {key}"
        if any(dangling(schema, schema)):
            yield f"dangling reference in {key}"


def _is_valid(schema):
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError:
        return False
    return True


def dangling(schema, root):
    """Every `$ref` that leads nowhere within its own schema."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.removeprefix("#/$defs/") not in root.get("$defs", {}):
            yield reference
        for value in schema.values():
            yield from dangling(value, root)
    elif isinstance(schema, list):
        for item in schema:
            yield from dangling(item, root)


def accepts(tool, arguments):
    """None, or why the input schema refuses the arguments; bounds on values do not count, the oracle ignores them."""
    validator = jsonschema_rs.Draft202012Validator(loosened(tool["inputs"]))
    try:
        validator.validate(arguments)
    except jsonschema_rs.ValidationError as error:
        return f"the input schema refuses: {error.message[:200]}"
    return None


def loosened(schema, *, is_names=False):
    """A schema, or a document of schemas, without bounds on values."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if is_names or key not in _BOUNDS}
        return {key: loosened(value, is_names=key in _NAMES and not is_names) for key, value in kept.items()}
    return [loosened(item) for item in schema] if isinstance(schema, list) else schema
