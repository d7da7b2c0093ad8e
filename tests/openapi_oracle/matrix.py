"""A document with an operation for every style, explode, type and place, every media type and shape, per version."""

from itertools import product

TYPES = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
    "booleans": {"type": "array", "items": {"type": "boolean"}},
    "object": {"type": "object", "properties": {"role": {"type": "string"}, "level": {"type": "integer"}}},
}
STYLES = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
SHAPES = {
    "flat": {"type": "object", "properties": {name: schema for name, schema in TYPES.items() if name != "object"}},
    "nested": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "address": TYPES["object"],
            "lines": {"type": "array", "items": TYPES["object"]},
        },
    },
    "allOf": {
        "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
            {"$ref": "#/components/schemas/Second"},
        ]
    },
    "reference": {"$ref": "#/components/schemas/Second"},
    "recursive": {"$ref": "#/components/schemas/Tree"},
    "clash": {"type": "object", "properties": {"id": {"type": "string"}, "body": {"type": "string"}}},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "union": {
        "oneOf": [{"$ref": "#/components/schemas/Second"}, {"type": "object", "properties": {"z": {"type": "integer"}}}]
    },
    "list": {"type": "array", "items": TYPES["object"]},
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "marked": {
        "type": "object",
        "properties": {"id": {"type": "string", "readOnly": True}, "name": {"type": "string"}},
    },
    "nullable": {"type": "object", "properties": {"n": {"type": "string", "nullable": True}}, "nullable": True},
}
OBJECTS = ("flat", "nested", "allOf", "reference", "clash", "map")
FILES = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "more": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "note": {"type": "string"},
        "about": TYPES["object"],
    },
}
JSON_TYPES = (
    "application/json",
    "application/vnd.api+json",
    "application/json; charset=utf-8",
    "application/merge-patch+json",
    "*/*",
)
SECOND = {"type": "object", "properties": {"b": {"type": "integer"}, "c": {"type": "boolean"}}}
TREE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
    },
}


def documents():
    """(name, document) of every version."""
    yield "matrix 3.0", _modern("3.0.4")
    yield "matrix 3.1", _modern("3.1.1")
    yield "matrix 2.0", _swagger()


def _modern(version):
    paths = {}
    for place, styles in STYLES.items():
        for style, explode, (kind, schema) in product(styles, (True, False, None), TYPES.items()):
            if _is_defined(place, style, explode, kind):
                _add_parameter(paths, place, style, explode, kind, schema)
    for place, kind in product(STYLES, ("object", "strings", "string")):
        parameter = {
            "name": "p",
            "in": place,
            "required": True,
            "content": {"application/json": {"schema": TYPES[kind]}},
        }
        _add(paths, f"content-{place}-{kind}", parameters=[parameter], place=place)
    for kind, schema in TYPES.items():
        parameter = {"name": "q", "in": "query", "allowReserved": True, "schema": schema}
        _add(paths, f"reserved-{kind}", parameters=[parameter])
    for (shape, schema), media_type, required in product(SHAPES.items(), JSON_TYPES, (True, False)):
        _add_body(paths, f"json-{shape}-{required}", media_type, schema, required)
    for shape, media_type, required in product(
        OBJECTS, ("application/x-www-form-urlencoded", "multipart/form-data"), (True, False)
    ):
        _add_body(paths, f"{shape}-{required}", media_type, SHAPES[shape], required)
    _add_encoded(paths)
    for required in (True, False):
        _add_body(paths, f"files-{required}", "multipart/form-data", FILES, required)
        _add_body(
            paths, f"binary-{required}", "application/octet-stream", {"type": "string", "format": "binary"}, required
        )
        for media_type in ("text/plain", "application/xml", "text/csv"):
            _add_body(paths, f"text-{required}", media_type, {"type": "string"}, required)
    return {
        "openapi": version,
        "info": {"title": "matrix", "version": "1"},
        "servers": [{"url": "https://api.example.com/v{n}", "variables": {"n": {"default": "1"}}}],
        "paths": paths,
        "components": {"schemas": {"Second": SECOND, "Tree": TREE}},
    }


