"""Outgoing authentication: the `auth` object, credentials, access tokens, and secrets kept out of texts."""
