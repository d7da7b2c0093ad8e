"""Holds the converter against the oracle: convert, draw arguments, build, send over loopback, judge."""

import base64
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from urllib.parse import unquote

from tests.openapi_oracle.checking import accepts
from tests.openapi_oracle.judging import judge
from tests.openapi_oracle.prescribing import Undefined, form_pairs, pairs, prescribe
from tests.openapi_oracle.reading import Reader
from tests.openapi_oracle.values import Values

from utcp_bridge.dialects.openapi import ConversionOptions, convert
from utcp_bridge.errors import UtcpError
from utcp_bridge.placement.openapi_plan import compile_plan, read_plan

MODES = ("required", "full", "hostile")
VARIANTS = 6
FILE = b"\x00\xff file bytes \r\n"


@dataclass
class Score:
    """Counts of operations; `wrong` (operation, mode, what) for the report."""

    operations: int = 0
    right: int = 0
    unjudged: int = 0
    wrong: list = field(default_factory=list)
    modes: Counter = field(default_factory=Counter)

    def add(self, other):
        self.operations += other.operations
        self.right += other.right
        self.unjudged += other.unjudged
        self.wrong += other.wrong
        self.modes.update(other.modes)

    @property
    def share(self):
        return self.right / self.operations if self.operations else 1.0


def run(document, url, recorder, *, files=None, most=12, seed=7, modes=MODES):
    """The score of up to `most` operations of one document, drawn by `seed`."""
    conversion = convert(document, url=url, options=ConversionOptions(), files=files or {})
    tools = [tool.as_json() for tool in conversion.tools]
    reader = Reader(document, url, files or {})
    declared = list(reader.operations())
    in_order = {id(one): tool for one, tool in zip(declared, tools, strict=True)} if len(declared) == len(tools) else {}
    if len(declared) > most:
        declared = random.Random(seed).sample(declared, most)
    score = Score()
    for one in declared:
        score.add(_judged(one, in_order.get(id(one)) or _tool_of(one, tools), reader, recorder, modes))
    return score


def _tool_of(declared, tools):
    """The tool whose URL ends in the operation's path, whatever its placeholders are called."""
    path = _bare(declared.path if declared.path.startswith("/") else f"/{declared.path}")
    templates = [(tool["tool_call_template"], tool) for tool in tools]
    fitting = [
        (len(template["url"]), tool["name"], tool)
        for template, tool in templates
        if template["http_method"] == declared.method and _bare(template["url"]).endswith(path)
    ]
    return min(fitting)[2] if fitting else None


def _bare(path):
    return re.sub(r"\{[^{}]*\}", "{}", unquote(path.partition("#")[0]))


def _judged(declared, tool, reader, recorder, modes):
    score = Score(operations=1)
    verdicts = []
    for mode in modes:
        try:
            verdict = "no tool" if tool is None else _one_call(declared, tool, reader, recorder, mode)
        except Undefined:
            continue
        except UtcpError as error:
            verdict = f"refused: {error}"
        verdicts.append(verdict)
        score.modes[mode] += verdict is None
        if verdict:
            score.wrong.append((f"{declared.method} {declared.path}", mode, verdict))
    if not verdicts:
        return Score(unjudged=1)
    score.right = int(not any(verdicts))
    return score


def _one_call(declared, tool, reader, recorder, mode):
    plan = tool["tool_call_template"]["request_plan"]
    variants = (_drawn(declared, plan, reader, mode, variant) for variant in range(VARIANTS))
    drawn = next(variants)
    if (refused := accepts(tool, drawn.arguments)) and not _is_sound(declared, reader, drawn):
        drawn = next((other for other in variants if _is_sound(declared, reader, other)), drawn)
        refused = accepts(tool, drawn.arguments)
    if refused:
        return refused
    prescribed = prescribe(declared, drawn.values, drawn.body)
    template = tool["tool_call_template"]
    build = compile_plan(read_plan(plan), template["url"], template["http_method"])
    return judge(prescribed, recorder.send(build(drawn.arguments)))


@dataclass
class Drawn:
    """What a caller gives: values by place and name, what has to arrive as the body, and the tool's arguments."""

    values: dict
    given: object
    body: object
    arguments: dict


