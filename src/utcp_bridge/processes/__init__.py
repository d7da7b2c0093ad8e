"""Child processes, which end with the bridge, and the signals that end the bridge."""
