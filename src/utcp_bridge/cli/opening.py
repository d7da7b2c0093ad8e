"""Open a client as the options say: configuration, logging, sample tools; wait for the manuals."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from utcp_bridge.cli.logs import audit_sink, configure_logging, log_file, unblocked_stderr
from utcp_bridge.cli.options import Options
from utcp_bridge.cli.output import complain, note, width, without_sequences
from utcp_bridge.model import JsonObject, first_few, is_object

if TYPE_CHECKING:
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.manuals.registration import ManualState
    from utcp_bridge.net.guard import Guard
    from utcp_bridge.pipeline.ruling import RulingPort
    from utcp_bridge.settings import BridgeSettings, UtcpClientConfig

__all__ = [
    "env_file_lines",
    "load",
    "load_for_server",
    "open_loaded",
    "opened",
    "opened_for",
    "opened_parts",
    "report_failures",
    "rules_of",
    "run_async",
    "show_progress",
    "wait_for_manuals",
]

T = TypeVar("T")
_TICK_SECONDS: Final = 0.1
_DEFAULT_COLUMNS: Final = 80  # of a terminal that does not report its width
_ERASE_LINE: Final = "\r\x1b[2K"


def run_async(work: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run a coroutine function to its end, on uvloop if that is installed."""
    from utcp_bridge.late.libraries import import_anyio

    import_anyio()
    import anyio

    _leave_out_missing_parts()
    return anyio.run(work, *arguments, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def _leave_out_missing_parts() -> None:
    """Go on without parts of OpenTelemetry that a variable names and that are not installed."""
    if any(name.startswith("OTEL_P") for name in os.environ):  # noqa: TID251 - of OpenTelemetry
        from utcp_bridge.telemetry.exporting import leave_out_missing

        for sentence in leave_out_missing(os.environ):  # noqa: TID251 - OpenTelemetry reads it
            complain(sentence)


@asynccontextmanager
async def opened(
    options: Options, *, only: str | None = None, alone: bool = False, quiet: bool = True
) -> AsyncGenerator[UtcpClient]:
    """Return a client whose manuals are loading. Report each fault of the configuration in one line on stderr.

    `only` is a tool's name: if it begins with the name of a manual, no other manual is loaded. With
    `alone`, that manual loads no other tool either (`Extensions.only`), unless the log shows the faults of all. With
    `quiet`, the log contains only errors, unless the operator sets `log_level`: the verbs that use it report failures
    themselves.

    :raises ConfigError: the configuration is missing, or cannot be read.
    """
    async with AsyncExitStack() as stack:
        _, client = await opened_parts(options, stack, only=only, alone=alone, quiet=quiet)
        yield client


async def opened_parts(
    options: Options,
    stack: AsyncExitStack,
    *,
    only: str | None = None,
    alone: bool = False,
    quiet: bool = True,
    reports: bool = True,
) -> tuple[LoadedConfig, UtcpClient]:
    """Return the configuration and what `opened` yields; `stack` closes it. `reports` is as in `open_loaded`.

    :raises ConfigError: the configuration is missing, or cannot be read.
    """
    loaded = await load_for_server(options, stack)
    if only is not None:
        loaded = replace(loaded, config=_for_tool(loaded.config, only))
    alone = alone and "log_level" not in loaded.config.bridge.model_fields_set
    client = await open_loaded(loaded, stack, quiet=quiet, reports=reports, only=only if alone else None)
    return loaded, client


async def load_for_server(options: Options, stack: AsyncExitStack) -> LoadedConfig:
    """Return the configuration, as `load`. What goes wrong before the settings are known is JSON, too, if the log is.

    :raises ConfigError: the configuration is missing, or cannot be read.
    """
    if options.settings.get("log_format") == "json":
        from utcp_bridge.auth.redaction import Redactor

        configure_logging("info", "json", Redactor())
    return await load(options, stack)


@asynccontextmanager
async def opened_for(options: Options, manual: str | None) -> AsyncGenerator[UtcpClient]:
    """Return a client that loads one manual only, or none.

    :raises ConfigError: the configuration is missing, cannot be read, or does not have the manual.
    """
    from utcp_bridge.dialects.fields import safe_name
    from utcp_bridge.manuals.repository import unknown_manual

    async with AsyncExitStack() as stack:
        loaded = await load(options, stack)
        config = loaded.config
        names = [safe_name(str(entry.get("name") or "")) for entry in config.manual_call_templates]
        entries: tuple[JsonObject, ...] = ()
        registries: tuple[JsonObject, ...] = ()
        if manual is not None:
            named = safe_name(manual)
            paired = zip(config.manual_call_templates, names, strict=True)
            entries = tuple(entry for entry, name in paired if name == named)
            registries = tuple(entry for entry in config.registries if named.startswith(f"{entry.get('name')}_"))
            if not entries and not registries:
                raise unknown_manual(manual, names)
        config = config.model_copy(
            update={"manual_call_templates": entries, "registries": () if entries else registries}
        )
        yield await open_loaded(replace(loaded, config=config), stack)


async def open_loaded(
    loaded: LoadedConfig,
    stack: AsyncExitStack,
    *,
    quiet: bool = True,
    guard: Guard | None = None,
    reports: bool = True,
    only: str | None = None,
) -> UtcpClient:
    """Return a client for a loaded configuration; `stack` closes it. `guard` replaces the client's address policy.

    `only` is that of `Extensions`. With `reports`, stderr has the faults of the configuration and the `.env` files.
    """
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.client.extensions import Extensions
    from utcp_bridge.net.gate.connection_watch import watched
    from utcp_bridge.processes.systems import own_folder
    from utcp_bridge.stores.replicas import shared_store, stores_of
    from utcp_bridge.upstream import HostAhead

    config, settings = loaded.config, loaded.config.bridge
    redactor = Redactor()
    level = "error" if quiet and "log_level" not in settings.model_fields_set else settings.log_level
    configure_logging(level, settings.log_format, redactor)
    stack.enter_context(log_file(settings.log_file, loaded.root))
    stack.enter_context(unblocked_stderr(serving=not quiet))
    if reports:
        _report(loaded, quiet=quiet)
    if settings.check_connections:
        stack.enter_context(watched(stores_of(settings)))
    sink = stack.enter_context(audit_sink(settings, loaded.root)) if loaded.calls else None
    shared = None if quiet else shared_store(settings)
    if shared is not None:
        await shared.insist()
    extensions = Extensions(
        redactor=redactor,
        audit=sink,
        ruling=rules_of(settings, loaded.root, redactor),
        guard=guard,
        documents=loaded.documents,
        only=only,
        lock_file=loaded.lock_file,
        env_files=loaded.env_files,
        index_folder=own_folder() / "index" if settings.search_index == "disk" else None,
        host=None if quiet else HostAhead.of_server(settings.transport),
        shared=shared,
    )
    client = await UtcpClient.create(config, root=loaded.root, extensions=extensions, wait=0)
    return await stack.enter_async_context(client)


def _report(loaded: LoadedConfig, *, quiet: bool) -> None:
    rest = "more faults in the configuration. `utcp-bridge check` lists them."
    for fault in loaded.faults if quiet else first_few(loaded.faults, rest):
        complain(str(fault))
    for line in env_file_lines(loaded):
        note(line)


def rules_of(settings: BridgeSettings, root: Path, redactor: Redactor) -> RulingPort | None:
    """Return the rules of a configuration. A short command imports them only if there are some.

    :raises ConfigError: a rule, or an option of approvals, is wrong.
    """
    if not settings.access_rules:
        return None
    from utcp_bridge.access.rules import open_rules

    rules = open_rules(settings.access_rules, seconds=settings.rule_timeout, profiles=[*map(str, settings.profiles)])
    if rules is not None and (rules.asks or settings.approvals):
        from utcp_bridge.access.approvals import ApprovalDesk, ApprovalOptions

        options = ApprovalOptions.read(settings.approvals)
        rules.asker = ApprovalDesk(options, options.open_store(root, settings), redactor)
    return rules


def env_file_lines(loaded: LoadedConfig) -> Iterator[str]:
    """Yield a line for each `.env` that the bridge reads variables from. It shows no name and no value."""
    for file in loaded.env_files:
        if number := file.names():
            variables = "variable" if number == 1 else "variables"
            yield f"The bridge reads {file.path}, which has {number} {variables} for what no other source sets."


async def load(options: Options, stack: AsyncExitStack) -> LoadedConfig:
    """Return the configuration. With `--quickstart`, start the sample service on `stack` and add its tools."""
    from utcp_bridge.late.libraries import import_pydantic

    import_pydantic()
    from utcp_bridge.configuration.loading import as_config, load_config

    loaded = await load_config(options.found(), overrides=options.settings)
    loaded.calls = options.calls
    if options.makes_token:
        loaded.config = _with_token(loaded.config)
    if not options.quickstart:
        return loaded
    from utcp_bridge.quickstart.service import FOLDER, configuration, serving

    places = await stack.enter_async_context(serving())
    sample = await as_config(configuration(places), root=FOLDER)
    entries = (*loaded.config.manual_call_templates, *sample.config.manual_call_templates)
    config = loaded.config.model_copy(update={"manual_call_templates": entries})
    return replace(loaded, config=config, faults=[*loaded.faults, *sample.faults])


def _with_token(config: UtcpClientConfig) -> UtcpClientConfig:
    """Return the configuration with a new random token if it asks for one."""
    import secrets

    from utcp_bridge.settings import GENERATED_TOKEN, GeneratedToken

    token = config.bridge.bearer_token
    if token is None or token.get_secret_value() != GENERATED_TOKEN:
        return config
    bridge = config.bridge.model_copy(update={"bearer_token": GeneratedToken(secrets.token_urlsafe(32))})
    return config.model_copy(update={"bridge": bridge})


async def wait_for_manuals(client: UtcpClient, enough: Callable[[], bool] | None = None) -> None:
    """Wait until no manual is loading, or until `enough()`. Show on a terminal which manuals are missing."""
    while not (enough is not None and enough()) and not await client.wait_loaded(_TICK_SECONDS):
        missing = ", ".join(
            f"{state.name} ({', '.join(state.awaited)})" if state.awaited else state.name
            for state in client.report()
            if state.is_loading
        )
        show_progress(f"Loading {missing} …")
    show_progress("")


def show_progress(text: str) -> None:
    """Replace the text shown before, cut to the terminal's width. Without a terminal, show nothing."""
    if sys.stderr.isatty():
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or _DEFAULT_COLUMNS
        sys.stderr.write(f"{_ERASE_LINE}{_cut(without_sequences(text, sys.stderr), columns - 1)}")
        sys.stderr.flush()


def _cut(text: str, columns: int) -> str:
    """Return the beginning that fits. A line that wraps could not be erased."""
    if width(text) <= columns:
        return text
    while width(text) >= columns:
        text = text[:-1]
    return f"{text}…"


def report_failures(client: UtcpClient) -> list[ManualState]:
    """Report each failed manual in one line on stderr, and the number of other faults. Return the failed ones."""
    failed = [state for state in client.report() if state.status == "failed"]
    for state in failed:
        complain(client.redactor(f"Manual {state.name} failed: {state.error}"))
    found = [fault.severity for state in client.report() for fault in state.faults]
    counts = [(found.count("error"), "fault"), (found.count("warning"), "warning")]
    if found:
        shown = " and ".join(f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts if number)
        note(f"{shown} in manuals. `utcp-bridge check` lists them.")
    return failed


def _for_tool(config: UtcpClientConfig, tool: str) -> UtcpClientConfig:
    """Return the configuration reduced to the manual or registry whose name the tool's name begins with, if any.

    The manual that answers promoted tools stays too. Without promoted tools, nothing is shadowed.
    """
    every = config.manual_call_templates
    entries = [entry for entry in every if tool.startswith(f"{entry.get('name')}.")]
    registries = tuple(entry for entry in config.registries if not entries and tool.startswith(f"{entry.get('name')}_"))
    if not entries and not registries:
        return config
    for place, entry in enumerate(entries):
        shadow = entry.get("shadow")
        if not is_object(shadow) or not shadow.get("promoted"):
            entries[place] = {key: value for key, value in entry.items() if key != "shadow"}
        else:
            entries += [one for one in every if one.get("name") == shadow.get("new") and one not in entries]
    return config.model_copy(update={"manual_call_templates": tuple(entries), "registries": registries})