def _drawn(declared, plan, reader, mode, variant):
    drawn = Values(reader, mode, f"{declared.method}{declared.path}", variant)
    values = {
        (one.place, one.name): _parameter(drawn, one) for one in declared.fields if one.required or mode != "required"
    }
    values = {key: value for key, value in values.items() if value not in (None, [], {})}
    arguments = {
        part["argument"]: values[key] for part in plan["parameters"] if (key := (part["in"], part["name"])) in values
    }
    given = body = None
    if declared.body and (declared.body.required or mode != "required"):
        given, body = _body(declared.body, plan.get("body") or {}, drawn, reader)
        members = (plan.get("body") or {}).get("members")
        arguments |= given if members is not None else {"body": given}
        if body[0] == "json" and body[1] == {} and not declared.body.required:
            body = None if members is not None else body
    return Drawn(values, given, body, arguments)


def _is_sound(declared, reader, drawn):
    """Whether the document's own schemas accept what was drawn."""
    fields = {(one.place, one.name): one.schema for one in declared.fields}
    if not all(reader.accepts(fields[key], value) for key, value in drawn.values.items()):
        return False
    if drawn.body is None or drawn.body[0] != "json":
        return True
    return any(reader.accepts(schema, drawn.given) for schema, _ in declared.body.contents.values())


def _parameter(drawn, one):
    value = drawn.of(one.schema, one.place)
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


def _body(body, plan, drawn, reader):
    """(what the caller gives, (kind, what has to arrive)) for the media type that the tool has chosen."""
    media_type = plan.get("media_type", "")
    schema, encoding = next((content for kind, content in body.contents.items() if _fits(kind, media_type)), ({}, {}))
    essence = media_type.split(";")[0].lower()
    if essence.endswith("json"):
        value = drawn.of(schema, "body")
        return value, ("json", value)
    if "form" in essence and essence != "application/octet-stream":
        return _form(body, schema, encoding, drawn, reader, essence)
    if plan.get("binary"):
        return base64.b64encode(FILE).decode(), ("bytes", FILE)
    value = drawn.text("body")
    return value, ("bytes", value.encode())


def _fits(declared, chosen):
    return fnmatchcase(chosen.split(";")[0].lower(), declared.split(";")[0].lower().strip())


def _form(body, schema, encoding, drawn, reader, essence):
    kind = "multipart" if essence.startswith("multipart") else "form"
    arguments, arriving = {}, []
    if body.forms:
        for one in body.forms:
            if one.required or drawn.mode != "required":
                _field(one, drawn, arguments, arriving)
        return arguments, (kind, arriving)
    drawn_object = drawn.of(schema, "body")
    if not isinstance(drawn_object, dict):
        raise Undefined("a form of something else than an object")
    properties = reader.schema(schema).get("properties", {})
    for name, value in drawn_object.items():
        member = reader.schema(properties.get(name, {}))
        about = encoding.get(name, {})
        if kind == "multipart" and is_file(reader, member):
            count = 2 if member.get("type") == "array" else 1
            arguments[name] = [base64.b64encode(FILE).decode()] * 2 if count == 2 else base64.b64encode(FILE).decode()
            arriving += [(name, FILE.decode("utf-8", "surrogateescape"))] * count
        elif kind == "multipart" and about.get("contentType") and "json" not in about["contentType"]:
            raise Undefined("a part in a media type of its own")
        else:
            arguments[name] = value
            styled = {} if kind == "multipart" and not reader.document.get("openapi", "").startswith("3.1") else about
            arriving += form_pairs(styled or {k: v for k, v in about.items() if k == "contentType"}, name, value)
    return arguments, (kind, arriving)


def is_file(reader, schema):
    schema = reader.schema(schema)
    if schema.get("type") == "array":
        return is_file(reader, schema.get("items", {}))
    if schema.get("contentMediaType") and not schema.get("contentEncoding"):
        return schema["contentMediaType"].startswith(("application/octet-stream", "image/"))
    return schema.get("format") == "binary" or any(is_file(reader, one) for one in schema.get("anyOf", []))


def _field(one, drawn, arguments, arriving):
    is_list = one.schema.get("items", {}).get("type") == "file"
    if one.schema.get("type") == "file" or is_list:
        text = base64.b64encode(FILE).decode()
        arguments[one.name] = [text, text] if is_list else text
        arriving += [(one.name, FILE.decode("utf-8", "surrogateescape"))] * (2 if is_list else 1)
        return
    value = drawn.of(one.schema, "body")
    arguments[one.name] = value
    arriving += pairs(one, value)
