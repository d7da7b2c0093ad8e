"""One MCP server for every UTCP tool, and a complete UTCP client."""
