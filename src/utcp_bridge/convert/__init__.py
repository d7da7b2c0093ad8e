"""Conversion to UTCP manuals: OpenAPI descriptions, MCP servers, documents of UTCP v0.

    manual = openapi_to_utcp("https://api.example.com/openapi.json")

What comes out needs no further file: it carries each request in full. `convert` is the same for several inputs,
and for the command line.
"""

from utcp_bridge.convert.conversion import convert, openapi_to_utcp
from utcp_bridge.convert.outcome import Converted, Wishes

__all__ = ["Converted", "Wishes", "convert", "openapi_to_utcp"]
