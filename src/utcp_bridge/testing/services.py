"""What the client lends to its transports, built from the real parts: pool, guard, settings, task group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from utcp_bridge.auth.credentials import Credentials
from utcp_bridge.model import Call, JsonObject, Source, Tool
from utcp_bridge.net.guard import Guard
from utcp_bridge.net.http import HttpPool
from utcp_bridge.settings import BridgeSettings
from utcp_bridge.tasks import spawning_in
from utcp_bridge.transport import Services, Target, Transport

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""Every peer of the tests lives here; the address gate lets it through because the source says so."""


@asynccontextmanager
async def open_services(
    *,
    root: Path = Path(),
    settings: BridgeSettings | None = None,
    changed: Callable[[str], None] = lambda _name: None,
    guard: Guard | None = None,
) -> AsyncGenerator[Services]:
    """Open the real services and close them again, background tasks included. `guard` replaces the address gate."""
    settings = settings or BridgeSettings()
    guard = guard or Guard()
    pool = HttpPool(guard)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield Services(
                http=pool, guard=guard, settings=settings, root=root, spawn=spawning_in(group), changed=changed
            )
        except Exception as error:  # noqa: BLE001 - the task group would wrap it into a group of one
            failure = error
        finally:
            with anyio.CancelScope(shield=True):
                await pool.aclose()
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def make_target(
    transport: Transport[Any] | type[Transport[Any]],
    template: Mapping[str, Any],
    *,
    source: Source | None = None,
    credentials: Credentials | None = None,
) -> Target[Any]:
    """A resolved template of either dialect: `provider_type` (v0) or `call_template_type` (v1)."""
    fields = dict(template)
    fields.setdefault("call_template_type", fields.pop("provider_type", None) or transport.kinds[0])
    source = source or Source(name="peer", allow_networks=LOOPBACK)
    return Target(template=transport.template.model_validate(fields), source=source, credentials=credentials)


def make_call(arguments: JsonObject, *, name: str = "echo", source: Source | None = None, **fields: Any) -> Call:
    """A call as the pipeline hands it to a transport."""
    tool = Tool(source=source or Source(name="peer"), name=name, kind="test", template={}, **fields)
    return Call(tool=tool, arguments=arguments, id="call-1")
