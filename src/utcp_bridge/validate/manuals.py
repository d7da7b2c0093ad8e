"""Checks of what describes tools: manuals of every shape, their call templates and schemas, OpenAPI descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio.to_thread
import jsonschema_rs
from pydantic import ValidationError

from utcp_bridge.configuration.places import is_url
from utcp_bridge.dialects import v0, v1
from utcp_bridge.dialects.auth_forms import rewrite_auth
from utcp_bridge.dialects.fields import nearest, sort_of, text_of, word
from utcp_bridge.dialects.formats.described import DescriptionOptions, declarations_in, described
from utcp_bridge.dialects.manuals import read_inputs, read_outputs
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.dialects.positions import Path, of_pointer
from utcp_bridge.dialects.readings import Notes
from utcp_bridge.dialects.shapes import MCP_SCHEMA_KEYS, kind_key
from utcp_bridge.dialects.templates import read_protocols, read_template
from utcp_bridge.errors import ConfigError, ManualError
from utcp_bridge.manuals.reading import read_local_reference, referenced_files
from utcp_bridge.maps.reading import read_maps
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.pipeline.schema_checks import CompiledForm, SchemaChecks
from utcp_bridge.pipeline.schema_forms import whole_form
from utcp_bridge.placement.compiling import CallTemplate
from utcp_bridge.placement.http_template import HttpFamilyTemplate
from utcp_bridge.settings import expectation
from utcp_bridge.transports.registry import TransportRegistry
from utcp_bridge.urls import split_url
from utcp_bridge.validate.findings import Findings

__all__ = [
    "EMPTY_BODY",
    "check_discovery",
    "check_manual",
    "check_openapi",
    "check_schema",
    "check_template",
    "empty_body",
]

_TEMPLATE_KEYS: Final = ("tool_call_template", *v0.TEMPLATE_KEYS)
_INPUT_KEYS: Final = ("inputs", *v0.TOOL_KEYS, *MCP_SCHEMA_KEYS)
_OUTPUT_KEYS: Final = ("outputs", "response_schema", "outputSchema", "output_schema")
_MANUAL_KEYS: Final = frozenset({
    "utcp_version", "manual_version", "version", "tools", "info", "metadata", "provider_info", "auth", "variables",
    "allowed_communication_protocols", "name", "title", "description", "nextCursor", "_meta", *v1.MAP_KEYS,
})  # fmt: skip
_TOOL_KEYS: Final = frozenset({
    *_TEMPLATE_KEYS, *_INPUT_KEYS, *_OUTPUT_KEYS, "name", "title", "description", "tags", "average_response_size",
    "auth", "annotations", "deprecated", "body_members", "_meta", "icons", "execution",
})  # fmt: skip
_REGISTRY: Final = TransportRegistry()
_SECRETS: Final = ("api_key", "password", "client_secret", "access_token", "token")
_ANY_URL: Final = "https://api.example.com"
_FREE_KEYS: Final = ("$", "_", "x-")
_MASK: Final = "what stands here"
_MAX_REASON: Final = 300
_OF_DEAR_SCHEMAS: Final = (
    "Make it smaller. Until then, calls are checked against its types, required names and simple values."
)
_TYPES: Final = "array, boolean, integer, null, number, object, string"
_SERVERS: Final = "#/servers"
_MAX_SHOWN: Final = 5
EMPTY_BODY: Final = 'If the service reads a body, add "body_field": "*" to the call template.'
_MAY_BE_MISSING: Final = ("servers", "security")
"""Parts that faults name even if the document does not have them."""


def check_manual(document: Any, path: Path, findings: Findings) -> list[JsonObject]:
    """Add every fault to `findings` and return the readable tools: {name, inputs, tool_call_template}."""
    if is_list(document):
        return _check_tools(document, path, findings)
    if not is_object(document) or "tools" not in document:
        return _check_one(document, path, findings, set())
    _check_head(document, path, findings)
    maps = read_maps(document, findings, path=path)
    tools = document["tools"]
    if not is_list(tools):
        findings.error((*path, "tools"), f"`tools` must be a list, not {sort_of(tools)}.")
        return []
    checked = _check_tools(tools, (*path, "tools"), findings)
    maps.with_tools({tool["name"] for tool in checked}, findings, path=path)
    return checked


def _check_head(manual: JsonObject, path: Path, findings: Findings) -> None:
    for key in manual:
        if key not in _MANUAL_KEYS and not key.startswith(("$", "_", "x-")):
            findings.warn((*path, key), f"nothing reads the key {word(key)!r}.", nearest(key, _MANUAL_KEYS))
    notes = Notes()
    try:
        rewrite_auth(manual.get("auth"), notes)
    except ValueError as error:
        findings.error((*path, "auth"), str(error))
    read_protocols(manual, "", notes)
    findings.take((*path, "allowed_communication_protocols"), notes.faults)
    variables = manual.get("variables")
    if variables is not None and not is_object(variables):
        findings.warn((*path, "variables"), f"`variables` must be an object, not {sort_of(variables)}; it is ignored.")


def _check_tools(tools: list[Any], path: Path, findings: Findings) -> list[JsonObject]:
    seen: set[str] = set()
    return [tool for index, raw in enumerate(tools) for tool in _check_one(raw, (*path, index), findings, seen)]


def _check_one(raw: Any, path: Path, findings: Findings, seen: set[str]) -> list[JsonObject]:
    if not is_object(raw):
        findings.error(path, f"the tool must be an object, not {sort_of(raw)}.")
        return []
    findings.tool = word(raw["name"]) if isinstance(raw.get("name"), str) else ""
    try:
        return _check_tool(raw, path, findings, seen)
    finally:
        findings.tool = ""


def _check_tool(raw: JsonObject, path: Path, findings: Findings, seen: set[str]) -> list[JsonObject]:
    name = raw.get("name")
    if not isinstance(name, str) or not name.strip():
        findings.error((*path, "name") if "name" in raw else path, "the tool has no name.")
        return []
    if name in seen:
        findings.error((*path, "name"), "another tool of the manual has the same name.")
    seen.add(name)
    for key in raw:
        if key not in _TOOL_KEYS and not key.startswith(("$", "_", "x-")):
            findings.warn((*path, key), f"nothing reads the key {word(key)!r}.", nearest(key, _TOOL_KEYS))
    if not text_of(raw.get("description")).strip():
        findings.warn(path, "the tool has no description; models choose tools by it.", 'Add a "description".')
    inputs = _check_inputs(raw, path, findings)
    _check_outputs(raw, path, findings)
    template = _check_template(raw, path, findings)
    if template is not None and (what := empty_body(template, inputs)):
        findings.warn(path, what, EMPTY_BODY)
    return [{"name": name, "inputs": inputs, **({"tool_call_template": template} if template else {})}]


def empty_body(template: JsonObject, inputs: JsonObject) -> str:
    """Return that a POST has an empty body and its arguments in the query; an empty text if it has not.

    Many services expect a body then. UTCP puts arguments into the query unless `body_field` names one of them.
    """
    properties = inputs.get("properties")
    with suppress(ConfigError, ValidationError):
        model = _REGISTRY.find(str(template.get("call_template_type"))).template.model_validate(template)
        if is_object(properties) and isinstance(model, HttpFamilyTemplate):
            names = model.bodiless(frozenset(properties))
            return f"the body of this {model.http_method} is empty: {_listed(names)} in the query." if names else ""
    return ""


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(word, names[:_MAX_SHOWN]))
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"


def _check_inputs(raw: JsonObject, path: Path, findings: Findings) -> JsonObject:
    key = next((key for key in _INPUT_KEYS if raw.get(key) is not None), None)
    if key is None:
        return {}
    notes = Notes()
    try:
        schema = read_inputs(raw[key], "", notes)
    except ValueError as error:
        findings.error((*path, key), str(error))
        return {}
    findings.take((*path, key), notes.faults)
    check_schema(schema, (*path, key), findings)
    return schema


def _check_outputs(raw: JsonObject, path: Path, findings: Findings) -> None:
    notes = Notes()
    schema = read_outputs(raw, "", notes)
    key = next((key for key in _OUTPUT_KEYS if raw.get(key) is not None), "outputs")
    findings.take((*path, key), notes.faults)
    if schema is not None:
        check_schema(schema, (*path, key), findings)


def _check_template(raw: JsonObject, path: Path, findings: Findings) -> JsonObject | None:
    key = next((key for key in _TEMPLATE_KEYS if raw.get(key) is not None), None)
    if key is not None:
        return check_template(raw[key], (*path, key), findings, beside=raw)
    if not any(key in raw for key in MCP_SCHEMA_KEYS):
        findings.warn(
            path, "the tool has no call template.", "It is called through the template of the manual's own entry."
        )
    return None


def check_template(
    raw: Any, path: Path, findings: Findings, *, beside: JsonObject | None = None, configured: bool = False
) -> JsonObject | None:
    """Add every fault to `findings` and return the template in v1 names, or None if it is unreadable.

    `beside` is the object that contains the template; its `auth` may belong to the template. `configured` means that
    the template is in a configuration, which may also contain the operator's keys and secrets.
    """
    notes = Notes()
    template = read_template(raw, "", notes, beside=beside)
    for fault in notes.faults:
        key, separator, what = fault.what.partition(": ")
        if separator and key in {"auth", "auth_tools"}:
            findings.take((*path, key), [replace(fault, what=what)])
        else:
            findings.take(path, [fault])
    if template is None:
        return None
    try:
        transport = _REGISTRY.find(template["call_template_type"])
    except ConfigError as error:
        findings.error((*path, kind_key(raw) or ""), error.message, error.remedy or "")
        return template
    _check_keys(raw, template, path, findings, configured=configured)
    model = _modelled(transport.template, template, path, findings)
    if _check_address(template, path, findings) and isinstance(model, HttpFamilyTemplate):
        _check_request(model, path, findings)
    if transport.kinds[0] == "udp" and "provider_type" in raw and "number_of_response_datagrams" not in raw:
        what = "the bridge waits for one datagram in reply; the documents of UTCP 0.x say none."
        findings.warn(path, what, 'Add "number_of_response_datagrams": 0 or 1.')
    if not configured:
        _check_secrets(template.get("auth"), (*path, "auth"), findings)
    return template


def _check_keys(raw: JsonObject, template: JsonObject, path: Path, findings: Findings, *, configured: bool) -> None:
    known = (_REGISTRY.fields(template["call_template_type"]) or frozenset()) | v1.BASE_FIELDS
    for key in template:
        if key in known or key.startswith(_FREE_KEYS) or (configured and key in v1.OPERATOR_KEYS):
            continue
        place = (*path, key) if key in raw else path
        if key in v1.OPERATOR_KEYS:
            findings.warn(
                place, f"`{key}` has no effect in a manual.", "Move it to the manual's entry in a configuration."
            )
        else:
            findings.warn(place, f"nothing reads the key {word(key)!r}.", nearest(key, known))


def _modelled(model: type[CallTemplate], template: JsonObject, path: Path, findings: Findings) -> CallTemplate | None:
    """Return the template as its transport reads it; values that contain variables are not checked."""
    try:
        return model.model_validate(template)
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            location, value = _within(template, fault["loc"])
            if not (isinstance(value, str) and "$" in value):
                missing = fault["loc"][-1:] if fault["type"] == "missing" else ()
                name = f"`{missing[0]}` is missing" if missing else expectation(fault)
                findings.error(
                    (*path, *location), f"the {template['call_template_type']} template is not valid: {name}."
                )
        return None


def _within(template: JsonObject, location: tuple[int | str, ...]) -> tuple[Path, Any]:
    """Return the part of a pydantic location that the template has, and its value.

    A location also contains the alternatives of a union, which the template does not have.
    """
    path: list[str | int] = []
    value: Any = template
    for step in location:
        if is_object(value) and step in value:
            value = value[str(step)]
        elif is_list(value) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            continue
        path.append(step)
    return tuple(path), value


def check_discovery(entry: JsonObject, path: Path, findings: Findings) -> None:
    """Add a fault if the address of a manual needs an argument: nothing fills it in when the manual is fetched."""
    with suppress(ConfigError, ValidationError):
        model = _REGISTRY.find(str(entry.get("call_template_type"))).template.model_validate(entry)
        if not isinstance(model, HttpFamilyTemplate) or "$" in model.url or "tools" in entry:
            return
        _ = model.build_request
        try:
            model.discovery_request()
        except ConfigError as error:
            findings.error((*path, "url"), error.message, error.remedy or "")


def _check_request(model: HttpFamilyTemplate, path: Path, findings: Findings) -> None:
    if "$" in model.url:
        model = model.model_copy(update={"url": _ANY_URL})  # the values of variables are unknown here
    try:
        _ = model.build_request
    except ConfigError as error:
        findings.error(path, error.message, error.remedy or "")


def _check_address(template: JsonObject, path: Path, findings: Findings) -> bool:
    """Return whether the template's URL is valid; a missing URL and one with variables count as valid."""
    url = template.get("url")
    if not isinstance(url, str) or "$" in url:
        return True
    try:
        split_url(url)
    except ConfigError as error:
        findings.error((*path, "url"), error.message, error.remedy or "")
        return False
    return True


