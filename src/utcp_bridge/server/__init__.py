"""The MCP server over a UTCP client, on stdio and streamable HTTP.

Only this package and `transports.mcp` import the MCP SDK. What hosts see of the tools is in `catalogue`.
"""
