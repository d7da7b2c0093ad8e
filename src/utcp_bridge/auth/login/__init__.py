"""Logins of persons: obtained once with a browser or a code, kept in a store, and renewed by all that use them.

Everything here is free of the MCP SDK. The login at an MCP server is in `utcp_bridge.transports.mcp.login`.
"""
