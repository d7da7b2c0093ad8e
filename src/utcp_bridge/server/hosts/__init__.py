"""Hosts: the MCP clients behind calls, as MCP servers may ask them."""
