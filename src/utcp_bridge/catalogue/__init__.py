"""What hosts see of the tools: names, entries, exposure and results. Knows nothing of the MCP SDK."""
