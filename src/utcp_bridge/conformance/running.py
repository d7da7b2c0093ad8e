"""Run the vectors against one implementation, one after another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import anyio
import anyio.abc

from utcp_bridge.conformance.adapters import SHIPPED, Adapter, AdapterFailed
from utcp_bridge.conformance.judging import compare_requests, same, shortened
from utcp_bridge.conformance.recording import Recording, recording
from utcp_bridge.conformance.vectors import Topic, Vector
from utcp_bridge.errors import ConfigError, MissingExtra, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object

__all__ = ["Implementation", "Outcome", "Verdict", "run"]

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
    environment: Mapping[str, str]
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
    async with anyio.create_task_group() as group:
        one = _Testing(command, {**environment, **loopback}, seconds, group)
        try:
            await one.started()
            outcomes = [await _outcome(one, vector) for topic in chosen for vector in topic.vectors]
        except UtcpError as error:  # the group would wrap it
            failure = error
        finally:
            await one.stop()
        implementation = one.implementation
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return implementation, outcomes


async def _outcome(one: _Testing, vector: Vector) -> Outcome:
    implementation = one.implementation
    if vector.kind not in implementation.supports.get(vector.generation, ()):
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
    except MissingExtra:
        return Outcome(vector, "unsupported", ("the recording server needs the extra grpc",))
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
