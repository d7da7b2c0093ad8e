"""What is compiled of a call template once: also the error of one that cannot be compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Final, TypeVar

from utcp_bridge.errors import ConfigError

__all__ = ["compiled_property"]

T = TypeVar("T")
_FAILURES: Final = "_not_compiled"


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
