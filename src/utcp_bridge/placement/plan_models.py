"""The request plan as data: how a tool's arguments become one HTTP request (OpenAPI's placement rules).

A plan is plain JSON inside a tool's call template under `request_plan`, so that a converted manual can be written to
a file and read back. Its texts are literal: `$` in a name is a dollar sign, not a variable.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from utcp_bridge.model import JsonObject

__all__ = ["BodyPlan", "ParameterPlan", "PropertyPlan", "RequestPlan"]


class _PlanModel(BaseModel):
    model_config = ConfigDict(
        frozen=True, defer_build=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )


class ParameterPlan(_PlanModel):
    """One parameter. `argument` is its key in the call's arguments, `name` its name in the request."""

    argument: str
    name: str
    location: Literal["path", "query", "header", "cookie", "querystring"] = Field(alias="in")
    style: str = "simple"
    """`simple`, `label`, `matrix`, `form`, `deepObject`, `cookie` or a key of `openapi_styles.DELIMITERS`."""
    explode: bool = False
    allow_reserved: bool = False
    content_type: str | None = None
    """Set for parameters with `content`: the value is written in this media type, and `style` is ignored."""
    required: bool = False


class PropertyPlan(_PlanModel):
    """How one property of a form or multipart body is written; without a style, its media type decides."""

    style: str | None = None
    explode: bool = True
    allow_reserved: bool = False
    content_type: str | None = None
    binary: bool = False
    """The property is a file: the argument is base64, or `{content, filename, media_type}`."""


class BodyPlan(_PlanModel):
    """The request body. `members` are arguments that are its properties; without them, `argument` is the whole body."""

    media_type: str
    argument: str = "body"
    members: tuple[str, ...] | None = None
    required: bool = False
    read_only: tuple[str, ...] = ()
    """Properties of the object that a caller reads and sends back, which are not sent (`pipeline.validation`)."""
    read_only_within: tuple[tuple[str | None, ...], ...] = ()
    """Such members inside of arguments: names from the argument inwards; None is each item or value."""
    empty_object: bool = False
    """A required whole body that is missing is sent as `{}`."""
    binary: bool = False
    """The whole body is bytes: the argument is base64."""
    encoding: dict[str, PropertyPlan] = {}


class RequestPlan(_PlanModel):
    """Every parameter and the body.

    `defaults` are used for missing arguments. `headers` are sent with each request unless a parameter of the same name
    is given.
    """

    parameters: tuple[ParameterPlan, ...] = Field(default=(), repr=False)
    body: BodyPlan | None = Field(default=None, repr=False)
    defaults: JsonObject = Field(default={}, repr=False)
    headers: dict[str, str] = Field(default={}, repr=False)
