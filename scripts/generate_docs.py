"""Generate docs/{settings,cli,errors,api,statements,formats}.md. `scripts/docs [--check]` runs this."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from api_page import api_page
from pydantic import BaseModel
from statement_rows import page as statement_page

from utcp_bridge import errors
from utcp_bridge.cli import exits
from utcp_bridge.cli.command import bridge, every_command
from utcp_bridge.dialects.formats import FORMATS
from utcp_bridge.settings import GROUPS, grouped_name

DOCS = Path(__file__).parents[1] / "docs"
NOTICE = "<!-- scripts/docs generates this page. Change the code, then run it again. -->"

SETTINGS_INTRO = f"""# Settings

{NOTICE}

This page lists every setting of the bridge, by group. The first of these places that has a value wins:

1. the command line: `--set KEY=VALUE`, or an option such as `--port 9000`;
2. the environment: a variable such as `UTCP_BRIDGE_PORT=9000`;
3. the `bridge` section of a configuration file;
4. the default.

Each setting has a flat name and a name in its group. Both mean the same in every place:

| Place | Flat | In its group |
| --- | --- | --- |
| command line | `--set concurrency=8` | `--set limits.concurrency=8` |
| environment | `UTCP_BRIDGE_CONCURRENCY=8` | `UTCP_BRIDGE_LIMITS__CONCURRENCY=8` |
| file | `bridge: {{concurrency: 8}}` | `bridge: {{limits: {{concurrency: 8}}}}` |

One place must not give a setting two different values.

Values of the command line and the environment are read as JSON if they are valid JSON, otherwise as text. Lists may
also be separated by commas: `UTCP_BRIDGE_PINNED='github.*,slack.send_message'`.

Options of a single manual are part of its entry in the configuration: see [configuration](configuration.md).
"""

CLI_INTRO = f"""# The command line

{NOTICE}

`utcp` and `python -m utcp_bridge` are the same program as `utcp-bridge`. `utcp-registry` is `utcp-bridge registry`.
Help and completion show the name that you typed. Results go to stdout, everything else to stderr.

Every verb that uses a configuration takes it with `-c CONFIG` or as an argument. If the verb has other arguments, such
as the name of a tool, the first one is the CONFIG if `-c` is not given and it is a URL or an existing file or folder.
Without a CONFIG, the verb takes `$UTCP_CONFIG_FILE`, or the first of `./providers.json`, `./.utcp_config.json`,
`./utcp.yaml` and `./utcp.json` that exists.

