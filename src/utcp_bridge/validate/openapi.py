"""An OpenAPI description: what its conversion would leave out, at the places that it names."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import anyio.to_thread

from utcp_bridge.configuration.places import is_url
from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.dialects.positions import of_pointer
from utcp_bridge.errors import ManualError
from utcp_bridge.manuals.reading import gather_references, read_local_reference
from utcp_bridge.model import JsonObject
from utcp_bridge.validate.findings import Findings

__all__ = ["check_openapi"]

_SERVERS: Final = "#/servers"
_MAY_BE_MISSING: Final = ("servers", "security")
"""Parts that faults name although the document need not have them."""


async def check_openapi(document: JsonObject, url: str | None, findings: Findings) -> list[JsonObject]:
    """Find every fault; returns the tools. Local files that it refers to are read, others are not."""
    files, faults = await gather_references(document, url, _fetch, where="")
    findings.take((), faults)
    try:
        work = partial(convert, document, url=url, options=ConversionOptions(), files=files)
        conversion = await anyio.to_thread.run_sync(work)
    except ManualError as error:
        findings.error((), error.message, error.remedy or "")
        return []
    for fault in conversion.faults:
        # That no server is named is cured by `base_url`, or by the URL where the description is found.
        severity = "warning" if fault.where == _SERVERS else fault.severity
        what = fault.what if fault.what.endswith(".") else f"{fault.what}."
        path = of_pointer(fault.where)
        if path and path[0] not in {*document, *_MAY_BE_MISSING}:
            what = f"in a file that it refers to, at {fault.where}: {what}"
            path = ()
        findings.add(path, what, fault.remedy, severity=severity)
    return [tool.as_json() for tool in conversion.tools]


async def _fetch(place: str) -> Any:
    if is_url(place):
        raise ManualError("It is on the network, which is not asked here.")
    return await read_local_reference(place)
