"""Run the vectors against one implementation, judge what arrived, and report it as matrix, JSON and tables."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import anyio.abc

from utcp_bridge.conformance.adapters import SHIPPED, Adapter, AdapterFailed
from utcp_bridge.conformance.recording import Recording, recording
from utcp_bridge.conformance.vectors import Divergence, Topic, Vector
from utcp_bridge.errors import ConfigError, MissingExtra, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.processes.children import ChildrenHold

__all__ = [
    "HEADER",
    "Implementation",
    "Outcome",
    "Verdict",
    "as_json",
    "compare_requests",
    "is_conforming",
    "matrix",
    "outdated",
    "run",
    "same",
    "shortened",
    "tables",
]

Verdict = Literal["passes", "differs", "diverges", "unsupported"]
_START_SECONDS: Final = 60.0
_MAX_FLIGHT: Final = 2.0
"""Seconds that a datagram may take to arrive, for vectors whose call does not wait for a reply."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """What an adapter says of its implementation. `supports` has the kinds of transports by generation."""

    name: str
    version: str
    supports: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one vector went. `differences` has a line for each difference, with what was expected and what arrived."""

    vector: Vector
    verdict: Verdict
    differences: tuple[str, ...] = ()


@dataclass(slots=True)
class _Testing:
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    seconds: float
    group: anyio.abc.TaskGroup
    adapter: Adapter | None = None
    implementation: Implementation = field(default_factory=lambda: Implementation("", "", {}))
    """Known once the adapter has started."""

    async def started(self) -> Adapter:
        """Return the running adapter; start it if the one before has ended."""
        if self.adapter is None:
            self.adapter = await Adapter.start(self.command, self.environment, self.group)
            try:
                with anyio.fail_after(_START_SECONDS):
                    hello = await self.adapter.ask(op="hello")
            except TimeoutError:
                raise AdapterFailed(f"The adapter did not reply to `hello` within {_START_SECONDS:g} s.") from None
            self.implementation = _implementation(hello)
        return self.adapter

    async def stop(self) -> None:
        """End the adapter; the next vector starts a new one."""
        adapter, self.adapter = self.adapter, None
        if adapter is not None:
            with anyio.CancelScope(shield=True):
                await adapter.end()


def _implementation(hello: JsonObject) -> Implementation:
    supports = hello.get("supports")
    if not (isinstance(hello.get("name"), str) and is_object(supports) and all(map(is_list, supports.values()))):
        raise ConfigError(
            "The adapter's reply to `hello` must have `name`, `version` and `supports`.",
            remedy="See `utcp-bridge help conformance`.",
        )
    return Implementation(hello["name"], str(hello.get("version", "")), supports)


async def run(
    command: Sequence[str],
    chosen: Sequence[Topic],
    *,
    environment: Mapping[str, str],
    seconds: float = 20.0,
) -> tuple[Implementation, list[Outcome]]:
    """Run every vector of the topics against the adapter that `command` starts.

    `environment` is the adapter's environment, and `seconds` the limit of one vector. An adapter that ends or is
    silent costs its vector, and a new one is started for the next.

    :raises AdapterFailed: the adapter does not start, or does not reply to `hello`.
    :raises ConfigError: its reply to `hello` cannot be used.
    """
    implementation, outcomes = Implementation("", "", {}), list[Outcome]()
    failure: UtcpError | None = None
    loopback = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    children = ChildrenHold()
    async with anyio.create_task_group() as group:
        one = _Testing(command, {**environment, **loopback}, seconds, group)
        try:
            await one.started()
            outcomes = [await _outcome(one, vector) for topic in chosen for vector in topic.vectors]
        except UtcpError as error:  # the group would wrap it
            failure = error
        finally:
            async with children.ending():
                await one.stop()
        implementation = one.implementation
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return implementation, outcomes


async def _outcome(one: _Testing, vector: Vector) -> Outcome:
    implementation = one.implementation
    if vector.support not in implementation.supports.get(vector.generation, ()):
        return Outcome(vector, "unsupported")
    try:
        with anyio.fail_after(one.seconds):
            differences = await _differences(await one.started(), vector)
    except TimeoutError:
        differences = [f"no reply within {one.seconds:g} s"]
        await one.stop()
    except AdapterFailed as error:
        differences = [error.message]
        await one.stop()
    except MissingExtra as error:
        return Outcome(vector, "unsupported", (f"the recording server cannot run here: {error.message}",))
    if differences is None:
        return Outcome(vector, "unsupported")
    if not differences:
        return Outcome(vector, "passes")
    return Outcome(vector, "diverges" if _is_declared(vector, implementation) else "differs", tuple(differences))


def _is_declared(vector: Vector, implementation: Implementation) -> bool:
    """Return whether a difference is known: named for the implementation, or disputed and the implementation is new."""
    if implementation.name not in SHIPPED:
        return bool(vector.divergences)
    return any(implementation.name in one.known for one in vector.divergences)


