"""What a shell may complete: manuals and tools of the configuration that the command line names.

Only local files are read: a shell waits for the answer at each press of a key. Whatever fails leaves nothing to offer,
because there is no place to tell of it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Final

import click

from utcp_bridge.cli.options import Options

if TYPE_CHECKING:
    from utcp_bridge.configuration.loading import LoadedConfig

__all__ = ["manual_names", "tool_names"]

_LOCAL_KINDS: Final = frozenset({"file", "text"})
_SECONDS: Final = 2


def manual_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The manuals that the configuration names."""
    del param
    return _fitting(_names_of_manuals, ctx, incomplete)


def tool_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The tools of the configuration's local manuals."""
    del param
    return _fitting(_names_of_tools, ctx, incomplete)


def _fitting(
    names_of: Callable[[LoadedConfig], Awaitable[Iterable[str]]], ctx: click.Context, incomplete: str
) -> list[str]:
    import anyio

    # Without a handler of its own, a library's warnings would go to stderr, in the midst of the line being typed.
    logging.getLogger("utcp_bridge").addHandler(logging.NullHandler())
    named = ctx.params.get("sources") or tuple(filter(None, [ctx.params.get("fallback")]))
    try:
        names = anyio.run(_read, names_of, Options(named).found())
    except Exception:  # noqa: BLE001 - nothing to offer, and no place to say why
        return []
    return sorted(name for name in names if name.startswith(incomplete))


async def _read(names_of: Callable[[LoadedConfig], Awaitable[Iterable[str]]], sources: tuple[str, ...]) -> list[str]:
    import anyio

    from utcp_bridge.configuration.loading import load_config
    from utcp_bridge.configuration.places import is_url

    # The shell hands on `~` as it was typed.
    paths = [str(await anyio.Path(source).expanduser()) for source in sources if not is_url(source)]
    with anyio.fail_after(_SECONDS):
        return list(await names_of(await load_config(paths)))


async def _names_of_manuals(loaded: LoadedConfig) -> Iterable[str]:
    return [str(entry.get("name")) for entry in loaded.config.manual_call_templates]


async def _names_of_tools(loaded: LoadedConfig) -> Iterable[str]:
    from utcp_bridge.client.client import UtcpClient

    entries = tuple(
        entry for entry in loaded.config.manual_call_templates if entry.get("call_template_type") in _LOCAL_KINDS
    )
    config = loaded.config.model_copy(
        update={"manual_call_templates": entries, "registries": (), "load_variables_from": ()}
    )
    async with await UtcpClient.create(config, root=loaded.root) as client:
        return [tool.qualified_name for tool in client.tools()]
