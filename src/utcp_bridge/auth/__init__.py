"""Outgoing authentication: what `auth` says, the credentials and tokens that follow, and secrets kept out of texts."""
