"""Conversion of OpenAPI descriptions, MCP servers and UTCP v0 documents to UTCP manuals.

    manual = openapi_to_utcp("https://api.example.com/openapi.json")

A converted manual needs no other file, because it contains each request in full. `convert` takes several inputs and
serves the command line.
"""

from utcp_bridge.convert.conversion import convert, openapi_to_utcp
from utcp_bridge.convert.outcome import Converted, Wishes

__all__ = ["Converted", "Wishes", "convert", "openapi_to_utcp"]
