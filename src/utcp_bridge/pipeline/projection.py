"""Projections: the part of a result that an operator keeps, by a JMESPath expression (jmespath.org)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from utcp_bridge.errors import ConfigError, MalformedReply

__all__ = ["compile_projection"]


@cache
def compile_projection(expression: str) -> Callable[[Any], Any]:
    """What turns a JSON-shaped value into the part that `expression` names; raises MalformedReply where it cannot.

    :raises ConfigError: it is no JMESPath expression.
    """
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        compiled: Any = jmespath.compile(expression)
    except JMESPathError as error:
        first = str(error).splitlines()[0].rstrip(":.")
        raise ConfigError(f"`result` is no JMESPath expression: {first}.", remedy="See jmespath.org.") from None

    def project(value: Any) -> Any:
        try:
            return compiled.search(value)
        except JMESPathError as error:
            raise MalformedReply(f"The projection {expression!r} does not fit the result: {error}.") from None

    return project
