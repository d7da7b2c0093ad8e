"""The indexed fields of a tool and their weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Tool, is_list, is_object
from utcp_bridge.search.text import terms

__all__ = ["FIELDS", "Field", "fields_of", "gain_of", "parameters_of", "weigh"]

_MAX_TEXT: Final = 4_000
_MAX_PARAMETERS: Final = 200
_MAX_ENUM_VALUES: Final = 30
_MAX_ASKED: Final = 60
"""Terms of the examples of requests of one tool."""


@dataclass(frozen=True, slots=True)
class Field:
    """The weight of one field. `pivot` is the usual length in terms; `b` is how much the length matters.

    Pivots are constants instead of averages of the catalogue, so the weights of a tool do not depend on other tools and
    adding and removing is exact.
    """

    weight: float
    b: float
    pivot: float


FIELDS: Final = (
    Field(weight=3.0, b=0.4, pivot=3.5),  # name and title
    Field(weight=1.0, b=0.0, pivot=1.0),  # provider
    Field(weight=0.6, b=0.0, pivot=1.0),  # tags
    Field(weight=1.0, b=0.6, pivot=16.0),  # description
    Field(weight=0.7, b=0.7, pivot=5.0),  # parameter names
    Field(weight=0.3, b=0.7, pivot=20.0),  # parameter descriptions and enum values
    Field(weight=1.2, b=0.9, pivot=9.0),  # examples of requests (`asked_as`); their mean length counts
)
K1: Final = 1.35
_CONFIRMED: Final = 0.7
_DESCRIPTION, _ASKED = 3, 6
_OPENING_TERMS: Final = 3
"""The first terms of a description count double, because a description begins with what the tool does."""


def parameters_of(schema: Any) -> JsonObject:
    """Return the properties of an input schema; empty if the schema is not an object schema."""
    properties = _members(_members(schema).get("properties"))
    return {str(name): value for name, value in properties.items()}


def fields_of(tool: Tool) -> tuple[list[str], ...]:
    """Return the terms of each of `FIELDS`."""
    parameters = list(parameters_of(tool.inputs).items())[:_MAX_PARAMETERS]
    name = terms(_text(tool.name))
    if tool.title:
        name += [term for term in terms(_text(tool.title)) if term not in name]
    return (
        name,
        terms(tool.manual),
        terms(" ".join(map(str, tool.tags))[:_MAX_TEXT]),
        terms(_text(tool.description)),
        terms(" ".join(name for name, _ in parameters)[:_MAX_TEXT]),
        terms(" ".join(_parameter_texts(schema for _, schema in parameters))[:_MAX_TEXT]),
        _asked_terms(tool),
    )


def weigh(tool: Tool) -> dict[str, float]:
    """Return the saturated weight of each term in this tool, between 0 and 1: one saturation over all fields."""
    sums: dict[str, float] = {}
    for number, (field, found) in enumerate(zip(FIELDS, fields_of(tool), strict=True)):
        length = len(found) / (len(_examples(tool)) or 1) if number == _ASKED else len(found)
        step = field.weight / (1 - field.b + field.b * length / field.pivot)
        for term in found:
            sums[term] = sums.get(term, 0.0) + step
        if number == _DESCRIPTION:
            for term in found[:_OPENING_TERMS]:
                sums[term] += step
    return {term: total / (K1 + total) for term, total in sums.items()}


def gain_of(weight: float, text: float) -> float:
    """Return what one more field of this weight adds to a term whose saturated weight in a tool is `text`.

    The text counts by a part here, because a lesson confirms it: a word that is in both says more than one of them.
    """
    before = _CONFIRMED * K1 * text / (1 - text)
    return (before + weight) / (K1 + before + weight) - before / (K1 + before)


def _asked_terms(tool: Tool) -> list[str]:
    """Return the terms of the examples of requests, each once for each example that has it."""
    found = [term for example in _examples(tool) for term in dict.fromkeys(terms(_text(example)))]
    kept = set(list(dict.fromkeys(found))[:_MAX_ASKED])
    return [term for term in found if term in kept]


def _examples(tool: Tool) -> list[Any]:
    examples: Any = tool.extras.get("asked_as")
    return examples if is_list(examples) else []


def _text(value: Any) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _parameter_texts(schemas: Iterable[Any]) -> Iterator[str]:
    for schema in schemas:
        members = _members(schema)
        yield _text(members.get("description"))
        values = members.get("enum")
        if is_list(values):
            yield from (value for value in values[:_MAX_ENUM_VALUES] if isinstance(value, str))


def _members(value: Any) -> JsonObject:
    return value if is_object(value) else {}
