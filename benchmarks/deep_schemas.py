"""A document of many operations with deep schemas: each operation reaches some hundred kilobytes of them."""

import random

_TEXT = "index shard query field filter term bucket metric policy node cluster template alias mapping score"
_WORDS = _TEXT.split()


def deep_document(operations=450, schemas=1_500, group=75, seed=5):
    """An OpenAPI 3.1 document. The schemas of a group name one another, in unions, maps and arrays, also in circles."""
    draw = random.Random(seed)
    names = [f"{_word(draw)}{_word(draw)}{number}" for number in range(schemas)]
    groups = [names[start : start + group] for start in range(0, schemas, group)]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deep schemas", "version": "1"},
        "servers": [{"url": "https://api.example.com"}],
        "paths": {
            f"/{_WORDS[n % len(_WORDS)]}/{n}": {"post": _operation(draw, n, groups[n % len(groups)])}
            for n in range(operations)
        },
        "components": {"schemas": {name: _object(draw, near) for near in groups for name in near}},
    }


def _word(draw):
    return draw.choice(_WORDS).capitalize()


def _text(draw, words):
    return " ".join(draw.choice(_WORDS) for _ in range(words)) + "."


def _operation(draw, number, names):
    body = {"type": "object", "properties": _properties(draw, names, 8), "required": ["p0", "p3"]}
    return {
        "operationId": f"operation_{number}",
        "summary": _text(draw, 6),
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": "ok"}},
    }


def _object(draw, names):
    count = draw.randint(3, 14)
    return {
        "type": "object",
        "description": _text(draw, draw.randint(4, 40)),
        "properties": _properties(draw, names, count),
        "required": [f"p{number}" for number in range(0, count, 4)],
    }


def _properties(draw, names, count):
    return {f"p{number}": _property(draw, names) for number in range(count)}


def _property(draw, names):
    described = {"description": _text(draw, draw.randint(3, 30))}
    kind = draw.randrange(10)
    if kind < 4:
        return {"type": draw.choice(["string", "integer", "boolean"]), **described}
    if kind == 4:
        return {"type": "string", "enum": [f"{_word(draw)}_{number}" for number in range(draw.randint(2, 60))]}
    named = {"$ref": f"#/components/schemas/{draw.choice(names)}"}
    if kind == 5:
        return {"type": "array", "items": named, **described}
    if kind == 6:
        return {"type": "object", "additionalProperties": named, **described}
    if kind == 7:
        return {"oneOf": [named, {"$ref": f"#/components/schemas/{draw.choice(names)}"}, {"type": "string"}]}
    return {**named, **described}
