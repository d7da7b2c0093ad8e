"""Pinning: a tool that was seen once may not change its definition unnoticed (tool poisoning after approval).

What was seen first since the start counts as approved. Description, schemas, template and hints are compared. What the
operator wrote, in the configuration or a local file, may be edited freely.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

import orjson

from utcp_bridge.manuals.repository import same_definition
from utcp_bridge.model import Fault, Tool, Trust

__all__ = ["fingerprint", "pinned"]

_log = logging.getLogger(__name__)


def pinned(
    tools: Iterable[Tool], approved: dict[str, Tool], pin: Literal["off", "warn", "refuse"]
) -> tuple[list[Tool], list[Fault]]:
    """The tools that may be used, and a fault for each that is withheld.

    `approved` holds the definitions seen so far, by name, and is brought up to date: `warn` logs a change with both
    fingerprints and approves it, `refuse` withholds the tool until the bridge is started anew.
    """
    kept: list[Tool] = []
    faults: list[Fault] = []
    for tool in tools:
        known = approved.setdefault(tool.name, tool)
        free = pin == "off" or tool.source.trust is Trust.OPERATOR
        if free or known is tool or same_definition(known, tool):
            kept.append(tool)
            continue
        change = f"its definition changed from {fingerprint(known)} to {fingerprint(tool)}"
        _log.warning("%s: %s.", tool.qualified_name, change)
        if pin == "refuse":
            remedy = "Look at it; a restart approves it."
            faults.append(Fault(f"manual {tool.manual!r}, tool {tool.name!r}", f"{change}, so it is withheld.", remedy))
            continue
        approved[tool.name] = tool
        kept.append(tool)
    return kept, faults


def fingerprint(tool: Tool) -> str:
    """Twelve hexadecimal digits of what a caller and a transport see of a tool."""
    seen = [tool.kind, tool.description, tool.title, tool.inputs, tool.outputs, tool.template, tool.overlay]
    return sha256(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()[:12]
