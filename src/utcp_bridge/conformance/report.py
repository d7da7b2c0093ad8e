"""The report of a run: the matrix, the differences, and the same as JSON and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from utcp_bridge.conformance.running import Implementation, Outcome
from utcp_bridge.conformance.vectors import Topic
from utcp_bridge.model import JsonObject

__all__ = ["HEADER", "as_json", "cell", "is_conforming", "matrix", "page"]

HEADER: Final = ("TOPIC", "VECTORS", "PASSES", "DIFFERS", "DECLARED", "NOT SUPPORTED")


def is_conforming(outcomes: Iterable[Outcome]) -> bool:
    """Return whether every difference is declared."""
    return all(one.verdict != "differs" for one in outcomes)


def matrix(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return one row for each topic, and a last one with the sums."""
    by_topic: dict[str, Counter[str]] = {}
    for one in outcomes:
        by_topic.setdefault(one.vector.topic, Counter())[one.verdict] += 1
    total: Counter[str] = Counter(one.verdict for one in outcomes)
    return [_row(name, counts) for name, counts in [*by_topic.items(), ("all", total)]]


def _row(name: str, counts: Counter[str]) -> tuple[str, ...]:
    verdicts = ("passes", "differs", "diverges", "unsupported")
    return (name, str(counts.total()), *(str(counts[verdict]) for verdict in verdicts))


def as_json(implementation: Implementation, outcomes: Sequence[Outcome]) -> JsonObject:
    """Return the results of one implementation."""
    return {
        "name": implementation.name,
        "version": implementation.version,
        "conforms": is_conforming(outcomes),
        "counts": dict(Counter(one.verdict for one in outcomes)),
        "vectors": [
            {"id": one.vector.id, "verdict": one.verdict, **({"differences": list(one.differences)} if one.differences else {})}
            for one in outcomes
        ],
    }


def cell(verdicts: Sequence[str]) -> str:
    """Return a topic's cell in the published matrix: `passed/tried`, or a dash if the kind is not supported."""
    tried = [verdict for verdict in verdicts if verdict != "unsupported"]
    return f"{tried.count('passes')}/{len(tried)}" if tried else "–"


def page(chosen: Sequence[Topic], results: Sequence[JsonObject]) -> str:
    """Return the tables of docs/conformance.md: the matrix, and each vector on which implementations differ."""
    verdicts = {result["name"]: {one["id"]: one["verdict"] for one in result["vectors"]} for result in results}
    titles = [f"{result['name']} {result['version']}" for result in results]
    lines = [f"| Topic | Vectors | {' | '.join(titles)} |", f"| --- | ---: |{' ---: |' * len(results)}"]
    for topic in chosen:
        cells = [cell([verdicts[result["name"]][one.id] for one in topic.vectors]) for result in results]
        lines.append(f"| {topic.title} ({_generation(topic)}) | {len(topic.vectors)} | {' | '.join(cells)} |")
    everything = [one.id for topic in chosen for one in topic.vectors]
    sums = [cell([verdicts[result["name"]][one] for one in everything]) for result in results]
    lines += [f"| **All** | **{len(everything)}** | {' | '.join(f'**{one}**' for one in sums)} |", ""]
    return "\n".join([*lines, *_differences(chosen, verdicts)])


def _generation(topic: Topic) -> str:
    return topic.name.rpartition("(")[2].removesuffix(")")


def _differences(chosen: Sequence[Topic], verdicts: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = ["| Vector | What it expects, and by which section | Who differs | utcp-bridge |", "| --- | --- | --- | --- |"]
    for vector in (vector for topic in chosen for vector in topic.vectors):
        differing = [name for name, by_id in verdicts.items() if by_id[vector.id] in {"differs", "diverges"}]
        if not differing:
            continue
        found = vector.divergence
        known = found.known if found is not None else {}
        who = "<br>".join(f"{name}: {known.get(name, 'differs')}" for name in differing)
        right = found.right if found is not None else vector.source
        lines.append(f"| `{vector.id}` | {vector.title} {right} | {who} | {found.ours if found is not None else ''} |")
    return lines