`eval "$(utcp-bridge completion bash)"` in `~/.bashrc` lets bash complete verbs, options, topics, manuals and tools. For
zsh and fish, see [`utcp-bridge completion`](#utcp-bridge-completion).
"""

EXITS_NOTE = """\
`list`, `status` and `check` have the same code for an entry that cannot be used and a key that nothing reads. For
`status` and `check`, the code of a manual that failed comes first.
"""

ERRORS_INTRO = f"""# Errors

{NOTICE}

Every failure has a code that does not change between releases.

- Over MCP, a failed call is a result with `isError: true`. Its text says what failed, where, and what to do.
  `_meta["utcp/error"]` contains the code. For `rejected`, `_meta["utcp/status"]` contains the status of the upstream
  service. An unknown tool name is a JSON-RPC error (-32602).
- In the library, it is an exception of the class in this table, with `code`, `message` and `remedy`.
- On the command line, it is a line on stderr, or an object on stdout with `--json`, and the exit code.

No message contains a secret, a header, the query of a URL or a traceback.
"""

STATEMENTS_NOTICE = (
    "<!-- scripts/docs generates this page from conformance/statements. Change a row there, then run it again. -->"
)

API_INTRO = f"""# The public API

{NOTICE}

This page describes every public name, with its arguments, units and errors. These modules are public: names in their
`__all__` keep their meaning from release to release. All other modules of `utcp_bridge` are private and may change in
any release.

`JsonObject` is `dict[str, Any]`. Times are in seconds and sizes in bytes, unless a name or text says otherwise.
"""


def api() -> str:
    return api_page(API_INTRO)


def statements() -> str:
    return statement_page(STATEMENTS_NOTICE)


FORMATS_INTRO = f"""# Formats of others

{NOTICE}

The bridge reads UTCP manuals, OpenAPI and Swagger 2.0 descriptions, lists of MCP tools, registries, and the files of
MCP hosts. It also reads AsyncAPI 2 and 3 descriptions, Postman 2 collections, Swagger 1 descriptions and Google API
Discovery documents: name one as a manual, as you name an OpenAPI description. If a file or URL has one of the formats
below, the message names the format and says what to do. The bridge detects the format from the content, not from the
name of the file. JSON, YAML, comments, a byte order mark and UTF-16 make no difference.

A web page is recognised, too. If it shows an API description with Swagger UI, Redoc, Scalar, RapiDoc or Stoplight
Elements, or links to one, the message has the address of the description.
"""


def formats_page() -> str:
    ways: dict[str, dict[str, None]] = {}
    for row in FORMATS:
        ways.setdefault(row.way, {})[row.name] = None
    rows = [("; ".join(names), way) for way, names in ways.items()]
    return FORMATS_INTRO + "\n" + table(("This document is", "What to do"), rows)


def settings_page() -> str:
    parts = [SETTINGS_INTRO]
    for group, model in GROUPS.items():
        rows = [
            (
                f"`{key}`",
                f"`{grouped_name(key)}`",
                f"`{written(field.default if field.default_factory is None else {})}`",
                meaning(field),
            )
            for key, field in model.model_fields.items()
        ]
        parts.append(f"## `{group}`\n\n{(model.__doc__ or '').strip()}\n")
        parts.append(table(("Setting", "In its group", "Default", "Meaning"), rows))
    return "\n".join(parts)


def meaning(field: Any) -> str:
    choices = (
        [f"`{choice}`" for choice in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    )
    text = field.description or ""
    return text if not choices or all(choice in text for choice in choices) else f"{text} {' · '.join(choices)}"


def written(value: Any) -> str:
    """Return a default as it is written in YAML or JSON."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def cli_page() -> str:
    meanings = table(("Code", "Meaning"), [(str(code), text) for code, text in exits.MEANINGS.items()])
    parts = [CLI_INTRO, "## Exit codes\n", meanings, EXITS_NOTE]
    for name, command in every_command():
        parts.append(f"## `{f'utcp-bridge {name}'.strip()}`\n")
        parts.append(f"```text\n{help_of(name, command)}\n```\n")
    return "\n".join(parts)


def help_of(name: str, command: click.Command) -> str:
    """Return the help text, at a width that does not depend on the terminal."""
    top = click.Context(bridge, info_name="utcp-bridge", terminal_width=100, help_option_names=["-h", "--help"])
    context = click.Context(command, info_name=name, parent=top, terminal_width=100) if name else top
    return command.get_help(context).rstrip()


def errors_page() -> str:
    rows = [
        (f"`{kind.code}`", f"`{kind.__name__}`", str(exits.exit_code(blank(kind))), first_sentence(kind))
        for kind in every_error(errors.UtcpError)
    ]
    return f"{ERRORS_INTRO}\n{table(('Code', 'Class', 'Exit code', 'Meaning'), rows)}\n{tree()}"


def every_error(kind: type[errors.UtcpError]) -> Iterator[type[errors.UtcpError]]:
    """Return a class of errors.py and its subclasses there, each once."""
    if kind.__name__ in errors.__all__:
        yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


def blank(kind: type[errors.UtcpError]) -> errors.UtcpError:
    """Return an instance that was made without arguments: only its class matters."""
    return kind.__new__(kind)


def first_sentence(kind: type) -> str:
    text = re.sub(r"\s+", " ", kind.__doc__ or "").replace("(docs/security.md)", "([security](security.md))")
    return text.partition(" `status` is")[0].strip()


def tree() -> str:
    """Return the drawing in the module's docstring."""
    lines = (errors.__doc__ or "").splitlines()
    drawn = [line[4:] for line in lines if line.startswith("    ") and line.strip()]
    return "The classes, grouped by who can correct the error:\n\n```text\n" + "\n".join(drawn) + "\n```\n"


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "| " + " | ".join("---" for _ in headings) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "api.md": api,
    "statements.md": statements,
    "formats.md": formats_page,
}


def main(arguments: list[str]) -> int:
    stale = [
        name
        for name, make in PAGES.items()
        if not (path := DOCS / name).is_file() or path.read_text(encoding="utf-8") != make()
    ]
    if arguments == ["--check"]:
        print("\n".join(f"docs/{name} is not current; run scripts/docs." for name in stale) or "All pages are current.")
        return bool(stale)
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
