"""Call templates: the base of their models, and what is compiled of one once, also the error if that fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict

from utcp_bridge.errors import ConfigError
from utcp_bridge.model import JsonObject

__all__ = ["CallTemplate", "compiled_property"]

T = TypeVar("T")
_FAILURES: Final = "_not_compiled"


class CallTemplate(BaseModel):
    """Base of the transports' templates: how to reach one tool or one manual.

    Transports subclass it. Unknown keys are dropped, with a warning of the registration. The repr shows only fields
    that hold no secret.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )

    name: str = ""
    call_template_type: str
    auth: JsonObject | None = None
    timeout: float | None = None
    """Seconds for one call; None for the bridge's default. The dialects convert milliseconds of v0."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.call_template_type} {self.name!r}>"

    __str__ = __repr__


CallTemplate.model_config["defer_build"] = False  # a base has no objects; a transport's own model is checked at once


def compiled_property(compile_it: Callable[[Any], T]) -> cached_property[T]:
    """Return a cached property that keeps its `ConfigError` too.

    A fetched template may take long to compile before it is refused. Each call would compile it again.
    """

    @wraps(compile_it)
    def compiled(template: Any) -> T:
        failures: dict[str, tuple[str, str | None]] = template.__dict__.setdefault(_FAILURES, {})
        failed = failures.get(compile_it.__name__)
        if failed is not None:
            raise ConfigError(failed[0], remedy=failed[1])
        try:
            return compile_it(template)
        except ConfigError as error:
            failures[compile_it.__name__] = error.message, error.remedy
            raise

    return cached_property(compiled)
