"""What MCP servers ask of hosts, and the sessions that hosts have with them."""
