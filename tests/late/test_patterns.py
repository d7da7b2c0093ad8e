"""Regular expressions that are compiled late are those of `re` in everything that they are used for."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import utcp_bridge
from utcp_bridge.late import patterns
from utcp_bridge.late.patterns import late_pattern

SOURCE = Path(utcp_bridge.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    for path in SOURCE.rglob("*.py")
    if re.search(r"^\w+(: Final)? = late_pattern\(", path.read_text(encoding="utf-8"), re.MULTILINE)
)
MEMBERS = [name for name in dir(re.Pattern) if not name.startswith("_")]


def told(one: Any, text: str | bytes) -> dict[str, Any]:
    """What the members of a pattern say of a text."""
    found: dict[str, Any] = {}
    for name in MEMBERS:
        member = getattr(one, name)
        if name in {"sub", "subn"}:
            found[name] = member(text[:1], text)
        elif name in {"finditer", "scanner"}:
            found[name] = [match.span() for match in (member(text) if name == "finditer" else [member(text).search()])]
        elif callable(member):
            found[name] = repr(member(text))
        else:
            found[name] = member
    return found


@pytest.mark.parametrize("first", MEMBERS)
@pytest.mark.parametrize(
    ("pattern", "flags", "text"),
    [(r"(?P<word>[a-z]+)", re.IGNORECASE, "Ab cd"), (rb"[a-z]+", 0, b"ab cd")],
    ids=["text", "bytes"],
)
def test_every_member_is_that_of_a_compiled_pattern(pattern: Any, flags: int, text: Any, first: str) -> None:
    late = late_pattern(pattern, flags)
    getattr(late, first)
    assert told(late, text) == told(re.compile(pattern, flags), text)


def test_a_pattern_is_compiled_once_when_it_is_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    compile_now = re.compile
    monkeypatch.setattr(patterns.re, "compile", lambda text, flags: compiled.append(text) or compile_now(text, flags))
    late = late_pattern("a+")
    assert compiled == []
    assert [bool(late.fullmatch(text)) for text in ("aa", "b")] == [True, False]
    assert compiled == ["a+"]


def test_a_wrong_pattern_is_refused_at_its_first_use() -> None:
    late = late_pattern("(")
    with pytest.raises(re.error, match="missing"):
        late.search("a")


def test_what_no_pattern_has_is_missing() -> None:
    late = late_pattern("a")
    for name in ("fullmatches", "_private"):
        with pytest.raises(AttributeError, match=name):
            getattr(late, name)


@pytest.mark.parametrize("module", MODULES)
def test_every_late_pattern_is_right(module: str) -> None:
    late = [one for one in vars(import_module(module)).values() if isinstance(one, patterns._Compiled)]
    assert late
    assert all(one.groups >= 0 for one in late)
