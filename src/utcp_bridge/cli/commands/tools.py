"""`utcp-bridge tools`, `search` and `learned`: the tools of a configuration, by name and by what they do.

The search is the one that MCP hosts call as `search_tools`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from utcp_bridge.cli import exits
from utcp_bridge.cli.finding import in_short, summary
from utcp_bridge.cli.opening import load, opened, report_failures, run_async, wait_for_manuals
from utcp_bridge.cli.options import Options, client_options
from utcp_bridge.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from utcp_bridge.access.narrowed import NarrowedClient
    from utcp_bridge.client.client import UtcpClient
    from utcp_bridge.model import JsonObject, Tool
    from utcp_bridge.stores.port import Store

__all__ = ["learned", "search", "tools"]


@click.command(
    epilog="""\b
Examples:
  utcp-bridge tools                            all tools of ./providers.json
  utcp-bridge tools utcp.yaml 'github.*'       tools whose name matches
  utcp-bridge tools --tag weather --json       as JSON, with schemas
  utcp-bridge tools --profile reports          tools of the profile reports
"""
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only tools with this tag; may be given several times.")
@click.option("--profile", metavar="NAME", help="Only tools of this profile, and its resources and prompts on stderr.")
@client_options("[PATTERN]...")
def tools(options: Options, words: tuple[str, ...], tags: tuple[str, ...], profile: str | None, as_json: bool) -> int:
    """List the tools by name. Manuals that failed are listed on stderr."""
    return run_async(_tools, options, words, tags, profile, as_json)


async def _tools(
    options: Options, patterns: tuple[str, ...], tags: tuple[str, ...], profile: str | None, as_json: bool
) -> int:
    async with opened(options.without_calls()) as client:
        part = None if profile is None else _part_of(client, profile)
        await wait_for_manuals(client)
        failed = report_failures(client)
        found = list(_chosen(client.tools() if part is None else part.tools(), patterns, tags))
        if part is not None:
            _note_offers(part)
        if as_json:
            print_json([summary(tool) for tool in found])
        elif found:
            rows = [(tool.qualified_name, tool.kind, in_short(tool)) for tool in found]
            print_table(("NAME", "KIND", "DESCRIPTION"), rows)
        else:
            note("No tool matches." if client.tools() else "There are no tools.")
        return exits.exit_code(failed[0].error) if failed and failed[0].error and not client.tools() else exits.OK


def _part_of(client: UtcpClient, profile: str) -> NarrowedClient:
    from utcp_bridge.access.narrowed import NarrowedClient
    from utcp_bridge.access.profiles import read_profiles

    return NarrowedClient(client, read_profiles(client.settings).named(profile, "--profile"))


def _note_offers(part: NarrowedClient) -> None:
    """Print what a profile has besides tools."""
    from utcp_bridge.catalogue.text import clean_line

    offers = [one.offers for one in part.upstreams() if one.offers is not None]
    uris = [one["uri"] for each in offers for one in each.resources]
    uris += [one["uriTemplate"] for each in offers for one in each.resource_templates]
    for what, names in (("Resources", uris), ("Prompts", [one["name"] for each in offers for one in each.prompts])):
        if names:
            note(f"{what}: {', '.join(sorted(clean_line(name, 200) for name in names))}")


def _chosen(tools: Iterable[Tool], patterns: tuple[str, ...], tags: tuple[str, ...]) -> Iterable[Tool]:
    from utcp_bridge.model import matches_glob

    wanted = {tag.casefold() for tag in tags}
    for tool in tools:
        if patterns and not any(matches_glob(pattern, tool.qualified_name) for pattern in patterns):
            continue
        if not wanted or wanted & {tag.casefold() for tag in tool.tags}:
            yield tool


@click.command(
    epilog="""\b
Examples:
  utcp-bridge search --quickstart "how many words"
  utcp-bridge search utcp.yaml --limit 3 --json "create an issue"
