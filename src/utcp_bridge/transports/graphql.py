"""graphql: queries and mutations over HTTP; the manual is the server's own schema, by introspection.

    v1  {"call_template_type": "graphql", "url": "https://api.example.com/graphql",
         "query": "query ($id: ID!) { user(id: $id) { name } }"}
    v0  {"provider_type": "graphql", "url": "https://api.example.com/graphql", "operation_type": "query"}

As a manual's template it makes one tool of each query and mutation field, with a real input schema and a selection of
its own. `schema_file` (SDL) takes the place of introspection where that is closed. Limit: `max_reply_bytes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import anyio
import orjson
from pydantic import BeforeValidator, Field

from utcp_bridge.errors import ConfigError, MalformedReply, ManualError, Rejected
from utcp_bridge.model import Call, CallTemplate, Document, Emit, JsonObject, Result, is_list, is_object
from utcp_bridge.transport import Target, Transport
from utcp_bridge.urls import bare_url
from utcp_bridge.wire.graphql_schema import Selection, root_tools
from utcp_bridge.wire.header_plan import HeaderPlan, compile_headers
from utcp_bridge.wire.reply import parse_json
from utcp_bridge.wire.request_parts import RequestParts
from utcp_bridge.wire.url_plan import UrlPlan, compile_url

__all__ = ["TRANSPORT", "GraphQlTemplate", "GraphQlTransport"]

_ACCEPT = ("Accept", "application/graphql-response+json, application/json")
_SENT = ("Content-Type", "application/json")
_CLOSED = "Introspection may be closed: give the schema by `schema_file`, or write the tools into a manual."


class GraphQlTemplate(CallTemplate):
    """Fields of UTCP's graphql templates, and ours; `field` is set for tools that discovery made."""

    url: str = Field(min_length=1, repr=False)
    operation_type: Literal["query", "mutation", "subscription"] | None = None
    operation_name: str | None = None
    query: str | None = None
    variable_types: Mapping[str, str] = Field(default_factory=dict[str, str])
    headers: Annotated[Mapping[str, Any], BeforeValidator(lambda value: value or {})] = Field(
        default_factory=dict[str, Any], repr=False
    )
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    schema_file: str | None = None
    selection_depth: int = Field(default=2, ge=1, le=8)
    field: str | None = None

    @cached_property
    def build_url(self) -> UrlPlan:
        """The compiled URL. Raises ConfigError."""
        return compile_url(self.url)

    @cached_property
    def build_headers(self) -> HeaderPlan:
        """The compiled headers. Raises ConfigError."""
        return compile_headers(self.headers, self.header_fields)

    @cached_property
    def document(self) -> tuple[str, frozenset[str] | None]:
        """The document, and the variables it declares; None: those of the call (UTCP's generated form)."""
        if self.query is None:
            return "", None
        import graphql

        try:
            parsed = graphql.parse(self.query)
        except graphql.GraphQLError as error:
            raise ConfigError(f"`query` is no GraphQL document: {error.message}") from None
        names = (
            variable.variable.name.value
            for definition in parsed.definitions
            if isinstance(definition, graphql.OperationDefinitionNode)
            for variable in definition.variable_definitions or ()
        )
        return self.query, frozenset(names)


