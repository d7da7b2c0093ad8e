"""Live configuration: it is followed while it is served, and `utcp-bridge reload` asks for it."""
