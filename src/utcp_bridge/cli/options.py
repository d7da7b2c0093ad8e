"""Options and arguments that several verbs share, and the values that a shell may complete."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from utcp_bridge.cli.program import Session
from utcp_bridge.late.records import dataclass

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import JsonObject

__all__ = [
    "DEFAULT_FILES",
    "Options",
    "client_options",
    "config_options",
    "debug_option",
    "documents",
    "engine_options",
    "manual_names",
    "overrides",
    "source_options",
    "tool_names",
]

DEFAULT_FILES: Final = ("providers.json", ".utcp_config.json", "utcp.yaml", "utcp.json")
_DEFAULTS: Final = "$UTCP_CONFIG_FILE, or " + ", ".join(f"./{name}" for name in DEFAULT_FILES)
_LOCAL_KINDS: Final = frozenset({"file", "text"})
_MAX_COMPLETION_SECONDS: Final = 10

Command = Callable[..., Any]
Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


@dataclass(frozen=True, slots=True)
class Options:
    """Where the configuration comes from, and the settings that the command line gives, by their keys.

    With `makes_token`, a random token replaces the value `generate` of the setting `bearer_token`. Without `calls`, the
    command calls no tool, or only to try it, so it does not open the audit log: that is of bridges that serve.
    """

    sources: tuple[str, ...] = field(default=(), repr=False)
    quickstart: bool = False
    settings: JsonObject = field(default_factory=dict[str, Any], repr=False)
    makes_token: bool = False
    calls: bool = True
    parent: int | None = None
    """The number of the process that started this one as one of several that serve."""

    def words(self) -> list[str]:
        """Return the options that name the same sources in another command."""
        named = [word for source in self.sources for word in ("-c", source)]
        return [*named, "--quickstart"] if self.quickstart else named

    def strict(self) -> Options:
        """Return the options with warnings that count like errors."""
        return replace(self, settings={**self.settings, "strict": True, "fail_on_fault": None})

    def without_calls(self) -> Options:
        """Return the options of a command that calls no tool, or only to try it."""
        return replace(self, calls=False)

    def found(self) -> tuple[str, ...]:
        """Return the named sources, or the first default file in the current folder.

        :raises ConfigError: no source is named and no default file exists.
        """
        if self.sources or self.quickstart:
            return self.sources
        for name in DEFAULT_FILES:
            if Path(name).is_file():
                return (name,)
        from utcp_bridge.errors import ConfigError

        raise ConfigError(
            "The current folder has no configuration.",
            remedy="Name a file, a folder or a URL, set UTCP_CONFIG_FILE, or make utcp.yaml with"
            " `utcp-bridge init`. `utcp-bridge tools --quickstart` shows sample tools.",
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
"""For a verb that loads no manuals and therefore logs nothing."""


# --- options of verbs that take a configuration --------------------------------------------------


def source_options(help_text: str) -> Command:
    """Return a decorator that adds `-c`, as `sources`, and the variable of the environment, as `fallback`."""

    def decorate(command: Command) -> Command:
        # One source, whatever characters it contains: click would split a repeatable option's variable at spaces.
        fallback = click.option("--environment-config", "fallback", envvar="UTCP_CONFIG_FILE", hidden=True)
        option = click.option(
            "-c",
            "--config",
            "sources",
            metavar="CONFIG",
            multiple=True,
            shell_complete=documents,
            help=help_text,
        )
        return option(fallback(command))

    return decorate


def config_options(arguments: str = "", *, required: int = 0, complete: Complete | None = None) -> Command:
    """Return a decorator that lets a verb take CONFIG, as an argument or with `-c`.

    The verb receives an `Options`, and its other arguments as `words`. `arguments` is how the usage line names those,
    and `required` is how many of them the verb needs. With other arguments, the first one is CONFIG if `-c` is not
    given and it is a URL or an existing file or folder. Without other arguments, all are CONFIG.
    """
    first = "Without -c, a first argument that is a URL or an existing file or folder is the CONFIG. "

    def decorate(command: Command) -> Command:
        @click.argument(
            "words",
            metavar=f"[CONFIG] {arguments}" if arguments else "[CONFIG]...",
            nargs=-1,
            shell_complete=_words_completed(complete, required) if complete else documents,
        )
        @source_options(
            "File, folder or URL; may be given several times. "
            + (first if arguments else "The same as the argument CONFIG. ")
            + f"Default: {_DEFAULTS}."
        )
        @wraps(command)
        def wrapped(words: tuple[str, ...], sources: tuple[str, ...], fallback: str | None, **rest: Any) -> Any:
            if arguments:
                sources, words = _split(sources, words, required)
                if len(words) < required:
                    missing = f"Missing argument '{arguments.partition(' ')[0].strip('[].')}'."
                    raise click.UsageError(missing, ctx=click.get_current_context())
                rest["words"] = words
            else:
                sources = (*sources, *words)
            return command(options=Options(sources or ((fallback,) if fallback else ())), **rest)

        return cast("Command", wrapped)

    return decorate


def client_options(arguments: str = "", *, required: int = 0, complete: Complete | None = None) -> Command:
    """Return a decorator that adds CONFIG, the engine's options and `--json` to a verb; see `config_options`."""

    def decorate(command: Command) -> Command:
        @config_options(arguments, required=required, complete=complete)
        @engine_options
        @click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
        @click.pass_obj
        @wraps(command)
        def wrapped(session: Session, /, as_json: bool, **rest: Any) -> Any:
            session.as_json = as_json
            return command(as_json=as_json, **rest)

        return cast("Command", wrapped)

    return decorate