def _is_defined(place, style, explode, kind):
    """The combinations that the Parameter Object's table fills in."""
    several = kind in {"strings", "integers", "booleans", "object"}
    if style == "deepObject":
        return kind == "object" and explode is not False
    if style in {"spaceDelimited", "pipeDelimited"}:
        return several and explode is not True
    return not (place == "cookie" and several and explode is not False)


def _add_parameter(paths, place, style, explode, kind, schema):
    parameter = {"name": "p", "in": place, "style": style, "schema": schema, "required": True}
    if explode is not None:
        parameter["explode"] = explode
    _add(paths, f"{place}-{style}-{explode}-{kind}", parameters=[parameter], place=place)


def _add(paths, name, *, parameters=(), place="query", body=None, method="post"):
    path = f"/{name}/{{p}}/end" if place == "path" else f"/{name}"
    operation = {"parameters": list(parameters), "responses": {"204": {"description": "done"}}}
    if body:
        operation["requestBody"] = body
    paths[path] = {"get" if body is None else method: operation}


def _add_body(paths, name, media_type, schema, required, encoding=None):
    media = {"schema": schema, **({"encoding": encoding} if encoding else {})}
    slug = media_type.replace("/", "-").replace("*", "any").replace(";", "").replace(" ", "").replace("+", "-")
    parameters = [{"name": "id", "in": "query", "schema": {"type": "integer"}}]
    _add(
        paths, f"body-{slug}-{name}", body={"content": {media_type: media}, "required": required}, parameters=parameters
    )


def _add_encoded(paths):
    encodings = {
        "csv": {"style": "form", "explode": False},
        "repeated": {"style": "form", "explode": True},
        "deep": {"style": "deepObject", "explode": True},
        "pipes": {"style": "pipeDelimited", "explode": False},
        "json": {"contentType": "application/json"},
    }
    for name, encoding in encodings.items():
        kinds = ("object",) if name == "deep" else ("object", "strings", "integers", "string")
        for kind in kinds:
            schema = {"type": "object", "properties": {"f": TYPES[kind]}, "required": ["f"]}
            _add_body(
                paths, f"encoded-{name}-{kind}", "application/x-www-form-urlencoded", schema, True, {"f": encoding}
            )


def _swagger():
    paths = {}
    formats = ("csv", "ssv", "tsv", "pipes", "multi", None)
    for place, form, kind in product(("path", "query", "header", "formData"), formats, [*TYPES][:-1]):
        if form == "multi" and place in {"path", "header"}:
            continue
        parameter = {"name": "p", "in": place, "required": True, **TYPES[kind]}
        if form:
            parameter["collectionFormat"] = form
        _add(paths, f"{place}-{form}-{kind}", parameters=[parameter], place=place)
    for shape in ("flat", "nested", "reference", "recursive", "clash", "map", "list", "text"):
        for required in (True, False):
            body = {"name": "payload", "in": "body", "required": required, "schema": _old(SHAPES[shape])}
            query = {"name": "id", "in": "query", "type": "integer"}
            _add(paths, f"body-{shape}-{required}", parameters=[body, query])
    upload = {"name": "f", "in": "formData", "type": "file", "required": True}
    _add(paths, "upload", parameters=[upload, {"name": "note", "in": "formData", "type": "string"}])
    return {
        "swagger": "2.0",
        "info": {"title": "matrix", "version": "1"},
        "host": "api.example.com",
        "basePath": "/v1",
        "schemes": ["https"],
        "paths": paths,
        "definitions": {"Second": SECOND, "Tree": _old(TREE)},
    }


def _old(schema):
    import json

    return json.loads(json.dumps(schema).replace("#/components/schemas/", "#/definitions/"))
