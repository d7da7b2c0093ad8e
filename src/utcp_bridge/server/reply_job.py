"""The job of a worker that reads large replies: from the bytes of a reply to the finished MCP result.

It runs the same functions as the server itself, so the result has the same bytes. What the result does not show comes
back compressed, to be kept. Kept results are read here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, field
from functools import lru_cache, partial
from typing import Any, Final

import orjson

from utcp_bridge.catalogue.fitting import Budget, Rest
from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.catalogue.render import Rendering, compact, render_result
from utcp_bridge.catalogue.schemas.conforming import Conformer
from utcp_bridge.errors import InternalError, MalformedReply, Rejected, ReplyTooLarge, UtcpError
from utcp_bridge.foreign import json_line
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, Result, has_steps
from utcp_bridge.pipeline.cleaning import clean_error_in_steps
from utcp_bridge.server.kept_results import KeptResult, page_of, resource_contents, selected
from utcp_bridge.server.replicas.place import ProcessPlace, new_ident
from utcp_bridge.tasks import at_once
from utcp_bridge.workers.failures import TOO_MUCH, stated_error
from utcp_bridge.workers.program import last_line, named

__all__ = ["ReplyJob"]

_OUT_OF_MEMORY: Final = "Not enough memory"
"""What orjson says of JSON that it gets no memory for."""
_REPORT: Final = "Ask for less, and report it."
_MAX_DETAIL: Final = 8_000
_MAX_DETAIL_BYTES: Final = 98_304


class ReplyJob:
    """Renders replies, and reads kept results."""

    def reply(self, request: JsonObject, data: bytes) -> Iterator[bytes]:
        """Yield the reply to one request."""
        try:
            yield from _STEPS[request["step"]](request, data)
        except UtcpError as error:
            is_short = _OUT_OF_MEMORY in error.message
            yield _error_line(ReplyTooLarge(TOO_MUCH, remedy="Ask for less.") if is_short else error)
        except (MemoryError, SystemError):  # a library of C that gets no memory may leave no error
            yield _error_line(ReplyTooLarge(TOO_MUCH, remedy="Ask for less."))
        except RecursionError:
            yield _error_line(MalformedReply("The reply is nested too deeply."))
        except Exception as error:  # noqa: BLE001 - the bridge logs it
            yield _error_line(InternalError(f"Reading a large reply failed ({type(error).__name__}).", remedy=_REPORT))


def _render(request: JsonObject, data: bytes) -> Iterator[bytes]:
    """Yield the MCP result of a reply, and what is kept of it."""
    value: Any = data
    for name, arguments in request["work"]:
        value = named(name)(value, **arguments)
        if has_steps(value):
            value = at_once(value)
        if isinstance(value, Result):  # it was cut while it was read
            request["truncated"], value = value.truncated or request["truncated"], value.value
    kept = _Kept(request["max_kept"], ProcessPlace(*request["place"]))
    result = Result(value, request["truncated"], request["meta"])
    written = _written(render_result(result, _rendering(request, kept)))
    del value, result
    about = [[handle, one.media_type, one.is_text, one.size, one.is_packed] for handle, one in kept.found.items()]
    pieces = [written, *(one.data for one in kept.found.values())]
    yield last_line({"kept": about, "sizes": [len(piece) for piece in pieces]})
    yield from pieces


def _page(request: JsonObject, data: bytes) -> Iterator[bytes]:
    """Yield a part of a kept result, for `read_result`."""
    part = selected(KeptResult("", data, **request["kept"]), request["selection"])
    yield last_line({"page": asdict(page_of(part, request["offset"], request["limit"]))})


def _contents(request: JsonObject, data: bytes) -> Iterator[bytes]:
    """Yield the contents of a kept result, for `resources/read`."""
    kept = KeptResult("", data, **request["kept"])
    written = _written(resource_contents(kept, request["handle"], request["offset"], request["limit"]))
    yield last_line({"sizes": [len(written)]})
    yield written


_STEPS: Final[dict[str, Callable[[JsonObject, bytes], Iterator[bytes]]]] = {
    "render": _render,
    "page": _page,
    "contents": _contents,
}


@dataclass(slots=True)
class _Kept:
    """What a result does not show, compressed and under new handles. Nothing above `most` bytes is kept."""

    most: int
    place: ProcessPlace
    """Where the bridge is that keeps it."""
    found: dict[str, KeptResult] = field(default_factory=dict[str, KeptResult])

    def __call__(self, value: Any) -> str | None:
        kept = KeptResult.of("", value).packed()
        if len(kept.data) > self.most:
            return None
        handle = new_ident(self.place)
        self.found[handle] = kept
        return handle


def _rendering(request: JsonObject, kept: _Kept) -> Rendering:
    given: JsonObject = dict(request["rendering"])
    budget: JsonObject = given.pop("budget")
    rest: JsonObject | None = budget.pop("rest")
    schema: JsonObject | None = given.pop("schema")
    return Rendering(
        budget=Budget(**budget, rest=None if rest is None else Rest(keep=kept, **rest)),
        conform=None if schema is None else _conformer(json.dumps(schema)),
        refuse_link=partial(refused_link, is_local=given.pop("is_local"), written=frozenset(given.pop("written"))),
        **given,
    )


@lru_cache(maxsize=16)
def _conformer(schema: str) -> Conformer:
    return Conformer(json.loads(schema))


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer above 64 bits, or half of a surrogate pair
        return json_line(json.dumps(value, separators=(",", ":")))


def _error_line(error: UtcpError) -> bytes:
    at_once(clean_error_in_steps(error))
    if isinstance(error, Rejected) and len(text := compact(error.detail)) > _MAX_DETAIL_BYTES:
        error.detail = text[:_MAX_DETAIL]
    return last_line({"error": stated_error(error, MalformedReply)})
