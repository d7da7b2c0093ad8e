"""The call template of http, sse and streamable_http, and where arguments go in its request (pure).

The order is UTCP's: `headers`, then `header_fields`, then `body_field`, then `{name}` in the URL; the other arguments
are the query. The extended forms (`query_params`, `body_template`, `cookies`, `{{name}}` anywhere) do not change a
template that omits them:

* an argument that a template names goes nowhere else;
* `query_params` is the whole query, and the other arguments are dropped;
* `body_template` is the whole body, and the other arguments are dropped, except for GET, where they are the query;
* `body_field: "*"` sends the other arguments as the body.

A value that the template fixes wins: no argument adds another value to a name in the URL's query, to a constant of
`query_params`, to a fixed cookie, or to a constant field of a form.

`compile_placement` runs once for each template, `Placement.build` for each call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.placement.compiling import CallTemplate, compiled_property
from utcp_bridge.placement.encoding import encode_query
from utcp_bridge.placement.headers import SYNTAXES, HeaderPlan, compile_headers, without_doubles
from utcp_bridge.placement.placeholders import OMITTED, Context, Template, compile_template
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.placement.url import UrlPlan, compile_url
from utcp_bridge.urls import bare_url, query_name

if TYPE_CHECKING:
    from utcp_bridge.placement.body import BodyWriter, EncodedBody
    from utcp_bridge.placement.openapi_plan import BuildRequest

__all__ = ["HttpFamilyTemplate", "Placement", "PlacementSpec", "compile_placement", "verb_annotations"]

_logger = logging.getLogger(__name__)

WHOLE_REST: Final = "*"
"""As `body_field`: every argument that nothing else uses."""


@dataclass(frozen=True, slots=True)
class PlacementSpec:
    """The fields of a call template that decide where arguments go, under UTCP's names."""

    url: str = field(repr=False)
    method: str = "GET"
    content_type: str = "application/json"
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    header_fields: tuple[str, ...] = ()
    body_field: str | None = None
    query_params: Mapping[str, Any] | None = field(default=None, repr=False)
    body_template: Any = field(default=None, repr=False)
    cookies: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    accept: str = "application/json, */*;q=0.8"


@dataclass(frozen=True, slots=True)
class _Body:
    """The body: an argument by name, a template, or all arguments that have no other place."""

    write: BodyWriter
    """Writes the member `argument` of an object."""
    argument: str
    template: Template | None = field(default=None, repr=False)
    is_argument: bool = False
    """Whether it is an argument by name."""

    def encoded(self, arguments: JsonObject, rest: JsonObject) -> EncodedBody | None:
        """Return the body, or None if the request has no body."""
        if self.template is not None:
            value = self.template.render(arguments, context=Context.JSON)
        elif self.argument == WHOLE_REST:
            value = rest or None
        else:
            value = arguments.get(self.argument)
        return None if value is None or value is OMITTED else self.write({self.argument: value})


@dataclass(frozen=True, slots=True)
class Placement:
    """A compiled template; its repr shows none of its fields, which may contain secrets."""

    method: str
    url: UrlPlan = field(repr=False)
    headers: HeaderPlan = field(repr=False)
    query: Template | None = field(repr=False)
    body: _Body | None = field(repr=False)
    rest_in_query: bool
    used: frozenset[str]
    """Arguments that a header, the URL, the query template or the body contains."""
    has_plain_query: bool = False
    """Whether the query is all that has no other place."""

    def build(self, arguments: JsonObject) -> RequestParts:
        """Return the request for these arguments.

        :raises InvalidArguments: a path argument is missing, or a value does not fit its place.
        """
        headers = self.headers.fixed_lines or self.headers.build(arguments)
        used, body = self.used, self.body
        rest = arguments
        if not used.isdisjoint(arguments):
            rest = {name: value for name, value in arguments.items() if name not in used}
        content: bytes | None = None
        # the body is one of `used`, if it is an argument
        if body is not None and (rest is not arguments or not body.is_argument):
            encoded = body.encoded(arguments, rest)
            if encoded is not None:
                content = encoded.content
                headers = [*headers, ("Content-Type", encoded.content_type)]
        query = encode_query(rest.items()) if self.has_plain_query else self._query(arguments, rest)
        return RequestParts(self.method, self.url.build(arguments, query), headers, content)

    def _query(self, arguments: JsonObject, rest: JsonObject) -> str:
        if self.query is not None:
            return encode_query(self.query.render(arguments, context=Context.QUERY).items())
        if not rest:
            return ""
        if self.rest_in_query:
            fixed = self.url.fixed
            return encode_query(
                [(name, value) for name, value in rest.items() if query_name(name) not in fixed]
                if fixed
                else rest.items()
            )
        if self.body is None or self.body.argument != WHOLE_REST:
            _logger.debug("%d arguments were dropped because the call template does not name them.", len(rest))
        return ""