class GraphQlTransport(Transport[GraphQlTemplate]):
    """Calls over HTTP POST; subscriptions are not served."""

    kinds: ClassVar[tuple[str, ...]] = ("graphql",)
    template = GraphQlTemplate
    braced_only: ClassVar[frozenset[str]] = frozenset({"query"})

    @classmethod
    def endpoint(cls, template: GraphQlTemplate) -> str | None:
        """The template's URL, placeholders included."""
        return template.url

    @classmethod
    def annotations(cls, template: GraphQlTemplate) -> Mapping[str, Any]:
        """Queries read; nothing is known of mutations."""
        if template.operation_type == "mutation" or (template.query or "").lstrip().startswith("mutation"):
            return {"openWorldHint": True}
        return {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": True}

    async def discover(self, target: Target[GraphQlTemplate]) -> Document:
        """Introspect, or read `schema_file`, and make a tool of each field."""
        import graphql

        template = target.template
        try:
            if template.schema_file is not None:
                schema: Any = graphql.build_schema(await self._schema_file(template))
            else:
                schema = graphql.build_client_schema(await self._introspect(target))
        except (graphql.GraphQLError, TypeError, KeyError) as error:
            raise ManualError(
                f"{bare_url(template.url)}: its schema cannot be used ({type(error).__name__})."
            ) from None
        bounds = Selection(depth=template.selection_depth)
        tools = root_tools(schema, operation_type=template.operation_type, field=template.operation_name, bounds=bounds)
        return Document({"tools": tools, "dialect": "graphql"}, generated=True)

    async def call(self, target: Target[GraphQlTemplate], call: Call, emit: Emit) -> Result:
        """Send the tool's operation; errors beside data are given with it."""
        del emit
        template = target.template
        arguments = {name: value for name, value in call.arguments.items() if name not in template.header_fields}
        document, declared = template.document
        if not document:
            document, declared = _call_by_name(template, call.tool.name, arguments), None
        variables = arguments if declared is None else {n: v for n, v in arguments.items() if n in declared}
        body: JsonObject = {"query": document, "variables": variables}
        if template.operation_name and template.query and not template.field:
            body["operationName"] = template.operation_name
        answer = await self._post(target, body, call.arguments, self.services.settings.max_reply_bytes)
        data, errors = answer.get("data"), answer.get("errors")
        field = template.field if template.field is not None or template.query else call.tool.name
        value = data.get(field) if is_object(data) and field is not None else data
        if not errors:
            return Result(value)
        if value is None:
            raise Rejected(f"{bare_url(template.url)} answered with errors.", status="graphql", detail=errors)
        return Result({"data": value, "errors": errors})

    async def _introspect(self, target: Target[GraphQlTemplate]) -> Any:
        import graphql

        body = {"query": graphql.get_introspection_query(descriptions=True)}
        answer = await self._post(target, body, {}, self.services.settings.max_manual_bytes)
        if not is_object(answer.get("data")):
            raise ManualError(f"{bare_url(target.template.url)} gave no schema.", remedy=_CLOSED)
        return answer["data"]

    async def _schema_file(self, template: GraphQlTemplate) -> str:
        try:
            return await anyio.Path(self.services.root / str(template.schema_file)).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"The file {template.schema_file!r} cannot be read.") from None

    async def _post(
        self, target: Target[GraphQlTemplate], body: JsonObject, arguments: JsonObject, limit: int
    ) -> JsonObject:
        """One exchange; an error status with a GraphQL body is read like any other answer."""
        template = target.template
        own = [
            pair
            for pair in template.build_headers.build(arguments)
            if pair[0].lower() not in {"content-type", "accept"}
        ]
        parts = RequestParts("POST", template.build_url.build(arguments), [*own, _SENT, _ACCEPT], orjson.dumps(body))
        session = self.services.http.session(target.source)
        reply = await session.request(parts, credentials=target.credentials, max_bytes=limit)
        try:
            answer = parse_json(reply.body, bare_url(template.url))
        except MalformedReply:
            reply.raise_for_status()
            raise
        if is_object(answer) and ("data" in answer or is_list(answer.get("errors"))):
            return answer
        reply.raise_for_status()
        raise MalformedReply(f"{bare_url(template.url)} answered JSON that is no GraphQL response.")


TRANSPORT = GraphQlTransport


def _call_by_name(template: GraphQlTemplate, field: str, arguments: JsonObject) -> str:
    """UTCP's own form for templates without a document: the field named like the tool, types from `variable_types`."""
    variables = ", ".join(f"${name}: {template.variable_types.get(name, 'String')}" for name in arguments)
    given = ", ".join(f"{name}: ${name}" for name in arguments)
    head = f"{template.operation_type or 'query'}({variables})" if variables else template.operation_type or "query"
    return f"{head} {{ {field}({given}) }}" if given else f"{head} {{ {field} }}"
