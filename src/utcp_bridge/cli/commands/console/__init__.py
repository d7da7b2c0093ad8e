"""Verbs that show a running bridge: in a browser, or in a terminal."""
