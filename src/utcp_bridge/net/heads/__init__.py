"""Heads of requests and replies: those that are known already, and those that are written."""
