"""Which tools of a manual may be promoted: what a comparison and the counts of a shadow say of each (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utcp_bridge.doctor.comparison import Comparison
from utcp_bridge.model import JsonObject, Tool
from utcp_bridge.pipeline.differences import own_tools, paired_tools

__all__ = ["Verdict", "verdicts"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one tool, by its name in the old manual."""

    tool: str
    new: str = ""
    """The UTCP name of the tool that is to replace it; empty if the new side does not have it."""
    reason: str = ""
    """Why it is not known to be the same, as a sentence that names it; empty if it is."""
    remedy: str = ""

    @property
    def is_same(self) -> bool:
        """Whether replies were compared, and nothing that matters to calls differs without an explanation."""
        return not self.reason


def verdicts(every: Iterable[Tool], comparison: Comparison, counts: Mapping[str, JsonObject]) -> dict[str, Verdict]:
    """Return the verdict on each tool of the old manual, by its own name.

    `every` are the tools of both manuals, and `counts` what the shadow has recorded (`shadowing.read_record`).
    """
    every = list(every)
    old, new = own_tools(every, comparison.old), own_tools(every, comparison.new)
    pairs = paired_tools(old, new)
    return {
        name: _verdict(name, new[pairs[name]], comparison, counts.get(tool.qualified_name, {}))
        if name in pairs
        else Verdict(name, reason=f"{name} is not promoted, because {comparison.new} has no such tool.")
        for name, tool in old.items()
    }


def _verdict(name: str, new: Tool, comparison: Comparison, counted: JsonObject) -> Verdict:
    counts = counted if counted.get("new") == new.qualified_name else {}
    wrong = [
        f"{counts[key]} {'call' if counts[key] == 1 else 'calls'} {what}"
        for key, what in (("different", "with another reply"), ("new_failed", "that failed on the new side"))
        if counts.get(key)
    ]
    differences = comparison.of_calls(name)
    if differences:
        more = f" {len(differences) - 1} more." if len(differences) > 1 else ""
        reason = f"{name} is not promoted, because the sides differ. {differences[0]}{more}"
        remedy = f"`utcp-bridge compare {comparison.old} {comparison.new}` shows all differences."
    elif wrong:
        reason = f"{name} is not promoted, because the shadow counted {' and '.join(wrong)}."
        remedy = "`utcp-bridge shadow` shows them. If the new side is mended, delete utcp-shadow.json to count anew."
    elif not counts.get("equal") and not any(one.tool == name and one.outcome == "equal" for one in comparison.calls):
        failed = next((one.note for one in comparison.calls if one.tool == name), "")
        reason = f"{name} is not promoted, because no reply was compared. {failed}".strip()
        remedy = f"Compare one with --call '{name} {{…}}', or let it be shadowed for a while."
    else:
        return Verdict(name, new.qualified_name)
    return Verdict(name, new.qualified_name, reason, remedy)
