"""Broken documents: a sound one in which parts are replaced by anything, and what has to hold of them all the same."""

import copy
import json

from hypothesis import strategies as st
from tests.openapi_oracle.checking import faults_of

from utcp_bridge.dialects.openapi import ConversionOptions, convert, external_references
from utcp_bridge.errors import UtcpError
from utcp_bridge.placement.openapi_plan import compile_plan, read_plan

_TEXT = """
$ref type properties items allOf anyOf oneOf required in name schema content style explode enum nullable default
readOnly format security servers url variables parameters get post requestBody responses 200 additionalProperties
pattern discriminator #/components/schemas/A #/paths/~1a other.json#/x object array string path query header cookie
application/json multipart/form-data binary form deepObject {id} http://[ é .. ${X} a/b~1
"""
WORDS = [*_TEXT.split(), "", "a b"]
_SCALARS = st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False) | st.sampled_from(WORDS)
ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


class Documents(list):
    """Sound documents, without the long repr that Hypothesis would print."""

    def __repr__(self):
        return f"<{len(self)} documents>"


@st.composite
def broken(draw, documents):
    """One of `documents` with one to six of its parts replaced or removed."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 6))):
        places = list(_places(document))
        if not places:
            break
        owner, key = places[draw(st.integers(0, len(places) - 1))]
        if isinstance(owner, dict) and draw(st.integers(0, 5)) == 0:
            del owner[key]
        else:
            owner[key] = draw(ANYTHING)
    return document


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        yield value, key
        yield from _places(member)


def check(document):
    """Only typed errors, no accident inside, every tool sound and callable."""
    external_references(document, "https://docs.example.com/openapi.json")
    try:
        conversion = convert(document, url="https://docs.example.com/openapi.json", options=ConversionOptions())
    except UtcpError:
        return
    accidents = [str(fault) for fault in conversion.faults if "operation cannot be read (" in fault.what]
    assert accidents == []
    tools = [tool.as_json() for tool in conversion.tools]
    assert faults_of(tools) == []
    for tool in tools:
        template = tool["tool_call_template"]
        plan = read_plan(json.loads(json.dumps(template["request_plan"])))
        try:
            compile_plan(plan, template["url"], template["http_method"])(
                dict.fromkeys(tool["inputs"]["properties"], "x")
            )
        except UtcpError:
            continue