def _check_secrets(auth: Any, path: Path, findings: Findings) -> None:
    for place, key in _plain_secrets(auth, path):
        findings.warn(place, f"`{key}` contains a secret in plain text.", f'Write "${{{key.upper()}}}" instead.')


def _plain_secrets(auth: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if not is_object(auth):
        return
    for key in _SECRETS:
        value = auth.get(key)
        if isinstance(value, str) and value and "$" not in value and "{{" not in value:
            yield (*path, key), key
    for key in ("schemes", "options"):
        members = auth.get(key)
        for index, member in enumerate(members if is_list(members) else ()):
            yield from _plain_secrets(member, (*path, key, index))


def check_schema(schema: JsonObject, path: Path, findings: Findings) -> None:
    """Add the first fault of a JSON Schema: against its meta-schema, in a reference, in a pattern, or its cost.

    Only what is known to be cheap is compiled, as for a call: a schema comes from a stranger here, too.
    """
    checks = SchemaChecks(schema)
    if checks.whole is not None:
        return
    if not checks.is_invalid:
        if checks.why.startswith("a reference"):
            findings.error(path, f"the schema cannot be used: it has {checks.why}.")
        else:
            findings.warn(path, f"the schema takes too long to check, by {checks.why}.", _OF_DEAR_SCHEMAS)
        return
    try:
        if jsonschema_rs.meta.is_valid(schema):
            CompiledForm(whole_form(schema))
        else:  # this ends at the meta-schema and compiles nothing
            jsonschema_rs.validator_for(schema, mask=_MASK)
    except jsonschema_rs.ValidationError as error:
        where = (*path, *error.instance_path)
        findings.error(where, f"the schema is not valid: {_reason(error)}.")
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        findings.error(path, f"the schema cannot be used: {str(error).partition(chr(10))[0][:_MAX_REASON]}.")


def _reason(error: jsonschema_rs.ValidationError) -> str:
    """Return the library's text, except for a wrong `type`, where it lists alternatives of the meta-schema."""
    if error.instance_path[-1:] == ["type"]:
        return f"`type` must be one of {_TYPES}, or a list of these"
    return str(error.message).partition("\n")[0][:_MAX_REASON]


async def check_openapi(document: JsonObject, url: str | None, findings: Findings) -> list[JsonObject]:
    """Add every fault to `findings` and return the tools. Only local files are read for references."""
    files, faults = await referenced_files(document, url, _fetch, where="")
    findings.take((), faults)
    try:
        work = partial(convert, document, url=url, options=ConversionOptions(), files=files)
        conversion = await anyio.to_thread.run_sync(work)
    except ManualError as error:
        findings.error((), error.message, error.remedy or "")
        return []
    for fault in conversion.faults:
        # A missing server is only a warning: `base_url` or the URL of the description supplies one.
        severity = "warning" if fault.where == _SERVERS else fault.severity
        what = fault.what if fault.what.endswith(".") else f"{fault.what}."
        path = of_pointer(fault.where)
        if not fault.where.startswith("#") or (path and path[0] not in {*document, *_MAY_BE_MISSING}):
            what = f"in a referenced file, at {fault.where}: {what}"
            path = ()
        findings.add(path, what, fault.remedy, severity=severity)
    return [tool.as_json() for tool in conversion.tools]


async def check_foreign(document: JsonObject, url: str | None, findings: Findings) -> list[JsonObject]:
    """Add every fault of a description in a format of others to `findings`, and return the tools."""
    files, faults = await referenced_files(document, url, _fetch, where="")
    findings.take((), faults)
    try:
        found = declarations_in(files, document, url)
        made = await anyio.to_thread.run_sync(described, document, "The document", DescriptionOptions(url), found)
        work = partial(convert, made.openapi, url=made.url, options=ConversionOptions(base_url=made.base_url))
        conversion = await anyio.to_thread.run_sync(work)
    except ManualError as error:
        findings.error((), error.message, error.remedy or "")
        return []
    for fault in (*made.faults, *conversion.faults):
        where = fault.where.removeprefix("The document, ")
        findings.add((), f"{where}: {fault.what.rstrip('.')}.", fault.remedy, severity=fault.severity)
    return [made.placed(tool.as_json()) for tool in conversion.tools]


async def _fetch(place: str, most: int) -> bytes:
    if is_url(place):
        raise ManualError("It is on the network; `validate` reads local files only.")
    return await read_local_reference(place, most)
