"""What an operator sees of a running bridge: counts of calls, and traces. Nothing here decides anything."""
