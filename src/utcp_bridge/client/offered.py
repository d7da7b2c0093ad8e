"""What the MCP servers and maps of a client offer, counted for reports, and what of it hosts do not get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from utcp_bridge.foreign import visible
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.upstream import Offers

if TYPE_CHECKING:
    from utcp_bridge.client.client import UtcpClient

__all__ = ["OfferReport", "offer_lines", "offered"]

_RELAYED: Final = ("completions", "logging", "tasks")
"""Capabilities that are named in reports, besides the lists that are counted."""
_KNOWN: Final = frozenset({"tools", "resources", "prompts", "extensions", *_RELAYED})
_EXTENSIONS: Final = frozenset({
    "io.modelcontextprotocol/skills", "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui",
})  # fmt: skip
"""Extensions whose messages reach hosts."""
_MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class OfferReport:
    """What one MCP server offers, or what one manual maps."""

    manual: str
    server: str
    """The name of the server in the manual; that of the manual for its maps."""
    version: str
    """The version of the protocol that the connection speaks."""
    tools: int
    resources: int
    templates: int
    prompts: int
    features: tuple[str, ...] = ()
    """`subscriptions`, `completions`, `logging`, `tasks`, and the names of extensions."""
    instructions: int = 0
    """Characters of its instructions."""
    lost: tuple[str, ...] = ()
    """What hosts do not get, in sentences."""

    def __str__(self) -> str:
        counts = (
            (self.tools, "tool"),
            (self.resources, "resource"),
            (self.templates, "resource template"),
            (self.prompts, "prompt"),
        )
        parts = [f"{number:,} {noun if number == 1 else f'{noun}s'}" for number, noun in counts if number]
        if self.instructions:
            parts.append(f"instructions of {self.instructions:,} characters")
        return ", ".join([*parts, *self.features]) or "nothing"

    @property
    def place(self) -> str:
        """The manual, and the server if a manual may have several."""
        return self.manual if self.server in {self.manual, "server"} else f"{self.manual}, MCP server {self.server!r}"

    @property
    def is_more_than_tools(self) -> bool:
        """Whether it offers something besides tools."""
        return bool(self.resources or self.templates or self.prompts or self.features or self.instructions)

    def as_json(self) -> JsonObject:
        """Return the report with the counts of each list and the number of characters of the instructions."""
        return {
            "manual": self.manual,
            "server": self.server,
            "protocol_version": self.version,
            "tools": self.tools,
            "resources": self.resources,
            "resource_templates": self.templates,
            "prompts": self.prompts,
            "features": list(self.features),
            "instructions": self.instructions,
            "not_relayed": list(self.lost),
        }


def offered(client: UtcpClient, manual: str | None = None) -> list[OfferReport]:
    """Return what each server offers that was read, in the order of the manuals; of one manual or of all."""
    counts: Counter[tuple[str, str]] = Counter()
    for tool in client.tools():
        server = tool.overlay.get("server") if tool.kind == "mcp" and tool.overlay else None
        counts[tool.manual, server if isinstance(server, str) else tool.manual] += 1
    return [
        _report(one.manual, one.name, offers, counts[one.manual, one.name])
        for one in client.upstreams()
        if (manual is None or one.manual == manual) and (offers := one.offers) is not None
    ]


def offer_lines(client: UtcpClient) -> list[str]:
    """Return what each server offers besides tools, and what of it hosts do not get, as sentences."""
    lines: list[str] = []
    for report in offered(client):
        if report.is_more_than_tools:
            lines.append(f"{report.place} offers {report}.")
        lines += [f"{report.place}: {what}" for what in report.lost]
    return [client.redactor(line) for line in lines]


def _report(manual: str, server: str, offers: Offers, tools: int) -> OfferReport:
    return OfferReport(
        manual=manual,
        server=server,
        version=offers.version,
        tools=tools,
        resources=len(offers.resources),
        templates=len(offers.resource_templates),
        prompts=len(offers.prompts),
        features=tuple(_features(offers.capabilities)),
        instructions=len(offers.instructions or ""),
        lost=tuple(_lost(offers.capabilities)),
    )


def _features(capabilities: JsonObject) -> Iterator[str]:
    resources = capabilities.get("resources")
    if is_object(resources) and resources.get("subscribe"):
        yield "subscriptions"
    yield from (name for name in _RELAYED if name in capabilities)
    yield from map(_name, _extensions(capabilities))


def _lost(capabilities: JsonObject) -> Iterator[str]:
    for name in _extensions(capabilities):
        if name not in _EXTENSIONS:
            yield f"The bridge does not relay the extension {_name(name)}."
    experimental = capabilities.get("experimental")
    for name in experimental if is_object(experimental) else ():
        yield f"The bridge does not relay the experimental feature {_name(name)}."
    for name in sorted(capabilities.keys() - _KNOWN - {"experimental"}):
        yield f"The bridge does not relay the capability {_name(name)}."


def _extensions(capabilities: JsonObject) -> JsonObject:
    extensions = capabilities.get("extensions")
    return extensions if is_object(extensions) else {}


def _name(name: Any) -> str:
    return visible(str(name))[:_MAX_NAME]
