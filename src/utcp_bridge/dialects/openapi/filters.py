"""Which operations the operator wants: by tag, path, method and operationId, with shell-style patterns (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from utcp_bridge.dialects.openapi.shapes import is_array

__all__ = ["is_wanted"]


def is_wanted(
    facts: Mapping[str, list[str]], include: Mapping[str, Any] | None, exclude: Mapping[str, Any] | None
) -> bool:
    """`facts` {tags, paths, methods, operation_ids} of one operation against both filters; no filter lets all pass."""
    include, exclude = _renamed(include), _renamed(exclude)
    wanted = [_matches(values, include.get(field)) for field, values in facts.items() if include and include.get(field)]
    unwanted = [_matches(values, exclude.get(field)) for field, values in facts.items() if exclude]
    return all(wanted) and not any(unwanted)


def _renamed(rule: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """`names`, the filter's word for tools of other manuals, means operationIds here."""
    return {**rule, "operation_ids": rule["names"]} if rule and rule.get("names") else rule


def _matches(values: list[str], patterns: Any) -> bool:
    listed = patterns if is_array(patterns) else [patterns]
    return any(
        fnmatchcase(value.lower(), pattern.lower())
        for value in values
        for pattern in listed
        if isinstance(pattern, str)
    )