"""
)
@click.option(
    "-n", "--limit", default=10, type=click.IntRange(1, 1000), show_default=True, help="Maximum number of results."
)
@click.option("-t", "--tag", "tags", multiple=True, help="Only tools with this tag; may be given several times.")
@client_options("QUERY...", required=1)
def search(options: Options, words: tuple[str, ...], limit: int, tags: tuple[str, ...], as_json: bool) -> None:
    """Find tools by what they do. The best match comes first."""
    run_async(_search, options, " ".join(words), limit, tags, as_json)


async def _search(options: Options, query: str, limit: int, tags: tuple[str, ...], as_json: bool) -> None:
    async with opened(options.without_calls()) as client:
        await wait_for_manuals(client)
        report_failures(client)
        if fallback := await client.prepare_search([query], patient=True):
            note(client.redactor(fallback))
        hits = client.search(query, limit=limit, tags=tags or None)
        if as_json:
            print_json([{"score": round(hit.score, 4), **summary(hit.tool)} for hit in hits])
        elif hits:
            rows = [(f"{hit.score:.2f}", hit.tool.qualified_name, in_short(hit.tool)) for hit in hits]
            print_table(("SCORE", "NAME", "DESCRIPTION"), rows)
        else:
            note("No tool matches.")


@click.command(
    epilog="""\b
Examples:
  utcp-bridge learned utcp.yaml                what `search_memory: disk` kept
  utcp-bridge learned utcp.yaml --into manual.json
  utcp-bridge learned utcp.yaml --forget
"""
)
@click.option(
    "--into",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Print this manual (JSON) with the words as `asked_as` of its tools, for everybody who uses it.",
)
@click.option("--forget", is_flag=True, help="Remove what was learned.")
@client_options()
def learned(options: Options, as_json: bool, into: Path | None, forget: bool) -> None:
    """Show the words of past searches that led to each tool, or forget them. A running bridge still has its own."""
    run_async(_learned, options, into, forget, as_json)


async def _learned(options: Options, into: Path | None, forget: bool, as_json: bool) -> None:
    from utcp_bridge.server.lessons import examples_of_all, forget_all, open_search_store

    async with AsyncExitStack() as stack:
        loaded = await load(options, stack)
        store: Store = open_search_store(loaded.config.bridge, loaded.root)
        stack.push_async_callback(store.aclose)
        if forget:
            clients = await forget_all(store)
            note(f"Forgot the lessons of {clients:,} {'client' if clients == 1 else 'clients'}.")
            return
        examples = await examples_of_all(store)
    if into is not None:
        print_json(_with_words(into, examples))
    elif as_json:
        print_json([{"name": name, "asked_as": texts} for name, texts in examples.items()])
    elif examples:
        words = {name: dict.fromkeys(" ".join(texts).split()) for name, texts in examples.items()}
        print_table(("NAME", "WORDS"), [(name, " ".join(list(found)[:12])) for name, found in words.items()])
    else:
        is_kept = loaded.config.bridge.search_memory == "disk"
        note(f"Nothing was learned{' yet' if is_kept else '. Set `search_memory` to disk to keep what is learned'}.")


def _with_words(path: Path, examples: dict[str, list[str]]) -> JsonObject:
    """Return a manual with the learned words of its tools, which it may have under any manual's name.

    :raises ConfigError: the file is not a manual in JSON.
    """
    import orjson

    from utcp_bridge.errors import ConfigError
    from utcp_bridge.model import is_list, is_object

    try:
        manual = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise ConfigError(f"{path} cannot be read: {reason}.", remedy="Name a manual in JSON.") from None
    if not is_object(manual) or not is_list(manual.get("tools")):
        raise ConfigError(f"{path} is not a manual: it has no list `tools`.", remedy="Name a manual in JSON.")
    by_name = {name.partition(".")[2]: found for name, found in examples.items()}
    for tool in manual["tools"]:
        if is_object(tool) and (found := by_name.get(str(tool.get("name")))):
            known = tool.get("asked_as")
            texts = known if is_list(known) else [known] if isinstance(known, str) else []
            tool["asked_as"] = [*texts, *(text for text in found if text not in texts)]
    return manual
