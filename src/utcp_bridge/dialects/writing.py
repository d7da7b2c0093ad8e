"""JSON data as the text of a file, which `documents.parse_document` reads back as the same data."""

from __future__ import annotations

from typing import Any, Literal

import orjson
import yaml

from utcp_bridge.dialects.yaml_events import YamlProblem, parse_yaml

__all__ = ["Form", "form_of", "write_document"]

Form = Literal["json", "yaml"]
_STARTS = frozenset({"", *"0123456789+-.~nNtTfF"})
"""How a number, a truth value and null begin."""


def form_of(name: str) -> Form:
    """The form that a file's name asks for; JSON unless it ends in .yaml or .yml."""
    return "yaml" if name.lower().endswith((".yaml", ".yml")) else "json"


def write_document(value: Any, form: Form = "json") -> str:
    """The text of a document, indented, ending in a line break; keys keep their order."""
    if form == "json":
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as something else than text, and repeats instead of using aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """True for everything: aliases are hard to read and to edit."""
        del data
        return True


def _write_text(dumper: Any, text: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if _is_plain(text) else '"'
    )
    return node


def _is_plain(text: str) -> bool:
    """Whether the library may write the text without escapes: our reader takes it, as a bare word, for text."""
    if not all(character.isprintable() or character == "\n" for character in text):
        return False
    if text[:1] not in _STARTS or "\n" in text:
        return True
    try:
        return isinstance(parse_yaml(text), str | list | dict)
    except YamlProblem:
        return False


_Dumper.add_representer(str, _write_text)
