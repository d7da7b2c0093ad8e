"""The dialects of UTCP. No other code distinguishes them. Pure, no I/O.

    detect(document)       → Shape            what a parsed document is
    read_config(document)  → ParsedConfig     a client configuration's entries in v1 names
    read_manual(document)  → ParsedManual     a manual's tools in v1 names
    to_v1(document)        → a v1 document    the same, rewritten for `utcp-bridge convert`

One document may mix v0.x, v1.x and the extended forms: the keys of each template and each tool decide for it alone.
OpenAPI descriptions are detected here and converted in `utcp_bridge.dialects.openapi`. `selection` applies the
operator's `include`, `exclude` and `overrides` to the tools of every dialect.
"""

from utcp_bridge.dialects.auth_forms import wants_auth
from utcp_bridge.dialects.configs import read_config
from utcp_bridge.dialects.manuals import read_manual
from utcp_bridge.dialects.readings import ManualEntry, ParsedConfig, ParsedManual, RawTool
from utcp_bridge.dialects.rewriting import to_v1
from utcp_bridge.dialects.shapes import Shape, detect
from utcp_bridge.dialects.templates import KnownFields

__all__ = [
    "KnownFields",
    "ManualEntry",
    "ParsedConfig",
    "ParsedManual",
    "RawTool",
    "Shape",
    "detect",
    "read_config",
    "read_manual",
    "to_v1",
    "wants_auth",
]