def compile_placement(spec: PlacementSpec) -> Placement:
    """Compile a template's placement.

    :raises ConfigError: the URL, a header name or a `{{…}}` expression cannot be used, or both `body_field` and
        `body_template` are given.
    """
    if spec.body_template is not None and spec.body_field:
        raise ConfigError("A template has both `body_field` and `body_template`.", remedy="Keep one of them.")
    url = compile_url(spec.url)
    headers = compile_headers(spec.headers, spec.header_fields, spec.cookies, accept=spec.accept)
    query = None
    if spec.query_params is not None:
        query = _template(without_doubles(spec.query_params, url.fixed), "`query_params`")
    body = _compile_body(spec, headers.content_type or spec.content_type)
    plain_rest = query is None and (spec.body_template is None or spec.method == "GET")
    rest_in_query = plain_rest and spec.body_field != WHOLE_REST
    return Placement(
        method=spec.method,
        url=url,
        headers=headers,
        query=query,
        body=body,
        rest_in_query=rest_in_query,
        used=url.used | headers.used | _names(query) | _body_names(body),
        has_plain_query=rest_in_query and not url.fixed,
    )


def _compile_body(spec: PlacementSpec, content_type: str) -> _Body | None:
    argument = "body" if spec.body_template is not None else spec.body_field
    if not argument:
        return None
    from utcp_bridge.placement.body import compile_body, media_kind  # most GETs have no body
    from utcp_bridge.placement.plan_models import BodyPlan

    template = None
    if spec.body_template is not None:
        fields = spec.body_template
        if is_object(fields) and media_kind(content_type) in {"form", "multipart"}:
            fields = without_doubles(fields)
        template = _template(fields, "`body_template`")
    write = compile_body(
        BodyPlan(media_type=content_type, argument=argument), is_written=template is not None and template.is_json_text
    )
    return _Body(write, argument, template, is_argument=template is None and argument != WHOLE_REST)


def _template(value: Any, where: str) -> Template:
    return compile_template(value, syntaxes=SYNTAXES, where=where)


def _names(template: Template | None) -> frozenset[str]:
    return frozenset() if template is None else template.names


def _body_names(body: _Body | None) -> frozenset[str]:
    if body is None or body.argument == WHOLE_REST:
        return frozenset()
    return frozenset({body.argument}) if body.template is None else body.template.names


METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "POST", "PUT", "PATCH", "DELETE"})

_TOKEN = late_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_NULL_IS_EMPTY = BeforeValidator(lambda value: {} if value is None else value)
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"})
_READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DESTRUCTIVE = frozenset({"PUT", "DELETE"})
_DOCUMENT_TYPES = "application/json, application/yaml, text/yaml, */*;q=0.5"


