"""Verbs about who may call what, and who called what."""
