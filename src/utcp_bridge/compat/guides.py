"""Names at the top of `utcp`: those of 0.x, and those of UTCP's guides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from utcp_bridge.client.sync import UTCPClient
from utcp_bridge.compat import v0
from utcp_bridge.convert import openapi_to_utcp
from utcp_bridge.registry.client import UTCPRegistry

__all__ = ["NAMES"]


class _GuideNames(Mapping[str, Any]):
    """The names; the toolkit for LangChain only where LangChain is installed."""

    def __init__(self) -> None:
        own = {"UTCPClient": UTCPClient, "UTCPRegistry": UTCPRegistry, "openapi_to_utcp": openapi_to_utcp}
        self._names = {**v0.NAMES, **own}

    def __getitem__(self, name: str) -> Any:
        if name == "UTCPToolkit":
            from utcp_bridge.adapters.langchain import UTCPToolkit

            return UTCPToolkit
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._names, "UTCPToolkit"))

    def __len__(self) -> int:
        return len(self._names) + 1

    def __contains__(self, name: object) -> bool:
        return name == "UTCPToolkit" or name in self._names


NAMES: Final[Mapping[str, Any]] = _GuideNames()
"""What `from utcp import …` finds."""