def engine_options(command: Command) -> Command:
    """Add `--quickstart`, `--set` and `--debug`, and put their values into the `Options`."""

    @click.option("--quickstart", is_flag=True, help="Add the sample tools that come with utcp-bridge.")
    @click.option(
        "--set",
        "pairs",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set any setting that `utcp-bridge help settings` lists; may be given several times.",
    )
    @click.option("--debug", is_flag=True, help="Show debug log lines, and tracebacks of errors.")
    @click.pass_obj
    @wraps(command)
    def wrapped(
        session: Session, /, options: Options, quickstart: bool, pairs: tuple[str, ...], debug: bool, **rest: Any
    ) -> Any:
        session.debug = debug
        settings = overrides(pairs)
        if debug:
            settings.setdefault("log_level", "debug")
        return command(options=replace(options, quickstart=quickstart, settings=settings), **rest)

    return wrapped


def _split(sources: tuple[str, ...], words: tuple[str, ...], required: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the configuration's sources and the other words; the first word is a source where it can be one."""
    if sources or len(words) <= required or not _is_place(words[0]):
        return sources, words
    return words[:1], words[1:]


def _is_place(word: str) -> bool:
    if word.lower().startswith(("http://", "https://")):
        return True
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # longer than a file name may be, or with a null character
        return False


def overrides(pairs: tuple[str, ...]) -> JsonObject:
    """Return settings from `key=value` pairs. Values are read like values of the environment.

    :raises ConfigError: there is no setting of this name.
    """
    if not pairs:
        return {}
    from utcp_bridge.configuration.environment import settings_from_environment
    from utcp_bridge.settings import setting_named, unknown_setting

    environ: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        key = key.strip().replace("-", "_").lower()
        if not separator:
            raise click.UsageError(f"--set needs KEY=VALUE, and {pair!r} has no =.")
        if setting_named(key) is None:
            raise unknown_setting(key)
        environ[f"UTCP_BRIDGE_{key.replace('.', '__').upper()}"] = value
    return settings_from_environment(environ)


# --- completion ----------------------------------------------------------------------------------
# Only local files are read, because the shell waits for the result at each press of Tab. After a failure there is
# nothing to offer: a message would appear in the middle of the line that is being typed.


def documents(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete files and folders in its own way."""
    from click.shell_completion import CompletionItem

    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def manual_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the manuals that the configuration names."""
    del param
    return _fitting(_names_of_manuals, ctx, incomplete)


def tool_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the tools of the configuration's local manuals."""
    del param
    return _fitting(_names_of_tools, ctx, incomplete)


def _words_completed(names: Complete, required: int) -> Complete:
    """Offer `names`, and files where CONFIG may come and no name fits; nothing after `required` names, if any."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        _, words = _typed(ctx)
        if required and len(words) >= required:
            return []
        found = names(ctx, param, incomplete)
        may_be_config = not ctx.params.get("sources") and not ctx.params.get("words")
        return found or (documents(ctx, param, incomplete) if may_be_config else [])

    return complete


def _typed(ctx: click.Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the sources and the other words that are complete on the command line."""
    return _split(ctx.params.get("sources") or (), ctx.params.get("words") or (), 0)


def _fitting(
    names_of: Callable[[LoadedConfig], Awaitable[Iterable[str]]], ctx: click.Context, incomplete: str
) -> list[CompletionItem]:
    import anyio
    from click.shell_completion import CompletionItem

    # Without a handler, warnings of a library would go to stderr, into the line that is being typed.
    logging.getLogger("utcp_bridge").addHandler(logging.NullHandler())
    sources, _ = _typed(ctx)
    named = sources or tuple(filter(None, [ctx.params.get("fallback")]))
    try:
        names = anyio.run(_read, names_of, Options(named).found())
    except Exception:  # noqa: BLE001 - see above
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


async def _read(names_of: Callable[[LoadedConfig], Awaitable[Iterable[str]]], sources: tuple[str, ...]) -> list[str]:
    import anyio

    from utcp_bridge.configuration.loading import load_config
    from utcp_bridge.configuration.places import is_url

    # While completing, the shell leaves `~` as it was typed.
    paths = [str(await anyio.Path(source).expanduser()) for source in sources if not is_url(source)]
    with anyio.fail_after(_MAX_COMPLETION_SECONDS):
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
