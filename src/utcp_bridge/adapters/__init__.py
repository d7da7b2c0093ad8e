"""UTCP tools as the tools of agent frameworks: one file per framework, each behind an extra of its name."""
