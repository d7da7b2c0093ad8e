"""Options that several verbs share, and what they amount to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.errors import ConfigError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from utcp_bridge.model import JsonObject

__all__ = [
    "DEFAULT_FILES",
    "Options",
    "Session",
    "client_options",
    "debug_option",
    "documents",
    "engine_options",
    "overrides",
]

DEFAULT_FILES: Final = ("providers.json", ".utcp_config.json", "utcp.yaml")


@dataclass(slots=True)
class Session:
    """What the outermost frame must know to report an error in the form that was asked for."""

    debug: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Where the configuration comes from, and settings of the command line by their names."""

    sources: tuple[str, ...] = ()
    quickstart: bool = False
    settings: JsonObject = field(default_factory=dict[str, Any])

    def words(self) -> list[str]:
        """The options that name the same sources again, in a command to type."""
        named = [word for source in self.sources for word in ("-c", source)]
        return [*named, "--quickstart"] if self.quickstart else named

    def found(self) -> tuple[str, ...]:
        """The named sources, or the first default file in the current folder.

        :raises ConfigError: nothing is named and there is none.
        """
        if self.sources or self.quickstart:
            return self.sources
        for name in DEFAULT_FILES:
            if Path(name).is_file():
                return (name,)
        raise ConfigError(
            "There is no configuration.",
            remedy=f"Name a file, a folder or a URL, set UTCP_CONFIG_FILE, put {' or '.join(DEFAULT_FILES)} here,"
            " or try the sample tools with --quickstart.",
        )


def _remember_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    ctx.ensure_object(Session).debug = value


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show tracebacks of errors.",
)
"""For a verb that loads no manuals, and so logs nothing."""


def documents(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files and folders, for a shell to complete as it does everywhere."""
    from click.shell_completion import CompletionItem

    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-c`, `--json` and the engine's options; the command gets an `Options` first."""

    @click.option(
        "-c",
        "--config",
        "sources",
        metavar="CONFIG",
        multiple=True,
        shell_complete=documents,
        help="File, folder or URL; may be given several times. Default: $UTCP_CONFIG_FILE, or "
        + ", ".join(f"./{name}" for name in DEFAULT_FILES)
        + ".",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
    @engine_options
    @click.pass_obj
    @wraps(command)
    def wrapped(session: Session, /, options: Options, as_json: bool, **rest: Any) -> Any:
        session.as_json = as_json
        return command(options, as_json=as_json, **rest)

    return wrapped


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--quickstart`, `--set` and `--debug`, and gather them and `sources` in an `Options`."""

    @click.option("--quickstart", is_flag=True, help="Add the sample tools that come with utcp-bridge.")
    @click.option(
        "--set",
        "pairs",
        metavar="KEY=VALUE",
        multiple=True,
        help="Any setting of docs/settings.md; may be given several times.",
    )
    @click.option("--debug", is_flag=True, help="Show debug log lines, and tracebacks of errors.")
    # One source, whatever characters it holds: click would split a repeatable option's variable at spaces.
    @click.option("--environment-config", "fallback", envvar="UTCP_CONFIG_FILE", hidden=True)
    @click.pass_obj
    @wraps(command)
    def wrapped(session: Session, /, **given: Any) -> Any:
        session.debug = debug = given.pop("debug")
        fallback = given.pop("fallback")
        sources = tuple(given.pop("sources")) or ((fallback,) if fallback else ())
        settings = overrides(given.pop("pairs"))
        if debug:
            settings.setdefault("log_level", "debug")
        options = Options(sources, given.pop("quickstart"), settings)
        return command(options=options, **given)

    return wrapped


def overrides(pairs: tuple[str, ...]) -> JsonObject:
    """Settings from `key=value` pairs: values are read as those of the environment are.

    :raises ConfigError: a key is no setting.
    """
    if not pairs:
        return {}
    from difflib import get_close_matches

    from utcp_bridge.settings import BridgeSettings, settings_from_environment

    environ: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        key = key.strip().replace("-", "_").lower()
        if not separator:
            raise click.UsageError(f"--set takes KEY=VALUE, not {pair!r}.")
        if key not in BridgeSettings.model_fields:
            near = get_close_matches(key, BridgeSettings.model_fields, n=1)
            remedy = f"Did you mean {near[0]}?" if near else "docs/settings.md lists the settings."
            raise ConfigError(f"{key!r} is not a setting.", remedy=remedy)
        environ[f"UTCP_BRIDGE_{key.upper()}"] = value
    return settings_from_environment(environ)