class HttpFamilyTemplate(CallTemplate):
    """Fields of UTCP's http, sse and streamable_http templates, and those of the extended dialect.

    The template is compiled on first use. The module's docstring says what the fields mean.
    """

    model_config = ConfigDict(defer_build=True)

    url: str = Field(min_length=1, repr=False)
    request_plan: JsonObject | None = Field(default=None, repr=False)
    """Placement by OpenAPI's rules; the OpenAPI converter writes it. It replaces the other placement fields, except for
    `headers`, which are sent besides."""
    http_method: str = Field(default="GET", validation_alias=AliasChoices("http_method", "method"))
    content_type: str = "application/json"
    headers: Annotated[Mapping[str, Any], _NULL_IS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    body_field: str | None = None
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    query_params: Mapping[str, Any] | None = Field(default=None, repr=False)
    body_template: Any = Field(default=None, repr=False, validation_alias=AliasChoices("body_template", "body"))
    cookies: Annotated[Mapping[str, Any], _NULL_IS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    verify_ssl: bool = True

    @field_validator("http_method")
    @classmethod
    def _known_method(cls, method: str, info: ValidationInfo) -> str:
        """OpenAPI 3.2 describes operations with other methods, too. Anywhere else they are a slip."""
        if (upper := method.upper()) in METHODS:
            return upper
        if info.data.get("request_plan") is None or _TOKEN.fullmatch(method) is None or upper == "CONNECT":
            raise ValueError(f"must be one of {', '.join(sorted(METHODS))}")
        return upper

    @model_validator(mode="after")
    def _one_body(self) -> HttpFamilyTemplate:
        if self.body_template is not None and self.body_field and "body_field" in self.model_fields_set:
            raise ValueError("`body_field` and `body_template` cannot be combined; keep one of them")
        return self

    @compiled_property
    def build_request(self) -> BuildRequest:
        """Return the function from arguments to a request.

        :raises ConfigError: the template cannot be compiled.
        """
        if self.request_plan is not None:
            from utcp_bridge.placement.openapi_plan import compile_plan, read_plan  # for OpenAPI's tools only

            own = compile_headers(self.headers) if self.headers else None
            return compile_plan(read_plan(self.request_plan), self.url, self.http_method, own)
        return compile_placement(self._spec()).build

    def bodiless(self, names: frozenset[str]) -> list[str]:
        """Return which of these arguments go into the query of a method that usually has a body, and now has none.

        :raises ConfigError: the template cannot be compiled.
        """
        if self.request_plan is not None or self.http_method not in _WITH_BODY:
            return []
        placement = compile_placement(self._spec())
        body = placement.body
        if body is not None and (body.template is not None or body.argument in names):
            return []
        return sorted(names - placement.used) if placement.rest_in_query else []

    def discovery_request(self) -> RequestParts:
        """Return the request that fetches the manual: method, headers and fixed query, no arguments.

        :raises ConfigError: the URL or a header needs an argument.
        """
        try:
            return compile_placement(self._spec(accept=_DOCUMENT_TYPES)).build({})
        except InvalidArguments as error:
            raise ConfigError(
                f"The address of a manual, {bare_url(self.url)}, must not contain a placeholder.",
                remedy="Write the address in full. It may contain variables such as ${HOST}.",
            ) from error

    def _spec(self, **changes: Any) -> PlacementSpec:
        return PlacementSpec(
            url=self.url,
            method=self.http_method,
            content_type=self.content_type,
            headers=self.headers,
            header_fields=self.header_fields,
            body_field=None if self.body_template is not None else self.body_field,
            query_params=self.query_params,
            body_template=self.body_template,
            cookies=self.cookies,
            **changes,
        )


HttpFamilyTemplate.model_config["defer_build"] = False  # as for its own base


def verb_annotations(method: str) -> dict[str, bool]:
    """Return the MCP hints that follow from an HTTP method (RFC 9110, section 9.2); none for POST and PATCH."""
    hints = {"openWorldHint": True}
    if method in _READ_ONLY:
        hints["readOnlyHint"] = True
    if method in _DESTRUCTIVE:
        hints["destructiveHint"] = True
    if method in _IDEMPOTENT:
        hints["idempotentHint"] = True
    return hints
