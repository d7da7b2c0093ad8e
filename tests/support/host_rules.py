"""What hosts refuse in a listed schema, as plain functions: one for each rule, and none needs a host's own SDK.

Each function takes a whole schema and returns the places that break its rule. `INPUT_RULES` hold for every listed input
schema, `OUTPUT_RULES` for every listed output schema. The hosts that are named here refuse a tool, or a whole list.
"""

from __future__ import annotations

import re

import jsonschema_rs

KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SINGLES = (
    "items",
    "additionalProperties",
    "additionalItems",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "contentSchema",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def places(schema, path=""):
    """Every sub-schema, or what is in the place of one, with its path."""
    yield path, schema
    if not isinstance(schema, dict):
        return
    for key in _MAPS:
        for name, sub in schema.get(key, {}).items():
            yield from places(sub, f"{path}/{key}/{name}")
    for key in _SINGLES:
        if key in schema:
            yield from places(schema[key], f"{path}/{key}")
    for key in _LISTS:
        for number, sub in enumerate(schema.get(key, ())):
            yield from places(sub, f"{path}/{key}/{number}")


def is_valid(schema):
    """JSON Schema 2020-12 is what the protocol asks for."""
    try:
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
    except jsonschema_rs.ValidationError as error:
        return [str(error)[:200]]
    return []


def every_place_has_an_object(schema):
    """The converter of google-genai 3.6 asks each place for its members, also where the schema is true or false."""
    return [path for path, sub in places(schema) if not isinstance(sub, dict)]


def arrays_have_items(schema):
    """VS Code and OpenAI refuse a tool with an array of unknown items."""
    return [path for path, sub in places(schema) if sub.get("type") == "array" and "items" not in sub]


def enumerations_are_text(schema):
    """Gemini refuses a request for an enumeration with a number, a null, an empty text, or nothing at all."""
    return [
        path
        for path, sub in places(schema)
        if "enum" in sub and not (sub["enum"] and all(isinstance(one, str) and one for one in sub["enum"]))
    ]


def enumerations_name_each_value_once(schema):
    """VS Code refuses the same value twice."""
    return [path for path, sub in places(schema) if len(set(map(repr, sub.get("enum", ())))) < len(sub.get("enum", ()))]


def types_are_single(schema):
    """Gemini takes one type, no list of types."""
    return [path for path, sub in places(schema) if not isinstance(sub.get("type", ""), str)]


def no_dialect_is_named(schema):
    """VS Code warns about `$schema`, Gemini refuses it."""
    return [path for path, sub in places(schema) if "$schema" in sub]


def references_are_local(schema):
    """Hosts that put definitions in place of references know only `$defs`."""
    names = {f"#/$defs/{name}" for name in schema.get("$defs", {})} | {"#"}
    return [path for path, sub in places(schema) if "$ref" in sub and sub["$ref"] not in names]


def required_names_are_properties(schema):
    """Gemini and OpenAI refuse a required name that is not among the properties."""
    return [
        path
        for path, sub in places(schema)
        if sub.get("type") == "object" and not set(sub.get("required", ())) <= set(sub.get("properties", ()))
    ]


def unconditional(schema):
    """A schema without what the bridge does not check: patterns and conditions."""
    if isinstance(schema, list):
        return [unconditional(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = {"pattern", "if"} | ({"not"} if schema.get("not") else set())
    return {key: unconditional(value) for key, value in schema.items() if key not in left_out}


def defaults_are_accepted(schema):
    """OpenAI and validating hosts refuse a default that its own schema refuses."""
    found = []
    for path, sub in places(schema):
        if "default" not in sub or "$ref" in repr(sub):
            continue
        if not jsonschema_rs.validator_for(unconditional(sub), validate_formats=False).is_valid(sub["default"]):
            found.append(path)
    return found


def keywords_of_a_type_have_their_type(schema):
    """Gemini refuses a property without a type. Where the keywords show the type, it is stated."""
    keywords = {"properties", "items", "minLength", "maxLength", "pattern", "minimum", "maximum", "minItems"}
    branches = {"type", "anyOf", "allOf", "$ref", "const"}
    return [
        path
        for path, sub in places(schema)
        if path.split("/")[-2:-1] == ["properties"] and keywords & sub.keys() and not branches & sub.keys()
        if "/not/" not in path and "/if/" not in path
    ]


def the_root_is_a_plain_object(schema):
    """OpenAI and Anthropic refuse another root, or one with branches. Anthropic refuses other names of arguments."""
    found = [key for key in ("anyOf", "oneOf", "allOf", "not", "enum", "const", "if") if key in schema]
    found += [] if schema.get("type") == "object" and "properties" in schema else ["type"]
    return found + [name for name in schema.get("properties", ()) if not KEY.fullmatch(name)]


OUTPUT_RULES = (
    every_place_has_an_object,
    is_valid,
    arrays_have_items,
    enumerations_are_text,
    types_are_single,
    no_dialect_is_named,
    references_are_local,
)
COMPOSED_RULES = (
    *OUTPUT_RULES,
    enumerations_name_each_value_once,
    required_names_are_properties,
    defaults_are_accepted,
    keywords_of_a_type_have_their_type,
)
INPUT_RULES = (*COMPOSED_RULES, the_root_is_a_plain_object)


def broken(schema, rules):
    """(rule, places) of each rule that a schema breaks."""
    for rule in rules:
        if found := rule(schema):
            yield rule.__name__, found[:3]
            if rule is every_place_has_an_object:
                return
