"""What the address gate stands on: kinds of addresses, name resolution, and the watch behind it."""
