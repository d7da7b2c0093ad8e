"""MCP hosts: the files of each, how its servers are written there, and one reader for all of them."""
