"""The report of a run: the matrix, the differences, and the same as JSON and as tables of a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from utcp_bridge.conformance.running import Implementation, Outcome
from utcp_bridge.conformance.vectors import Divergence, Topic
from utcp_bridge.model import JsonObject

__all__ = ["HEADER", "as_json", "is_conforming", "matrix", "outdated", "tables"]

HEADER: Final = ("TOPIC", "VECTORS", "PASSES", "DIFFERS", "DECLARED", "NOT SUPPORTED")
_VERDICTS: Final = ("passes", "differs", "diverges", "unsupported")
_Verdicts = Mapping[str, Mapping[str, str]]
"""By implementation and by id of a vector."""


def is_conforming(outcomes: Iterable[Outcome]) -> bool:
    """Return whether every difference is declared."""
    return all(one.verdict != "differs" for one in outcomes)


def matrix(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return one row for each topic, and a last one with the sums."""
    by_topic: dict[str, Counter[str]] = {}
    for one in outcomes:
        by_topic.setdefault(one.vector.topic, Counter())[one.verdict] += 1
    total = Counter[str](one.verdict for one in outcomes)
    return [_row(name, counts) for name, counts in [*by_topic.items(), ("all", total)]]


def _row(name: str, counts: Counter[str]) -> tuple[str, ...]:
    return (name, str(counts.total()), *(str(counts[verdict]) for verdict in _VERDICTS))


def as_json(implementation: Implementation, outcomes: Sequence[Outcome]) -> JsonObject:
    """Return the results of one implementation."""
    counts = Counter(one.verdict for one in outcomes)
    return {
        "name": implementation.name,
        "version": implementation.version,
        "conforms": is_conforming(outcomes),
        "counts": {verdict: counts[verdict] for verdict in _VERDICTS},
        "vectors": [_outcome(one) for one in outcomes],
    }


def _outcome(one: Outcome) -> JsonObject:
    found: JsonObject = {"id": one.vector.id, "verdict": one.verdict}
    return {**found, "differences": list(one.differences)} if one.differences else found


# --- tables ----------------------------------------------------------------------------------------


def tables(found: Sequence[Topic], results: Sequence[JsonObject]) -> str:
    """Return the tables of docs/conformance.md: the matrix, the divergences, and what is not declared.

    `results` has what `as_json` returned for each implementation, over all topics.
    """
    verdicts = {result["name"]: {one["id"]: one["verdict"] for one in result["vectors"]} for result in results}
    parts = ["## Results", "", *_matrix_lines(found, results, verdicts), "", "## Divergences", ""]
    parts += _divergence_lines(found, verdicts)
    undeclared = [
        f"- {name}: `{identity}`"
        for name, by_id in verdicts.items()
        for identity, verdict in by_id.items()
        if verdict == "differs"
    ]
    return "\n".join([*parts, *(["", "## Not declared", "", *undeclared] if undeclared else [])])


def _matrix_lines(found: Sequence[Topic], results: Sequence[JsonObject], verdicts: _Verdicts) -> list[str]:
    titles = [f"{result['name']}<br>{result['version']}" for result in results]
    lines = [f"| Topic | Vectors | {' | '.join(titles)} |", f"| --- | ---: |{' ---: |' * len(titles)}"]
    for topic in found:
        ids = [one.id for one in topic.vectors]
        cells = " | ".join(_cell(by_id, ids) for by_id in verdicts.values())
        lines.append(f"| {topic.title} ({topic.generation}) | {len(ids)} | {cells} |")
    everything = [one.id for topic in found for one in topic.vectors]
    sums = " | ".join(f"**{_cell(by_id, everything)}**" for by_id in verdicts.values())
    return [*lines, f"| **All** | **{len(everything)}** | {sums} |"]


def _cell(verdicts: Mapping[str, str], ids: Sequence[str]) -> str:
    """Return `passed/tried`, or a dash if the implementation supports none of the vectors."""
    tried = [verdict for one in ids if (verdict := verdicts[one]) != "unsupported"]
    return f"{tried.count('passes')}/{len(tried)}" if tried else "-"


def _divergence_lines(found: Sequence[Topic], verdicts: _Verdicts) -> list[str]:
    lines = ["| Vectors | What is right, and why | Who differs | What utcp-bridge does |", "| --- | --- | --- | --- |"]
    for topic, divergence in _divergences(found):
        names = ", ".join(f"`{topic}/{name}`" for name in divergence.vectors)
        differing = {name: text for name, text in divergence.known.items() if name in verdicts}
        who = "<br>".join(f"{name}: {text}" for name, text in differing.items())
        lines.append(f"| {names} | {divergence.right} | {who} | {divergence.ours} |")
    return lines


def _divergences(found: Sequence[Topic]) -> Iterable[tuple[str, Divergence]]:
    """Return each divergence once, with the file that has it."""
    seen: set[tuple[str, tuple[str, ...], str]] = set()
    for vector in (vector for topic in found for vector in topic.vectors):
        file = vector.id.partition("/")[0]
        for one in vector.divergences:
            if (key := (file, one.vectors, one.right)) not in seen:
                seen.add(key)
                yield file, one


def outdated(outcomes: Sequence[Outcome], name: str) -> list[str]:
    """Return the ids of vectors that pass although a divergence says that the implementation `name` differs."""
    by_name: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if one.verdict != "unsupported":
            by_name.setdefault(one.vector.id.partition("@")[0], []).append(one)
    return [
        identity
        for identity, ones in by_name.items()
        if all(one.verdict == "passes" for one in ones)
        and any(name in divergence.known for divergence in ones[0].vector.divergences)
    ]