async def _differences(adapter: Adapter, vector: Vector) -> list[str] | None:
    """Return how the implementation differs; None if its adapter says that it does not support this."""
    async with _folder() as folder, recording(vector, folder) as record:
        loaded = await adapter.ask(
            op="load",
            generation="v0" if vector.generation == "v0" else "v1",
            configuration=record.filled(vector.configuration),
            variables=record.filled(vector.data.get("variables", {})),
            environment=record.filled(vector.data.get("environment", {})),
            folder=str(folder),
        )
        if "unsupported" in loaded:
            return None
        reply = loaded if "error" in loaded else await adapter.ask(op="list")
        names = reply.get("ok", [])
        differences = list[str]()
        if "lists" in vector.data and not same(sorted(vector.data["lists"]), sorted(names)):
            shown = shortened(reply if "error" in reply else sorted(names))
            differences.append(f"tools: expected {shortened(sorted(vector.data['lists']))}; listed {shown}")
        if vector.tool_name is not None and "error" not in reply:
            if vector.tool_name in names:
                reply = await adapter.ask(op="call", tool=vector.tool_name, arguments=record.filled(vector.arguments))
                if "unsupported" in reply:
                    return None
            else:
                reply = {"error": {"class": "other", "message": f"the tool is not listed; listed {shortened(names)}"}}
        if vector.kind == "udp" and "request" in vector.data:
            with anyio.move_on_after(_MAX_FLIGHT):
                await record.has_request.wait()
        return [*differences, *_judged(vector, record, reply)]


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    with tempfile.TemporaryDirectory(prefix="utcp-conformance-", ignore_cleanup_errors=True) as folder:
        yield Path(os.path.realpath(folder))  # noqa: ASYNC240 - once for each vector


def _judged(vector: Vector, record: Recording, reply: JsonObject) -> list[str]:
    data = vector.data
    if (wanted := data.get("error")) is not None:
        differences = _judged_error(wanted, reply)
    elif "error" in reply:
        return [f"error: {shortened(reply['error'])}"]
    else:
        differences = list[str]()
        if "result" in data and not same(expected := record.filled(data["result"]), reply.get("ok")):
            differences.append(f"result: expected {shortened(expected)}; arrived {shortened(reply.get('ok'))}")
    wanted_requests = data.get("requests", [data["request"]] if "request" in data else None)
    if wanted_requests is not None:
        differences = [*compare_requests(record.filled(wanted_requests), record.arrived()), *differences]
    if "asked" in data:
        differences = [*compare_requests([record.filled(data["asked"])], record.discovery[:1]), *differences]
    return differences


def _judged_error(wanted: str, reply: JsonObject) -> list[str]:
    error: Any = reply.get("error")
    if error is None:
        return [f"result: expected an error ({wanted}); arrived {shortened(reply.get('ok'))}"]
    found = error.get("class", "other") if is_object(error) else "other"
    return [] if wanted == "any" or found in {wanted, "other"} else [f"error: expected {wanted}; arrived {found}"]


_MAX_SHOWN = 300


def same(expected: Any, arrived: Any) -> bool:
    """Return whether two JSON values are equal. 1 equals 1.0, and true does not equal 1."""
    if isinstance(expected, bool) or isinstance(arrived, bool):
        return expected is arrived
    if is_object(expected) and is_object(arrived):
        return expected.keys() == arrived.keys() and all(same(one, arrived[key]) for key, one in expected.items())
    if is_list(expected) and is_list(arrived):
        return len(expected) == len(arrived) and all(map(same, expected, arrived))
    return bool(expected == arrived)


def compare_requests(expected: Sequence[JsonObject], arrived: Sequence[JsonObject]) -> list[str]:
    """Return a line for each difference between the requests that a vector expects and those that were recorded.

    An expected request names only what it is about: of headers, cookies and variables of the environment those that it
    has, where null means that it must be absent; of everything else the whole.
    """
    if len(expected) != len(arrived):
        seen = ", ".join(_summary(one) for one in arrived) or "nothing"
        wanted = ", ".join(_summary(one) for one in expected) or "nothing"
        return [f"expected {wanted}; arrived {seen}"]
    return [line for one, other in zip(expected, arrived, strict=True) for line in _compare(one, other)]


def _compare(expected: JsonObject, arrived: JsonObject) -> list[str]:
    lines: list[str] = []
    for key, value in expected.items():
        found = arrived.get(key)
        if key in {"headers", "environment", "metadata", "cookies"}:
            lines += _compare_members(key, value, found if is_object(found) else {})
        elif key == "frames":
            lines += _compare_frames(value, found if is_list(found) else [])
        elif not same(value, found):
            seen = found if key in arrived else arrived.get("text", arrived.get("base64"))
            lines.append(f"{key}: expected {shortened(value)}; arrived {shortened(seen)}")
    return lines


def _compare_members(kind: str, expected: Mapping[str, Any], arrived: Mapping[str, Any]) -> list[str]:
    by_name = {name.casefold(): value for name, value in arrived.items()} if kind == "headers" else arrived
    lines: list[str] = []
    for name, value in expected.items():
        found = by_name.get(name.casefold() if kind == "headers" else name)
        if not same(value, found):
            lines.append(f"{kind}, {name}: expected {shortened(value)}; arrived {shortened(found)}")
    return lines


def _compare_frames(expected: list[Any], arrived: list[Any]) -> list[str]:
    if len(expected) != len(arrived):
        return [f"frames: expected {shortened(expected)}; arrived {shortened(arrived)}"]
    return [line for one, other in zip(expected, arrived, strict=True) for line in _compare(one, other)]


def _summary(request: JsonObject) -> str:
    keys = ("method", "path", "tool", "field", "argv", "text")
    return " ".join(shortened(request[key]) for key in keys if key in request) or "one request"


def shortened(value: Any) -> str:
    """Return a value as a line of a report shows it."""
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


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
        "vectors": [_outcome_json(one) for one in outcomes],
    }


def _outcome_json(one: Outcome) -> JsonObject:
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
        and any(name in one.known and not one.by_chance for one in ones[0].vector.divergences)
    ]
