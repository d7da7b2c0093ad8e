"""Whether a tool's schema is a JSON Schema that arguments can be checked against."""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs

from utcp_bridge.dialects.positions import Path
from utcp_bridge.model import JsonObject
from utcp_bridge.validate.findings import Findings

__all__ = ["check_schema"]

_MASK: Final = "what stands here"
_LONGEST: Final = 300
_TYPES: Final = "array, boolean, integer, null, number, object, string"


def check_schema(schema: JsonObject, path: Path, findings: Findings) -> None:
    """Find the first fault of a schema: against its own meta-schema, in a reference, in a pattern."""
    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse, mask=_MASK)
    except jsonschema_rs.ValidationError as error:
        where = (*path, *error.instance_path)
        findings.error(where, f"the schema is not valid: {_reason(error)}.")
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        findings.error(path, f"the schema cannot be used: {str(error).partition(chr(10))[0][:_LONGEST]}.")


def _reason(error: jsonschema_rs.ValidationError) -> str:
    """What the library says, but for a wrong `type`: it speaks of its meta-schema's alternatives."""
    if error.instance_path[-1:] == ["type"]:
        return f"`type` is one of {_TYPES}, or a list of these"
    return str(error.message).partition("\n")[0][:_LONGEST]


def _refuse(uri: str) -> Any:
    raise ValueError(f"references outside the document are not followed ({uri[:200]})")
