"""Programs that the tools of local manuals start: only the entry of a manual can allow them.

A file or a text counts as written by the operator, and so do its addresses and its hints. But many files are downloads,
so this does not extend to commands and to MCP servers over stdio.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from utcp_bridge.errors import PolicyError
from utcp_bridge.model import CallTemplate, JsonObject, Source, Trust, is_list
from utcp_bridge.transport import Transport

__all__ = ["check_program"]


def check_program(
    transport: type[Transport[Any]],
    template: CallTemplate | None,
    entry: JsonObject,
    source: Source,
    kinds: Iterable[str] = (),
) -> None:
    """Refuse a program that a local manual would start without the word of its entry.

    An entry that starts programs itself allows its own kind. `template` is None if it cannot be read yet, `kinds` are
    those of the manual's tools, for the remedy.

    :raises PolicyError: the tool starts a program, and the entry does not allow that.
    """
    if source.trust is not Trust.OPERATOR or source.trusted:
        return
    if transport.implicit and (template is None or not transport.starts_program(template)):
        return
    listed = entry.get("allowed_communication_protocols")
    if not {entry.get("call_template_type"), *(listed if is_list(listed) else ())}.isdisjoint(transport.kinds):
        return
    listing = ", ".join(f'"{one}"' for one in sorted({transport.kinds[0], *kinds}))
    raise PolicyError(
        "It runs a program on this machine. A local manual may do that only if its entry says so.",
        remedy=f'If you trust it, add "allowed_communication_protocols": [{listing}] to its entry in a configuration.',
    )
