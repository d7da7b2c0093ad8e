"""`utcp-bridge registry` (also installed as `utcp-registry`): serve a folder of manuals, and list registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from utcp_bridge import __version__
from utcp_bridge.cli.opening import run_async
from utcp_bridge.cli.options import debug_option
from utcp_bridge.cli.output import complain, note, print_json, print_table
from utcp_bridge.cli.program import CONTEXT, NamedGroup, Session

if TYPE_CHECKING:
    from utcp_bridge.registry.listing import ListingPage
    from utcp_bridge.registry.serving import Serving

__all__ = ["registry"]


@click.group(
    cls=NamedGroup,
    context_settings=CONTEXT,
    epilog="""\b
Examples:
  utcp-bridge registry serve manuals/ --port 8080        a folder of manuals as a registry
  utcp-bridge registry list http://127.0.0.1:8080        the manuals of a registry
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def registry() -> None:
    """Serve a folder of manuals as a registry, or list a registry."""


@registry.command(
    epilog="""\b
Examples:
  utcp-bridge registry serve --port 8080                 the current folder
  utcp-bridge registry serve manuals/
  curl 'http://127.0.0.1:8080/manuals?tag=weather&q=forecast'
"""
)
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--insecure",
    is_flag=True,
    help="Allow an address other than loopback. Everyone who can reach it can read every manual.",
)
@click.option("--public-url", metavar="URL", help="URL of this registry in the listings, if it is behind a proxy.")
@click.option("--debug", is_flag=True, help="Show debug log lines, and tracebacks of errors.")
@click.pass_obj
def serve(session: Session, /, folder: Path, debug: bool, **flags: Any) -> None:
    """Serve the manuals and OpenAPI descriptions in FOLDER.

    GET /manuals?tag=&q=&limit=&cursor= lists them. Each has its own URL. A file that changes is read again. Client
    configurations in the folder are not served.
    """
    from utcp_bridge.auth.redaction import Redactor
    from utcp_bridge.cli.logs import configure_logging
    from utcp_bridge.registry.serving import Serving

    session.debug = debug
    configure_logging("debug" if debug else "warning", "text", Redactor())
    run_async(_serve, folder, Serving(**flags))


async def _serve(folder: Path, serving: Serving) -> None:
    from utcp_bridge.cli.logs import unblocked_stderr
    from utcp_bridge.registry.serving import serve_registry
    from utcp_bridge.server.watchdog import watching

    def ready(url: str, manuals: int) -> None:
        note(f"Serving {manuals} {'manual' if manuals == 1 else 'manuals'} of {folder} on {url}/manuals")

    with unblocked_stderr(serving=True), watching():
        await serve_registry(folder, serving, on_ready=ready)


@registry.command(
    "list",
    epilog="""\b
Examples:
  utcp-bridge registry list https://registry.example.com
  utcp-bridge registry list https://registry.example.com --tag weather forecast --json
  utcp-bridge registry list ./registry.json
""",
)
@click.argument("place", metavar="REGISTRY")
@click.argument("words", nargs=-1)
@click.option("-t", "--tag", "tags", multiple=True, help="Only manuals with this tag; may be given several times.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), help="Maximum number of results.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@debug_option
@click.pass_obj
def list_manuals(session: Session, /, place: str, words: tuple[str, ...], tags: tuple[str, ...], **flags: Any) -> None:
    """List the manuals of REGISTRY, a URL or a file, that match all WORDS."""
    session.as_json = flags["as_json"]
    page = run_async(_list, place, " ".join(words), tags, flags["limit"])
    for fault in page.faults:
        complain(str(fault))
    if flags["as_json"]:
        print_json({"manuals": [listing.as_json() for listing in page.listings]})
    elif page.listings:
        rows = [
            (one.name, ", ".join(one.tags[:3]), one.url, one.description.strip().partition("\n")[0])
            for one in page.listings
        ]
        print_table(("NAME", "TAGS", "URL", "DESCRIPTION"), rows)
    else:
        note("No manual matches.")


async def _list(place: str, words: str, tags: tuple[str, ...], limit: int | None) -> ListingPage:
    from utcp_bridge.registry.client import fetch_document, list_manuals

    return await list_manuals(place, fetch_document, tags=tags, q=words, limit=limit)
