"""The call template that http, sse and streamable_http share: one URL, and where arguments go in its request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from utcp_bridge.errors import ConfigError, InvalidArguments
from utcp_bridge.model import CallTemplate, JsonObject
from utcp_bridge.net.request import RequestParts
from utcp_bridge.placement.openapi_plan import BuildRequest, compile_plan, read_plan
from utcp_bridge.placement.utcp_placement import PlacementSpec, compile_placement
from utcp_bridge.urls import bare_url

__all__ = ["HttpFamilyTemplate", "verb_annotations"]

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "POST", "PUT", "PATCH", "DELETE"})

_NULL_IS_EMPTY = BeforeValidator(lambda value: {} if value is None else value)
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"})
_READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})
_DESTRUCTIVE = frozenset({"PUT", "DELETE"})
_DOCUMENT_TYPES = "application/json, application/yaml, text/yaml, */*;q=0.5"


class HttpFamilyTemplate(CallTemplate):
    """Fields of UTCP's http, sse and streamable_http templates, and the extended dialect's.

    What the fields mean is in `wire/arguments.py`. Compiled on first use and then kept.
    """

    url: str = Field(min_length=1, repr=False)
    http_method: str = Field(default="GET", validation_alias=AliasChoices("http_method", "method"))
    content_type: str = "application/json"
    headers: Annotated[Mapping[str, Any], _NULL_IS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    body_field: str | None = None
    header_fields: Annotated[tuple[str, ...], BeforeValidator(lambda value: value or ())] = ()
    query_params: Mapping[str, Any] | None = Field(default=None, repr=False)
    body_template: Any = Field(default=None, repr=False, validation_alias=AliasChoices("body_template", "body"))
    cookies: Annotated[Mapping[str, Any], _NULL_IS_EMPTY] = Field(default_factory=dict[str, Any], repr=False)
    request_plan: JsonObject | None = Field(default=None, repr=False)
    """Placement by an OpenAPI description; the converter writes it and it replaces the other fields."""
    auth_tools: JsonObject | None = Field(default=None, repr=False)
    verify_ssl: bool = True

    @field_validator("http_method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        if (upper := method.upper()) not in METHODS:
            raise ValueError(f"must be one of {', '.join(sorted(METHODS))}")
        return upper

    @model_validator(mode="after")
    def _one_body(self) -> HttpFamilyTemplate:
        if self.body_template is not None and self.body_field and "body_field" in self.model_fields_set:
            raise ValueError("`body_field` and `body_template` exclude each other; keep one of them")
        return self

    @cached_property
    def build_request(self) -> BuildRequest:
        """What turns arguments into this template's request. Raises ConfigError."""
        if self.request_plan is not None:
            return compile_plan(read_plan(self.request_plan), self.url, self.http_method)
        return compile_placement(self._spec()).build

    def discovery_request(self) -> RequestParts:
        """The request that fetches the manual: method, headers and fixed query, no arguments.

        :raises ConfigError: the URL or a header needs an argument.
        """
        try:
            return compile_placement(self._spec(accept=_DOCUMENT_TYPES)).build({})
        except InvalidArguments as error:
            raise ConfigError(
                f"The address of a manual, {bare_url(self.url)}, may not hold a placeholder.",
                remedy="Write the address in full; ${VARIABLES} may be used.",
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


def verb_annotations(method: str) -> dict[str, bool]:
    """MCP hints that an HTTP method promises (RFC 9110, section 9.2); POST and PATCH promise nothing."""
    hints = {"openWorldHint": True}
    if method in _READ_ONLY:
        hints["readOnlyHint"] = True
    if method in _DESTRUCTIVE:
        hints["destructiveHint"] = True
    if method in _IDEMPOTENT:
        hints["idempotentHint"] = True
    return hints
