"""Which tools `tools/list` shows to which client: the operator's choice, and what hosts are known to do with a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from utcp_bridge.model import matches_glob
from utcp_bridge.settings import Exposure, ExposureLimits, ExposureSettings

__all__ = ["DEFERRING_HOSTS", "ListedPart", "exposure_for", "listed_part_for"]

DEFERRING_HOSTS: Final[Mapping[str, ExposureLimits]] = {
    # Claude Code shows its model the names only, and loads a definition when the model searches for it.
    "claude-code*": ExposureLimits.model_construct(tools=500, tokens=500_000),
}
"""Glob for the client's name → how much `auto` lists to a host that searches the list itself."""


class ListedPart(NamedTuple):
    """What a list contains: an exposure, and the limits of `auto`."""

    exposure: Exposure
    limits: ExposureLimits


def exposure_for(settings: ExposureSettings, client: str | None) -> Exposure:
    """Return the exposure for a client of this name: the first match of `exposure_by_client`, else `exposure`."""
    if client is not None:
        for pattern, exposure in settings.exposure_by_client.items():
            if matches_glob(pattern, client):
                return exposure
    return settings.exposure


def listed_part_for(settings: ExposureSettings, client: str | None) -> ListedPart:
    """Return what is listed to a client of this name. Limits that the operator sets are those of every client."""
    exposure, limits = exposure_for(settings, client), settings.exposure_limits
    if exposure == "auto" and client is not None and "exposure_limits" not in settings.model_fields_set:
        limits = next((known for glob, known in DEFERRING_HOSTS.items() if matches_glob(glob, client)), limits)
    return ListedPart(exposure, limits)
