"""The one table of the formats of others: what each is called, its signs, and what to do instead (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["FORMATS", "GRAPHQL_ENTRY", "ForeignFormat", "Wanted"]

Wanted: TypeAlias = type | str
"""What a member must be: of a type, or a text or number that a regular expression matches."""


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """A format of others. `name` has its article; `way` is the sentence that says what to do."""

    name: str
    way: str
    members: Mapping[str, Wanted] = field(default_factory=dict[str, Wanted])
    """Paths of members, with dots (`*`: the first object of a list, `?`: that of an object, `/`: that
    under a key that starts so), and what each is."""
    start: str = ""
    """A regular expression for the beginning of the text, behind comments and blanks."""
    root: tuple[str, str] = ("", "")
    """The name of the XML root without its prefix, and a part of a namespace that is in the text."""


_OPENAPI: Final = "and use the OpenAPI document that comes out."
_REQUESTS: Final = "Export the requests as OpenAPI, or write a manual with a tool for each: `utcp-bridge help manuals`."
_SOAP: Final = (
    "The bridge has no SOAP transport. Use an OpenAPI description of the service, or of a gateway in front of it."
)
GRAPHQL_ENTRY: Final = (
    "Add a `graphql` entry with the service's address, which makes the tools: "
    '{"call_template_type": "graphql", "url": …}.'
)
_GRAPHQL: Final = f"{GRAPHQL_ENTRY} If the service allows no introspection, name this file in its `schema_file`."
_GRPC_ENTRY: Final = (
    'Add a `grpc` entry with the service\'s address: {"call_template_type": "grpc", "host": …, "port": …}.'
)
_CONVERT: Final = "Make a manual of it with `utcp-bridge convert SOURCE -o manual.json`, and use that."
_MCP: Final = (
    "Give the server itself: `utcp-bridge add URL` for one of its `remotes`, or `utcp-bridge add 'COMMAND'` for one of "
    "its `packages`, such as 'npx -y PACKAGE'."
)
_BUNDLE: Final = (
    "Give the server in the bundle: `utcp-bridge add 'COMMAND'` with the `command` and the `args` of its `mcp_config`."
)
_FUNCTIONS: Final = (
    "It says what the functions are, not where calls go. Write a manual: give each tool `inputs` and a "
    "`tool_call_template`."
)
_DESCRIBED: Final = "Use the OpenAPI document that it belongs to."
_NOT_AN_API: Final = "Name the API's OpenAPI description, a UTCP manual or a configuration of the bridge."
_ODATA: Final = "Convert it to OpenAPI, for example with odata-openapi, " + _OPENAPI
_ARCHIVE: Final = "Unpack it, and name a JSON or YAML file in it."

FORMATS: Final[tuple[ForeignFormat, ...]] = (
    # --- descriptions of APIs, as text -----------------------------------------------------------
    ForeignFormat(
        "a RAML 0.8 description",
        f"Convert it to RAML 1.0 or directly to OpenAPI, {_OPENAPI}",
        start=r"#%RAML[ \t]+0\.8\b",
    ),
    ForeignFormat(
        "a RAML description",
        f"Convert it to OpenAPI, for example with webapi-parser (AMF), {_OPENAPI}",
        start=r"#%RAML\b",
    ),
    ForeignFormat(
        "an API Blueprint",
        f"Convert it to OpenAPI, for example with apib2swagger, {_OPENAPI}",
        start=r"FORMAT:[ \t]*1[AB]",
    ),
    ForeignFormat(
        "a TypeSpec file",
        f"Compile it with `tsp compile` and the emitter @typespec/openapi3, {_OPENAPI}",
        start=r"import\s+[\"'](?:@typespec|@azure-tools)/|using\s+(?:TypeSpec|Http|Rest|OpenAPI)\b[\w.]*\s*;|@service\b",
    ),
    ForeignFormat(
        "a Smithy model",
        f"Build it with the `openapi` plugin of smithy-build, {_OPENAPI}",
        start=r"\$version:\s*\"[\d.]+\"\s+(?:\$|//|metadata\b|namespace\b)|namespace\s+[\w.]+\s+(?:use|service|@)",
    ),
    ForeignFormat(
        "a Protocol Buffers file (.proto)",
        f"{_GRPC_ENTRY} Name this file in its `proto_files`.",
        start=r"(?:syntax|edition)\s*=\s*[\"']|import\s+(?:public\s+|weak\s+)?\"[^\"\n]*\.proto\""
        r"|package\s+[\w.]+\s*;(?=[\s\S]{0,9999}?\b(?:message|service)\s+\w+\s*\{)|option\s+[\w.()]+\s*="
        r"|(?:message|service)\s+\w+\s*\{",
    ),
    ForeignFormat(
        "a Protocol Buffers descriptor set",
        f"{_GRPC_ENTRY} Name this file in its `descriptor_set`.",
        start=r"\n[\s\S]{1,4}\n[\s\S][\w./-]{1,200}\.proto",
    ),
    ForeignFormat(
        "a GraphQL schema (SDL)",
        _GRAPHQL,
        start=r"(?:extend\s+)?(?:schema\s*[@{]|(?:type|interface|input|enum|union|scalar)\s+[A-Za-z_]\w*\s*"
        r"(?:[{@=&\n]|implements\b|\Z)|directive\s*@)",
    ),
    ForeignFormat(
        "a GraphQL operation",
        GRAPHQL_ENTRY,
        start=r"(?:query|mutation|subscription|fragment)\s+[A-Za-z_]\w*\s*(?:[({@]|on\b)",
    ),
    # --- descriptions of APIs, as XML ------------------------------------------------------------
    ForeignFormat("a WSDL 1.1 description (SOAP)", _SOAP, root=("definitions", "schemas.xmlsoap.org/wsdl")),
    ForeignFormat("a WSDL 2.0 description (SOAP)", _SOAP, root=("description", "www.w3.org/ns/wsdl")),
    ForeignFormat("a WADL description", f"Convert it to OpenAPI, {_OPENAPI}", root=("application", "wadl")),
    ForeignFormat("an OData $metadata document (XML)", _ODATA, root=("Edmx", "edmx")),
    ForeignFormat("an OData service document (XML)", _ODATA, root=("service", "www.w3.org/2007/app")),
    ForeignFormat("a SOAP message", _SOAP, root=("Envelope", "soap")),
    ForeignFormat("an XML schema", _NOT_AN_API, root=("schema", "XMLSchema")),
    ForeignFormat("an XML document", _NOT_AN_API, root=("*", "")),
    # --- descriptions of APIs, as data -----------------------------------------------------------
    ForeignFormat("an AsyncAPI 2 description", _CONVERT, {"asyncapi": r"[12]\."}),
    ForeignFormat("an AsyncAPI 3 description", _CONVERT, {"asyncapi": r"3\."}),
    ForeignFormat("an AsyncAPI description", _CONVERT, {"asyncapi": object}),
    ForeignFormat(
        "a Swagger 1 resource listing",
        "Make a manual of it and its API declarations with `utcp-bridge convert`, and use that.",
        {"swaggerVersion": r"1\.", "apis": list, "basePath": type(None)},
    ),
    ForeignFormat("a Swagger 1 API declaration", _CONVERT, {"swaggerVersion": r"1\."}),
    ForeignFormat(
        "a Google API Discovery document",
        _CONVERT,
        {"kind": r"discovery#restDescription"},
    ),
    ForeignFormat(
        "a list of Google API Discovery documents",
        "Fetch the document at a `discoveryRestUrl` of it, and make a manual of that with `utcp-bridge convert`.",
        {"kind": r"discovery#directoryList"},
    ),
    ForeignFormat("an OData $metadata document (JSON)", _ODATA, {"$Version": r"4", "$EntityContainer": str}),
    ForeignFormat("an OData $metadata document (JSON)", _ODATA, {"$Version": r"4"}),
    ForeignFormat("an OData reply", "Use the service's $metadata. " + _ODATA, {"@odata.context": str}),
    ForeignFormat(
        "an OpenRPC description",
        "Write a manual with an `http` tool for each method, which posts the request: `utcp-bridge help manuals`.",
        {"openrpc": object},
    ),
    ForeignFormat("an Arazzo description of workflows", "Use the OpenAPI documents in its `sourceDescriptions`.",
                  {"arazzo": object}),
    ForeignFormat("an OpenAPI overlay", "Apply it to its document, and use the result.", {"overlay": object}),
    ForeignFormat(
        "a Smithy model (JSON)",
        f"Build it with the `openapi` plugin of smithy-build, {_OPENAPI}",
        {"smithy": object, "shapes": dict},
    ),
    ForeignFormat("an API Blueprint", f"Convert it to OpenAPI, {_OPENAPI}", {"FORMAT": r"1[AB]"}),
    ForeignFormat("a RAML description", f"Convert it to OpenAPI, {_OPENAPI}", {"title": str, "/": dict}),
    # --- GraphQL, gRPC ---------------------------------------------------------------------------
    ForeignFormat("the reply to a GraphQL introspection", _GRAPHQL, {"data.__schema": dict}),
    ForeignFormat("the reply to a GraphQL introspection", _GRAPHQL, {"__schema": dict}),
    ForeignFormat(
        "a Protocol Buffers descriptor set (JSON)",
        f"{_GRPC_ENTRY} Name the .proto files in its `proto_files`, or the binary set in its `descriptor_set`.",
        {"file.*.name": r".*\.proto"},
    ),
    *(
        ForeignFormat(
            "a reply of gRPC server reflection",
            f"{_GRPC_ENTRY} The bridge asks the server itself.",
            {key: dict},
        )
        for key in ("listServicesResponse", "fileDescriptorResponse", "list_services_response",
                    "file_descriptor_response")
    ),
    # --- collections of requests -----------------------------------------------------------------
    ForeignFormat("a Postman collection 2", _CONVERT, {"info": dict, "item": list}),
    ForeignFormat("a Postman collection 2", _CONVERT, {"collection.info": dict, "collection.item": list}),
    ForeignFormat(
        "a Postman collection 1",
        "Convert it to version 2.1 with postman-collection-transformer, and that with `utcp-bridge convert`.",
        {"requests": list, "order": list},
    ),
    ForeignFormat(
        "a Postman environment",
        "It has values only. Name the OpenAPI description, and set the values as variables of the bridge.",
        {"values": list, "_postman_variable_scope": str},
    ),
    ForeignFormat(
        "a Postman environment",
        "It has values only. Name the OpenAPI description, and set the values as variables of the bridge.",
        {"values.*.key": str, "values.*.enabled": bool},
    ),
    ForeignFormat("an Insomnia export", _REQUESTS, {"_type": "export", "resources": list}),
    ForeignFormat("an Insomnia 5 collection", _REQUESTS, {"type": r".*\.insomnia\.rest/"}),
    ForeignFormat("a HAR file with recorded requests", _REQUESTS, {"log.entries": list}),
    # --- MCP, and the tool lists of models -------------------------------------------------------
    ForeignFormat(
        "the JSON-RPC reply of an MCP server to tools/list",
        "Save its `result` alone, or give the server itself: `utcp-bridge add URL`.",
        {"jsonrpc": str, "result.tools": list},
    ),
    ForeignFormat("the server.json of an MCP server", _MCP, {"name": str, "packages.*.identifier": str}),
    ForeignFormat("the server.json of an MCP server", _MCP, {"name": str, "packages.*.registry_name": str}),
    ForeignFormat("the server.json of an MCP server", _MCP, {"name": str, "remotes.*.url": str}),
    ForeignFormat(
        "the server.json of an MCP server", _MCP, {"$schema": r"https://[\w.]*modelcontextprotocol\.io/.*server"}
    ),
    ForeignFormat("the server.json of an MCP server", _MCP, {"server.packages": list}),
    ForeignFormat("the server.json of an MCP server", _MCP, {"server.remotes": list}),
    ForeignFormat(
        "a page of the MCP registry", f"Take one of its servers. {_MCP}", {"servers": list, "metadata": dict}
    ),
    ForeignFormat(
        "the manifest of an MCP bundle (.mcpb)",
        _BUNDLE,
        {"server.entry_point": str},
    ),
    ForeignFormat(
        "the manifest of an MCP bundle (.mcpb)",
        _BUNDLE,
        {"server.mcp_config": dict},
    ),
    ForeignFormat("a list of functions for a model", _FUNCTIONS, {"tools.*.type": "function"}),
    ForeignFormat("a list of functions for a model", _FUNCTIONS, {"*.type": "function"}),
    ForeignFormat("a function for a model", _FUNCTIONS, {"type": "function"}),
    ForeignFormat("a list of functions for a model", _FUNCTIONS, {"functions.*.name": str}),
    ForeignFormat("a list of functions for a model", _FUNCTIONS, {"*.functionDeclarations": list}),
    ForeignFormat("a list of tools for a model", _FUNCTIONS, {"*.toolSpec": dict}),
    ForeignFormat("an object that LangChain saved", _FUNCTIONS, {"lc": r"\d", "id": list}),
    ForeignFormat("a list of objects that LangChain saved", _FUNCTIONS, {"*.lc": r"\d", "*.id": list}),
    # --- files of other programs -----------------------------------------------------------------
    ForeignFormat("a kubeconfig file", _NOT_AN_API, {"kind": "Config$", "clusters": list}),
    ForeignFormat("a Kubernetes manifest", _NOT_AN_API, {"apiVersion": str, "kind": str}),
    ForeignFormat("a Docker Compose file", _NOT_AN_API, {"services.?.image": str}),
    ForeignFormat("a Docker Compose file", _NOT_AN_API, {"services.?.build": object}),
    ForeignFormat("a lock file of npm", _NOT_AN_API, {"lockfileVersion": r"\d"}),
    *(
        ForeignFormat("a package.json", _NOT_AN_API, {"name": str, key: wanted})
        for key, wanted in (("dependencies", dict), ("devDependencies", dict), ("scripts", dict), ("main", str))
    ),
    ForeignFormat("a pyproject.toml", _NOT_AN_API, {"build-system": dict}),
    ForeignFormat("a pyproject.toml", _NOT_AN_API, {"project.name": str}),
    ForeignFormat("a tsconfig.json", _NOT_AN_API, {"compilerOptions": dict}),
    ForeignFormat("an action of GitHub Actions", _NOT_AN_API, {"runs.using": str}),
    ForeignFormat("a CloudFormation template", _NOT_AN_API, {"AWSTemplateFormatVersion": object}),
    ForeignFormat("an Azure deployment template", _NOT_AN_API, {"$schema": r".*/deploymentTemplate\.json"}),
    ForeignFormat("a workflow of GitHub Actions", _NOT_AN_API, {"on": object, "jobs": dict}),
    ForeignFormat("a JSON Schema", _DESCRIBED, {"$schema": r"https?://json-schema\.org/"}),
    ForeignFormat("a JSON Schema", _DESCRIBED, {"type": "object$", "properties": dict}),
    ForeignFormat("a JSON Schema", _DESCRIBED, {"$defs": dict}),
    ForeignFormat("a JSON Schema", _DESCRIBED, {"definitions": dict}),
    # --- archives and other binary files ---------------------------------------------------------
    ForeignFormat("a ZIP archive, such as an MCP bundle (.mcpb)",
                  "Unpack it. An MCP bundle names its server in manifest.json: `utcp-bridge add 'COMMAND'` adds it.",
                  start=r"PK\x03\x04"),
    ForeignFormat("a gzip file", _ARCHIVE, start=r"\x1f\x8b"),
    ForeignFormat("a PDF file", _NOT_AN_API, start=r"%PDF-"),
)  # fmt: skip
"""Where two rows fit, the first counts."""
