"""`utcp-bridge audit verify`: whether the audit log is as the bridge wrote it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import Options, debug_option, source_options
from utcp_bridge.cli.output import complain, note, print_json, print_line
from utcp_bridge.cli.program import CONTEXT, NamedGroup, Session

if TYPE_CHECKING:
    from utcp_bridge.access.audit_chain import Link
    from utcp_bridge.configuration.loading import LoadedConfig

__all__ = ["audit"]


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge audit verify                     the audit log of the configuration
  utcp-bridge audit verify calls.jsonl.1 calls.jsonl
""",
)
@debug_option
def audit() -> None:
    """Check that nobody changed the audit log."""


@audit.command(
    epilog="""\b
Examples:
  utcp-bridge audit verify
  utcp-bridge audit verify calls.jsonl calls.jsonl.1 --key-file audit.key
  utcp-bridge audit verify --expect 120:4f0c…          line 120 had this hash when you noted it

\b
Exit codes:
  0   every line fits the line before it
  1   a line was changed, removed, moved or cut; the message names the first one
  2   a file cannot be read, or the configuration has no audit log
"""
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@source_options("Configuration with `audit_log` and `audit_key`; may be given several times. Default: as for `serve`.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="File with the `audit_key` of the log. Default: the setting, if no FILE is given or -c is.",
)
@click.option("--expect", metavar="LINE:HASH", help="A line of the chain and its hash, as noted earlier.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def verify(session: Session, /, files: tuple[Path, ...], sources: tuple[str, ...], **flags: Any) -> int:
    """Check the chain of an audit log: each line has the hash of the line before it.

    Without FILE, the audit log of the configuration and its old files (`NAME.1`, `NAME.2` ...) are checked. FILEs may
    be in any order. The end of a log can be cut without a trace in the log: note the number and the hash that this verb
    prints, and give them to --expect later.
    """
    from utcp_bridge.access.audit_chain import chain_key, check_audit
    from utcp_bridge.errors import ConfigError

    session.as_json = flags["as_json"]
    expected = None if flags["expect"] is None else _expected(flags["expect"])
    key = None if flags["key_file"] is None else _secret(flags["key_file"])
    if not files or sources:
        fallback = flags["fallback"]
        loaded = run_async(_loaded, Options(sources or ((fallback,) if fallback else ())))
        files = files or _files_of(loaded)
        own = loaded.config.bridge.audit_key
        key = own.get_secret_value() if key is None and own is not None else key
    if not files:
        raise ConfigError("There is no audit log yet.", remedy="Name its files, or set `audit_log`.")
    report = check_audit(files, chain_key(key), expected)
    if session.as_json:
        print_json(asdict(report) | {"end": report.end and report.end._asdict()})
        return exits.FAULTS if report.fault else exits.OK
    for text in report.notes:
        note(text)
    if report.fault:
        complain(report.fault)
        return exits.FAULTS
    if report.end is not None:
        print_line(
            f"{report.lines:,} lines are as they were written. The last one is {report.end.number}:{report.end.hash}"
        )
    return exits.OK


async def _loaded(options: Options) -> LoadedConfig:
    from utcp_bridge.configuration.loading import load_config

    return await load_config(options.found(), overrides=options.settings)


def _files_of(loaded: LoadedConfig) -> tuple[Path, ...]:
    from utcp_bridge.access.audit_chain import audit_files
    from utcp_bridge.errors import ConfigError

    place = loaded.config.bridge.audit_log
    if place is None or place.partition(":")[0] in {"-", "syslog", "otlp"}:
        raise ConfigError("The configuration has no audit log in a file.", remedy="Set `audit_log`, or name the files.")
    return tuple(audit_files(loaded.root / Path(place).expanduser()))


def _secret(path: Path) -> str:
    from utcp_bridge.settings import with_secret_files

    return str(with_secret_files({"audit_key_file": str(path)})["audit_key"])


def _expected(text: str) -> Link:
    from utcp_bridge.access.audit_chain import Link

    number, _, digest = text.partition(":")
    if not number.isdecimal() or not digest:
        raise click.BadParameter("Write the number of a line and its hash: 120:4f0c….", param_hint="--expect")
    return Link("", int(number), digest)
