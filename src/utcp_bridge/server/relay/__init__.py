"""The relay: what MCP upstreams offer besides tools, for the hosts of the bridge."""
