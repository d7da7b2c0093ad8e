"""The way of a manual, from its place to live tools: registration, reading, selection, building, binding, upkeep."""
