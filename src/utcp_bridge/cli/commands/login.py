"""Who the bridge is, and who its callers are.

`utcp-bridge login`, `logout` and `auth` are the logins of manuals at their services. `utcp-bridge token` makes the
tokens with which HTTP clients come to the bridge.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import opened_for, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options, config_options, debug_option, manual_names
from utcp_bridge.cli.output import note, print_json, print_line, print_table
from utcp_bridge.cli.program import CONTEXT, NamedGroup, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from utcp_bridge.access.tokens import NamedToken, NewToken, TokenFile
    from utcp_bridge.client.logins import LoginState
    from utcp_bridge.configuration.loading import LoadedConfig
    from utcp_bridge.model import JsonObject

__all__ = ["auth", "login", "logout", "token"]

_WORDS: Final = {"valid": "valid", "renewable": "renewed at its next use", "ended": "ended, log in again"}


@click.command(
    epilog="""\b
Examples:
  utcp-bridge login tracker                    the manual `tracker` of ./providers.json
  utcp-bridge login utcp.yaml tracker --no-browser
\b
Exit codes:
"""
    + exits.listed(exits.OK, exits.USAGE, exits.CONFIGURATION, exits.UPSTREAM, exits.POLICY, exits.INTERRUPTED)
)
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 3_600),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the browser.",
)
@client_options("NAME", required=1, complete=manual_names)
def login(options: Options, words: tuple[str, ...], no_browser: bool, timeout: int, as_json: bool) -> int:
    """Log in to the services of a manual, in a browser or with a code.

    The login is kept for the bridge, which renews it. `utcp-bridge help login` says for which services it works.
    """
    return run_async(_login, options, words, no_browser, timeout, as_json)


async def _login(options: Options, words: tuple[str, ...], no_browser: bool, seconds: int, as_json: bool) -> int:
    from utcp_bridge.cli.person import TerminalPerson

    [manual, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    async with opened_for(options.without_calls(), manual) as client:
        await wait_for_manuals(client)
        made = await client.login_desk.log_in(manual, TerminalPerson(browser=not no_browser, seconds=seconds))
        if as_json:
            print_json({"logins": [record.public() for record in made]})
            return exits.OK
        for record in made:
            print_line(f"Logged in to {record.resource} with {record.issuer}.")
        note(f"The login is kept in {client.login_desk.place}. A running bridge uses it at the next call.")
    return exits.OK


@click.command(
    epilog="""\b
Examples:
  utcp-bridge logout tracker                   the manual `tracker` of ./providers.json
"""
)
@client_options("NAME", required=1, complete=manual_names)
def logout(options: Options, words: tuple[str, ...], as_json: bool) -> int:
    """Forget the logins of a manual, and revoke their tokens.

    An authorization server that cannot revoke tokens keeps them until they expire.
    """
    return run_async(_logout, options, words, as_json)


async def _logout(options: Options, words: tuple[str, ...], as_json: bool) -> int:
    [manual, *others] = words
    if others:
        raise click.UsageError("Name one manual.")
    async with opened_for(options.without_calls(), manual) as client:
        await wait_for_manuals(client)
        ended = await client.login_desk.log_out(manual)
        if as_json:
            print_json({"logged_out": [record.resource for record in ended]})
        elif not ended:
            note(f"{manual} has no login.")
        for record in ended if not as_json else ():
            print_line(f"Logged out of {record.resource}.")
    return exits.OK


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge auth status                      every login, without its tokens
""",
)
@debug_option
def auth() -> None:
    """Show the logins that `utcp-bridge login` made."""


@auth.command(
    epilog="""\b
Examples:
  utcp-bridge auth status
  utcp-bridge auth status utcp.yaml --json
"""
)
@client_options()
def status(options: Options, as_json: bool) -> int:
    """List the logins, without their tokens.

    Each has its manual, service and authorization server, and the time until which its token is valid.
    """
    return run_async(_status, options, as_json)


