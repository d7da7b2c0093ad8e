"""The pages of the console, made from what the admin API returns. Jinja escapes every value."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.foreign import visible
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.telemetry.recent import slices

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ASSETS", "PARTS", "asset", "pictures", "render", "shown_result"]

PARTS: Final = {
    "replicas": "Replicas",
    "manuals": "Manuals",
    "tools": "Tools",
    "calls": "Calls",
    "approvals": "Approvals",
    "drift": "Changed tools",
    "hosts": "MCP hosts",
}
"""The sections of the page, by their ids. A bridge without others has no `replicas`."""
_HERE: Final = Path(__file__).parent
ASSETS: Final = {"console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8",
                 "icon.svg": "image/svg+xml"}  # fmt: skip
_STATES: Final = {
    "ready": "good", "failed": "bad", "degraded": "warn", "loading": "busy", "connecting": "busy", "lost": "warn",
    "needs login": "warn", "waiting": "quiet", "disabled": "quiet", "ok": "good", "approved": "good", "denied": "bad",
    "starting": "busy", "ending": "warn", "not ready": "busy", "away": "warn", "refused": "bad",
}  # fmt: skip
"""How each state looks. Its word is always shown too."""


_WIDTH: Final = 600
_HEIGHT: Final = 100


@lru_cache
def asset(name: str) -> bytes:
    """Return a script or a style sheet."""
    return (_HERE / "assets" / name).read_bytes()


@lru_cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = made.filters
    filters["tone"] = _tone
    filters["visible"] = visible  # invisible characters and those that turn the direction could forge a name
    filters["ticks"] = _with_code
    filters["pretty"] = _pretty
    filters["clock"] = _clock
    filters["seconds"] = _seconds
    filters["apart"] = _apart
    return made


def render(template: str, values: Mapping[str, Any]) -> bytes:
    """Return a page or a part of one as UTF-8.

    :raises ImportError: Jinja is not installed.
    """
    return _environment().get_template(template).render(**values).encode("utf-8", "replace")


def shown_result(result: JsonObject) -> JsonObject:
    """Return what a person sees of an MCP result: {failed, texts, structured}."""
    content = result.get("content")
    texts = [_shown_block(one) for one in content if is_object(one)] if is_list(content) else []
    structured = result.get("structuredContent")
    return {
        "failed": result.get("isError") is True,
        "texts": texts,
        "structured": None if structured is None else _pretty(structured),
    }


def pictures(calls: list[JsonObject], savings: Sequence[tuple[float, int]] = ()) -> JsonObject:
    """Return the bars of numbers and savings, and the lines of durations, over time, in a box of 600 by 100."""
    parts = slices(calls, savings)
    largest = max(one.saved for one in parts) or 1
    width = _WIDTH / len(parts)
    most = max((one.ok + one.failed for one in parts), default=0) or 1
    median, slow = ([one.share(part) for one in parts] for part in (0.5, 0.95))
    longest = max(slow) or 1.0
    return {
        "bars": [
            {
                "x": round(place * width + 1, 1),
                "width": round(width - 2, 1),
                "ok": round(one.ok / most * _HEIGHT, 1),
                "failed": round(one.failed / most * _HEIGHT, 1),
                "saved": round(one.saved / largest * _HEIGHT, 1),
            }
            for place, one in enumerate(parts)
        ],
        "most": most,
        "failed": sum(one.failed for one in parts),
        "number": sum(one.ok + one.failed for one in parts),
        "median": _line(median, longest, width),
        "slow": _line(slow, longest, width),
        "longest": longest if any(slow) else 0.0,
        "minutes": max(1, round((parts[1].begins - parts[0].begins) * len(parts) / 60)),
    }


def _line(values: list[float], longest: float, width: float) -> str:
    """Return the points of a line. A span without calls has no point."""
    points = [
        f"{(place + 0.5) * width:.1f},{_HEIGHT - value / longest * (_HEIGHT - 4):.1f}"
        for place, value in enumerate(values)
        if value
    ]
    return " ".join(points * 2 if len(points) == 1 else points)  # a line of one point is a dot


def _shown_block(block: JsonObject) -> str:
    text = block.get("text")
    if isinstance(text, str):
        return _pretty_text(text)
    data = block.get("data")
    if isinstance(data, str):
        return f"[{block.get('type')}, {block.get('mimeType', 'no type')}, {len(data) * 3 // 4:,} bytes]"
    return _pretty(block)


def _pretty_text(text: str) -> str:
    """Return JSON with indents; any other text as it is."""
    if not text.startswith(("{", "[")):
        return text
    try:
        return _pretty(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _with_code(text: str) -> Any:
    """Return a text with its parts in backticks as code, as markup. Every part is escaped."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick that nothing closes
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if place % 2 else escape(part) for place, part in enumerate(parts))


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _tone(state: str) -> str:
    return _STATES.get(state, "bad")


def _apart(manual: JsonObject) -> list[JsonObject]:
    """Return the other bridges in which a manual is in another state, or in the same for another cause."""

    def look(one: JsonObject) -> Any:
        causes = [(server["name"], server["state"], server["cause"]) for server in one["servers"]]
        return one["state"], one["error"] and one["error"]["cause"], causes

    return [one for one in manual.get("replicas", ()) if not one["is_seen"] and look(one) != look(manual)]


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def _seconds(value: float) -> str:
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
