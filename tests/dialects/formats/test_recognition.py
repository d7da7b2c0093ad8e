"""Formats of others: each is named with its way in every written form, and nothing of ours is taken for one of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.openapi_oracle.samples import OWN, SHARED, sample_files
from tests.support.linear import why_not_linear

from utcp_bridge.dialects import Shape, detect
from utcp_bridge.dialects.documents import parse_document
from utcp_bridge.dialects.formats import FORMATS, format_of_document, format_of_text
from utcp_bridge.errors import ManualError

ROOT = Path(__file__).parents[3]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}
INFO = {"title": "T", "version": "1"}
SERVER = {"type": "node", "entry_point": "a.js", "mcp_config": {"command": "node", "args": ["a.js"]}}

TEXTS: dict[str, list[str]] = {
    "a RAML 0.8 description": ["#%RAML 0.8\ntitle: T\n/a:\n  get:\n"],
    "a RAML description": ["#%RAML 1.0\ntitle: T\n/a:\n  get:\n", "#%RAML 1.0 Library\ntypes:\n  A: string\n"],
    "an API Blueprint": [
        "FORMAT: 1A\nHOST: https://a.example\n\n# T\n\n## A [/a]\n\n### Get [GET]\n",
        "FORMAT: 1A\n\n# T\n",
    ],
    "a TypeSpec file": [
        'import "@typespec/http";\nusing Http;\n@service(#{title: "T"})\nnamespace T;\n',
        "// c\nusing TypeSpec.Http;\nop a(): void;\n",
    ],
    "a Smithy model": ['$version: "2"\nnamespace a.b\nservice S {}\n', "namespace a.b\nuse c.d#E\n"],
    "a Protocol Buffers file (.proto)": [
        '// c: d\n/* e */\nsyntax = "proto3";\npackage a;\nmessage B {}\n',
        "package a.b;\n\nmessage C {\n  optional int32 d = 1;\n}\n",
        "syntax = 'proto2';\n",
        "service S { rpc A (B) returns (C); }\n",
    ],
    "a Protocol Buffers descriptor set": ['\n\x1c\n\x07a.proto\x12\x01a"\x03\n\x01B'],
    "a GraphQL schema (SDL)": [
        "type Query {\n  a: String\n}\n",
        'schema {\n  query: Q\n}\n\n"""d: e"""\ntype Q { a: Int }\n',
        '"""\nThe root: of all\n"""\ntype Query @a { b(c: Int!): String }\n',
        '# comment: here\nscalar Date\n\n"d"\nenum E { A B }\n',
        'extend schema @link(url: "https://a.example")\ntype Query { a: ID }',
        "directive @a on FIELD\n",
    ],
    "a GraphQL operation": ["query A($b: Int) {\n  c(d: $b)\n}\n"],
    "a WSDL 1.1 description (SOAP)": [
        '<?xml version="1.0"?>\n<!-- c -->\n<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/"/>'
    ],
    "a WSDL 2.0 description (SOAP)": ['<description xmlns="http://www.w3.org/ns/wsdl"></description>'],
    "a WADL description": ['<application xmlns="http://wadl.dev.java.net/2009/02"><resources/></application>'],
    "an OData $metadata document (XML)": [
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"></edmx:Edmx>'
    ],
    "an OData service document (XML)": ['<service xmlns="http://www.w3.org/2007/app"><workspace/></service>'],
    "a SOAP message": ['<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>'],
    "an XML schema": ['<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"/>'],
    "an XML document": ["<!DOCTYPE a [<!ELEMENT a ANY>]>\n<a>b: c</a>", "<a/>"],
    "a ZIP archive, such as an MCP bundle (.mcpb)": ["PK\x03\x04\x14\x00manifest.json"],
    "a PDF file": ["%PDF-1.7\n%: x\n"],
}
DOCUMENTS: dict[str, list[Any]] = {
    "an AsyncAPI description of a version that the bridge does not read": [{"asyncapi": 4}, {"asyncapi": "1.2.0"}],
    "a list of Google API Discovery documents": [{"kind": "discovery#directoryList", "items": []}],
    "an OData $metadata document (JSON)": [{"$Version": "4.01", "$EntityContainer": "a.b"}, {"$Version": 4.0}],
    "an OData reply": [{"@odata.context": "$metadata", "value": []}],
    "an OpenRPC description": [{"openrpc": "1.3.2", "info": INFO, "methods": [], "servers": [{"url": "u"}]}],
    "an Arazzo description of workflows": [{"arazzo": "1.0.1", "info": INFO, "workflows": []}],
    "an OpenAPI overlay": [{"overlay": "1.0.0", "info": INFO, "actions": []}],
    "a Smithy model (JSON)": [{"smithy": "2.0", "shapes": {}}],
    "a RAML description": [{"title": "T", "baseUri": "u", "/a": {"get": {}}}],
    "the reply to a GraphQL introspection": [{"data": {"__schema": {}}}, {"__schema": {}}],
    "a Protocol Buffers descriptor set (JSON)": [{"file": [{"name": "a/b.proto"}]}],
    "a reply of gRPC server reflection": [
        {"listServicesResponse": {"service": []}},
        {"file_descriptor_response": {"file_descriptor_proto": []}},
    ],
    "a Postman collection 1": [{"id": "a", "name": "b", "order": [], "requests": []}],
    "a Postman environment": [
        {"id": "a", "values": [], "_postman_variable_scope": "environment"},
        {"name": "a", "values": [{"key": "b", "value": "c", "enabled": True}]},
    ],
    "an Insomnia export": [{"_type": "export", "__export_format": 4, "resources": []}],
    "an Insomnia 5 collection": [{"type": "collection.insomnia.rest/5.0", "name": "a", "collection": []}],
    "a HAR file with recorded requests": [{"log": {"version": "1.2", "entries": []}}],
    "the JSON-RPC reply of an MCP server to tools/list": [
        {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "a", "inputSchema": {}}]}}
    ],
    "the server.json of an MCP server": [
        {"name": "io.a/b", "packages": [{"registryType": "npm", "identifier": "c"}]},
        {"name": "io.a/b", "packages": [{"registry_name": "npm", "name": "c"}]},
        {"name": "io.a/b", "remotes": [{"type": "sse", "url": "https://a.example"}]},
        {"server": {"name": "io.a/b", "packages": []}, "_meta": {}},
        {"$schema": "https://static.modelcontextprotocol.io/schemas/2025-07-09/server.schema.json", "name": "a"},
    ],
    "a page of the MCP registry": [{"servers": [{"server": {"name": "a"}}], "metadata": {"count": 1}}],
    "the manifest of an MCP bundle (.mcpb)": [
        {"manifest_version": "0.3", "name": "a", "server": SERVER, "tools": [{"name": "t", "description": "d"}]},
        {"dxt_version": "0.1", "name": "a", "server": SERVER},
    ],
    "a list of functions for a model": [
        [FUNCTION],
        [FLAT, FUNCTION],
        {"tools": [FUNCTION], "model": "m"},
        {"tools": [FLAT]},
        {"functions": [{"name": "a", "parameters": {}}]},
        [{"functionDeclarations": []}],
    ],
    "a function for a model": [FUNCTION, FLAT],
    "a list of tools for a model": [[{"toolSpec": {"name": "a"}}]],
    "an object that LangChain saved": [{"lc": 1, "type": "constructor", "id": ["langchain", "tools"], "kwargs": {}}],
    "a list of objects that LangChain saved": [[{"lc": 1, "type": "constructor", "id": ["a"]}]],
    "a kubeconfig file": [{"apiVersion": "v1", "kind": "Config", "clusters": [], "users": []}],
    "a Kubernetes manifest": [{"apiVersion": "v1", "kind": "Service", "metadata": {}}],
    "a Docker Compose file": [{"services": {"a": {"image": "b"}}}, {"services": {"a": {"build": "."}}}],
    "a lock file of npm": [{"name": "a", "lockfileVersion": 3}],
    "a package.json": [
        {"name": "a", "type": "module", "dependencies": {}},
        {"name": "a", "devDependencies": {}},
        {"name": "a", "scripts": {}},
        {"name": "a", "main": "b.js"},
    ],
    "a pyproject.toml": [{"build-system": {}}, {"project": {"name": "a"}}],
    "a tsconfig.json": [{"compilerOptions": {}}],
    "an action of GitHub Actions": [{"name": "a", "inputs": {}, "outputs": {}, "runs": {"using": "node20"}}],
    "a CloudFormation template": [{"AWSTemplateFormatVersion": "2010-09-09", "Parameters": {}, "Resources": {}}],
    "an Azure deployment template": [
        {"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "parameters": {}}
    ],
    "a workflow of GitHub Actions": [{"on": "push", "jobs": {}}],
    "a JSON Schema": [
        {"$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"type": "object", "properties": {}},
        {"$defs": {}},
        {"definitions": {}},
    ],
    "an API Blueprint": [{"FORMAT": "1A", "HOST": "h"}],
}
PAGES = {
    '<!doctype html><div id="swagger-ui"></div><script>SwaggerUIBundle({url: "/v1/spec"})</script>': (
        "Swagger UI",
        "/v1/spec",
    ),
    "<!-- c -->\n<html><body><redoc spec-url='./api.yaml'></redoc></body></html>": ("Redoc", "./api.yaml"),
    '<html><script>Redoc.init("https://a.example/x.json", {})</script></html>': ("Redoc", "https://a.example/x.json"),
    '<html><script id="api-reference" data-url="/d?v=1"></script></html>': ("Scalar", "/d"),
    '<html><script>Scalar.createApiReference("#a", {url: "/b.json"})</script></html>': ("Scalar", "/b.json"),
    '<html><body><a href="/docs/openapi.json">API</a></body></html>': ("HTML", "/docs/openapi.json"),
    '<?xml version="1.0"?>\n<!DOCTYPE html><html><body>Hi</body></html>': ("HTML", "Save the JSON document"),
    '<html><div id="graphiql">Loading</div></html>': ("GraphiQL", '"call_template_type": "graphql"'),
    '<html><div id="swagger-ui"></div></html>': ("Swagger UI", "Save the JSON document"),
}
KNOWN: dict[Shape, Any] = {
    Shape.MANUAL: {"utcp_version": "1.0.1", "manual_version": "1.0.0", "tools": [{"name": "a", "description": "b"}]},
    Shape.CONFIG: {"manual_call_templates": []},
    Shape.OPENAPI: {"openapi": "3.1.0", "info": INFO, "paths": {}},
    Shape.TEMPLATE: {"call_template_type": "http", "url": "https://a.example"},
}
FOREIGN = [(name, one) for name, samples in DOCUMENTS.items() for one in samples]
WRITTEN = [(name, one) for name, samples in TEXTS.items() for one in samples]
STEPS = sorted({step for row in FORMATS for path in row.members for step in (path, *path.split("."))})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(STEPS) | st.text(), inner, max_size=5),
    max_leaves=20,
)


def refusal(data: bytes | str, *, is_known: bool = False, **options: Any) -> str:
    """Return what is said of a text, by the parser or, if it can be parsed, by the table."""
    try:
        document = parse_document(data, where="a.file", **options)
    except ManualError as error:
        return str(error)
    assert is_known or detect(document) is Shape.UNKNOWN
    found = format_of_document(document)
    return "" if found is None else f"a.file is {found.name}, {found.way}"


def test_each_row_of_the_table_has_a_sample() -> None:
    assert {row.name for row in FORMATS} - TEXTS.keys() - DOCUMENTS.keys() == {"a gzip file"}
    assert "is a gzip file, not" in refusal(b"\x1f\x8b\x08\x00\xff\x00")


def test_each_pattern_of_the_table_needs_linear_time() -> None:
    """They are matched at one place, so a repeat at their beginning costs one pass."""
    patterns = {row.start for row in FORMATS} | {one for row in FORMATS for one in row.members.values()}
    assert {
        one: why for one in patterns if isinstance(one, str) and (why := why_not_linear(one, 0, searched=False))
    } == {}


@pytest.mark.parametrize("part", ["#\n", "/**/", '"""a"""', " ", "\n", "//\n"])
def test_what_is_behind_many_comments_is_read(part: str) -> None:
    found = format_of_text(part * 20_000 + "\nsyntax = 'proto3';")
    assert found is not None
    assert found.name == "a Protocol Buffers file (.proto)"


@pytest.mark.parametrize("part", ["/*", "<?", "<!--", "<!DOCTYPE [", "<a", '"\n/*', "#"])
def test_a_text_of_comments_without_an_end_has_no_format(part: str) -> None:
    assert format_of_text(part * 20_000) is None


@pytest.mark.parametrize(("name", "sample"), FOREIGN)
def test_a_document_of_others_is_named_in_json_and_yaml(name: str, sample: Any) -> None:
    text = json.dumps(sample)
    written = yaml.safe_dump(sample, sort_keys=False)
    for form in (
        text,
        "\ufeff" + text,
        text.encode("utf-16"),
        written,
        written.replace("\n", "\r\n"),
        "# c\n" + written,
    ):
        assert refusal(form).startswith(f"a.file is {name}, "), form
    assert refusal(f"// c\n{text}", jsonc=True).startswith(f"a.file is {name}, ")


@pytest.mark.parametrize(("name", "sample"), WRITTEN)
def test_a_text_of_others_is_named_in_every_encoding(name: str, sample: str) -> None:
    is_binary = name in {"a ZIP archive, such as an MCP bundle (.mcpb)", "a Protocol Buffers descriptor set"}
    forms: list[bytes] = [sample.encode(), sample.encode() + b"\xe9\xff"]
    if not is_binary:
        forms += [sample.encode("utf-8-sig"), sample.encode("utf-16"), sample.encode("utf-16-le")]
        forms.append(sample.replace("\n", "\r\n").encode())
    for form in forms:
        for hint in ("", ".json", "application/json", ".yaml"):
            said = refusal(form, hint=hint, jsonc=hint == ".json")
            assert said.startswith(f"a.file is {name}, "), (form, hint)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_leads_to_its_document(page: str) -> None:
    viewer, words = PAGES[page]
    for form in (page, "\ufeff" + page, page.encode("utf-16")):
        said = refusal(form, hint=".json")
        assert said.startswith(f"a.file is a web page ({viewer}), "), said
        assert words in said


@pytest.mark.parametrize(("name", "sample"), FOREIGN)
@pytest.mark.parametrize("shape", list(KNOWN))
def test_members_of_others_do_not_change_what_a_document_is(shape: Shape, name: str, sample: Any) -> None:
    """A manual with `server`, a description with `item` and a configuration with `services` stay what they are."""
    merged = {**(sample if isinstance(sample, dict) else {}), **KNOWN[shape]}
    assert detect(merged) is not Shape.UNKNOWN, name


@pytest.mark.parametrize(
    "path",
    [
        *(path for path in sample_files(OWN)),
        *(path for path in sample_files(SHARED) if path.suffix != ".gz"),
        *sorted((ROOT / "configs").glob("*.*")),
    ],
    ids=lambda path: path.name,
)
def test_a_document_of_ours_is_parsed_and_not_taken_for_a_foreign_one(path: Path) -> None:
    document = parse_document(path.read_bytes(), hint=path.suffix, jsonc=path.suffix == ".json")
    assert detect(document) is not Shape.UNKNOWN


@given(JSON_VALUES)
def test_any_document_has_a_format_or_none(document: Any) -> None:
    found = format_of_document(document)
    assert found is None or found.name in {row.name for row in FORMATS} or found.name.startswith("a web page (")


@given(st.sampled_from([*(one for _, one in WRITTEN), *PAGES]), st.integers(0, 400), st.text(max_size=40))
def test_a_broken_text_is_data_or_gives_one_sentence(sample: str, place: int, inserted: str) -> None:
    said = refusal(sample[:place] + inserted + sample[place:], is_known=True)
    assert said == "" or said.startswith("a.file ")


def test_the_verbs_name_each_format_with_its_way(tmp_path: Path) -> None:
    """`validate` as a process, once for all samples."""
    places: dict[str, str] = {}
    for index, (name, sample) in enumerate([*FOREIGN, *WRITTEN]):
        path = tmp_path / f"{index}.{'txt' if isinstance(sample, str) else 'json'}"
        path.write_text(sample if isinstance(sample, str) else json.dumps(sample), encoding="utf-8", newline="")
        places[str(path)] = name
    line = [sys.executable, "-m", "utcp_bridge", "validate", *places]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Traceback" not in done.stdout + done.stderr
    said = [one for one in done.stdout.splitlines() if one.startswith("  error:")]
    assert done.returncode == 1, done.stderr
    assert len(said) == len(places)
    for line_said, name in zip(said, places.values(), strict=True):
        assert f" is {name}, not a UTCP manual, a configuration or an OpenAPI description. " in line_said