async def _status(options: Options, as_json: bool) -> int:
    async with opened_for(options.without_calls(), None) as client:
        states = await client.login_desk.states()
        if as_json:
            print_json({"store": client.login_desk.place, "logins": [state.record.public() for state in states]})
        elif not states:
            note(f"{client.login_desk.place} has no logins.")
        else:
            print_table(("MANUAL", "SERVICE", "ISSUER", "STATUS", "UNTIL"), [_row(state) for state in states])
    return exits.OK


def _row(state: LoginState) -> tuple[str, ...]:
    record = state.record
    until = "" if record.stale_at is None else f"{datetime.fromtimestamp(record.stale_at, UTC):%Y-%m-%d %H:%M} UTC"
    name = state.status
    if name == "renewable" and record.stale_at is not None and time.time() < record.stale_at:
        name = "valid"
    elif name == "valid" and record.stale_at is not None and time.time() >= record.stale_at:
        name = "ended"
    return (record.manual, record.resource, record.issuer, _WORDS[name], until)


# --- tokens of HTTP clients ----------------------------------------------------------------------

_TIME: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_file_option = click.option(
    "--file", type=click.Path(path_type=Path), help="The file of tokens, instead of `access.tokens_file` of CONFIG."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Return a time such as `30d` or `90m` in seconds. It is a callback: click's types differ between versions."""
    if value is None:
        return None
    match = _TIME.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time. Write it as 30d, 12h, 90m or 45s.")
    return int(match[1]) * _SECONDS[match[2]]


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge token add ci --expires 30d       a token for the client `ci`, printed once
  utcp-bridge token list
  utcp-bridge token rotate ci --overlap 1d     a new secret; the old one is valid for a day
  utcp-bridge token revoke ci
""",
)
def token() -> None:
    """Make, list, rotate and revoke the tokens of HTTP clients.

    The setting `access.tokens_file` names the file, which has hashes of the tokens. A running bridge uses a change at
    the next request.
    """


@token.command(
    epilog="""\b
Examples:
  utcp-bridge token add ci
  utcp-bridge token add ci --expires 30d --scope tools:read --profile readers
  utcp-bridge token add ci --file /etc/utcp-bridge/tokens.json --json
"""
)
@click.option(
    "--expires", metavar="TIME", callback=_seconds, help="When it ends, from now, such as 30d.  [default: never]"
)
@click.option("--scope", "scopes", multiple=True, help="A scope of the token; may be given several times.")
@click.option("--profile", "profiles", multiple=True, help="A profile that it may use; may be given several times.")
@_file_option
@_json_option
@config_options("NAME", required=1)
@debug_option
@click.pass_obj
def add(
    session: Session, /, options: Options, words: tuple[str, ...], file: Path | None, as_json: bool, **of: Any
) -> int:
    """Make a token for a client, and print it. It cannot be shown again."""
    session.as_json = as_json
    expires = None if of["expires"] is None else time.time() + of["expires"]
    tokens = _token_file(options, file, of["profiles"])
    made = tokens.add(_one(words), scopes=of["scopes"], profiles=of["profiles"] or None, expires=expires)
    _print_new(tokens, made, as_json=as_json)
    return exits.OK


@token.command(
    "rotate",
    epilog="""\b
Examples:
  utcp-bridge token rotate ci                  the old secret is valid for a day
  utcp-bridge token rotate ci --overlap 0s     the old secret ends now
""",
)
@click.option(
    "--overlap",
    metavar="TIME",
    callback=_seconds,
    default="1d",
    show_default=True,
    help="How long the old one is valid.",
)
@_file_option
@_json_option
@config_options("NAME", required=1)
@debug_option
@click.pass_obj
def rotate(
    session: Session, /, options: Options, words: tuple[str, ...], file: Path | None, as_json: bool, overlap: float
) -> int:
    """Make a new secret for a token, and print it. Name, scopes and sessions stay."""
    session.as_json = as_json
    tokens = _token_file(options, file)
    _print_new(tokens, tokens.rotate(_one(words), overlap), as_json=as_json)
    return exits.OK


@token.command(
    "revoke",
    epilog="""\b
Examples:
  utcp-bridge token revoke ci
""",
)
@_file_option
@_json_option
@config_options("NAME", required=1)
@debug_option
@click.pass_obj
def revoke(session: Session, /, options: Options, words: tuple[str, ...], file: Path | None, as_json: bool) -> int:
    """Remove a token. Its sessions end."""
    session.as_json = as_json
    tokens, name = _token_file(options, file), _one(words)
    tokens.revoke(name)
    if as_json:
        print_json({"revoked": name})
    else:
        note(f"The token {name!r} is removed from {tokens.path}.")
    return exits.OK


@token.command(
    "list",
    epilog="""\b
Examples:
  utcp-bridge token list
  utcp-bridge token list --json
""",
)
@_file_option
@_json_option
@config_options()
@debug_option
@click.pass_obj
def list_tokens(session: Session, /, options: Options, file: Path | None, as_json: bool) -> int:
    """List the tokens by name, without their secrets."""
    session.as_json = as_json
    tokens = _token_file(options, file)
    used = tokens.used()
    rows = [_shown(one, used.get(one.name)) for one in tokens.read().values()]
    if as_json:
        print_json({"tokens": rows})
    elif rows:
        columns = ("name", "state", "expires", "used", "scopes", "profiles")
        print_table(
            tuple(map(str.upper, columns)),
            [
                tuple(" ".join(row[key]) if key in {"scopes", "profiles"} else row[key] or "" for key in columns)
                for row in ({**row, "profiles": row["profiles"] or ()} for row in rows)
            ],
        )
    else:
        note(f"{tokens.path} has no tokens. `utcp-bridge token add NAME` makes one.")
    return exits.OK


def _one(words: tuple[str, ...]) -> str:
    [name, *others] = words
    if others:
        raise click.UsageError("Name one token.")
    return name


def _token_file(options: Options, file: Path | None, profiles: Sequence[str] = ()) -> TokenFile:
    """Return the file of tokens. `profiles` are names for a new token.

    :raises ConfigError: no file is named, and the configuration names none, or it lacks one of the profiles.
    """
    from utcp_bridge.access.profiles import read_profiles
    from utcp_bridge.access.tokens import TokenFile
    from utcp_bridge.errors import ConfigError

    if file is not None:
        return TokenFile(file.expanduser())
    loaded = run_async(_loaded, options)
    named = loaded.config.bridge.tokens_file
    if named is None:
        raise ConfigError(
            "The configuration does not name a file of tokens.",
            remedy="Set `access.tokens_file`, such as `bridge: {access: {tokens_file: tokens.json}}`, or use --file.",
        )
    for name in profiles:
        read_profiles(loaded.config.bridge).named(name, "--profile")
    return TokenFile(loaded.root / Path(named).expanduser())


async def _loaded(options: Options) -> LoadedConfig:
    from utcp_bridge.configuration.loading import load_config

    return await load_config(options.found(), overrides=options.settings)


def _print_new(tokens: TokenFile, made: NewToken, *, as_json: bool) -> None:
    if as_json:
        print_json({**_shown(made.line, None), "token": made.value, "file": str(tokens.path)})
        return
    print_line(made.value)
    note(
        f"This token of {made.line.name!r} is shown once. {tokens.path} has its hash. Its client sends it "
        "as the header `Authorization: Bearer TOKEN`."
    )


def _shown(one: NamedToken, used: str | None) -> JsonObject:
    """Return what can be shown of a token: {name, state, scopes, profiles, created, expires, used, secrets}."""
    from utcp_bridge.access.tokens import shown_time

    now = time.time()
    return {
        "name": one.name,
        "state": "expired" if one.expires is not None and one.expires <= now else "valid",
        "scopes": list(one.scopes),
        "profiles": None if one.profiles is None else list(one.profiles),
        "created": shown_time(one.created),
        "expires": shown_time(one.expires),
        "used": used,
        "secrets": [
            {"id": secret.ident, "created": shown_time(secret.created), "ends": shown_time(one.ends(secret))}
            for secret in one.secrets
        ],
    }
