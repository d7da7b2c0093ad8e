"""The one way to fetch a manual or an API description over HTTP, with advice where the answer is something else."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urljoin

import anyio

from utcp_bridge.errors import DeadlineExceeded, ManualError, Rejected, ReplyTooLarge
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.model import Document, Edition, in_seconds
from utcp_bridge.net.reply import Reply
from utcp_bridge.placement.request import RequestParts
from utcp_bridge.urls import bare_url

if TYPE_CHECKING:
    from utcp_bridge.auth.credentials import Credentials
    from utcp_bridge.net.http_session import HttpSession

__all__ = ["DOCUMENT_TYPES", "Entry", "document_request", "fetch_manual", "manual_advice"]

DOCUMENT_TYPES: Final = "application/json, application/yaml, text/yaml, */*;q=0.5"
Entry: TypeAlias = Literal["manual", "registry"]
"""The entry of a configuration that a document is fetched for: its `auth` and its limits apply."""

_ETAG = late_pattern(r'(?:W/)?"[\x21\x23-\x7e]{0,512}"')
_MAX_DATE: Final = 64
_NOT_MODIFIED: Final = 304
_WANTED: dict[Entry | None, str] = {"registry": "a registry's list of manuals"}
_USE_THE_DOCUMENT = "Use the address of the document itself, for example one that ends in /utcp or /openapi.json."


def document_request(url: str) -> RequestParts:
    """Return a GET request for a document at `url`."""
    return RequestParts("GET", url, [("Accept", DOCUMENT_TYPES)])


async def fetch_manual(  # noqa: PLR0913 - each is an option of its own
    session: HttpSession,
    request: RequestParts,
    *,
    max_bytes: int,
    credentials: Credentials | None = None,
    seconds: float | None = None,
    entry: Entry | None = None,
    known: Edition | None = None,
) -> Document:
    """Fetch a document; the caller parses it.

    `session` decides which addresses may be reached. `seconds` limits the whole exchange. `entry` names the entry of
    the configuration that the advice is about; None for a document that no entry names. If `known` is still the newest
    edition, the result has `is_known` and no content.

    :raises ManualError: the answer is empty, a web page or another thing that is not a document.
    :raises Rejected: the status is 400 or above.
    :raises ReplyTooLarge: the document has more than `max_bytes` bytes.
    :raises DeadlineExceeded: the document did not arrive within `seconds`.
    :raises UtcpError: the address cannot be reached or may not be.
    """
    with manual_advice(max_bytes, credentials, entry), anyio.move_on_after(seconds):
        conditional = request if known is None else _conditional(request, known)
        reply = await session.request(conditional, credentials=credentials, max_bytes=max_bytes)
        if known is not None and reply.status == _NOT_MODIFIED and conditional is not request:
            if reply.url == known.url:
                return Document(None, url=reply.url, edition=known, is_known=True)
            reply = await session.request(request, credentials=credentials, max_bytes=max_bytes)  # moved to another URL
        reply.raise_for_status()
        _check_content(reply, _WANTED.get(entry, "a manual or an API description"))
        return Document(reply.body, reply.url, reply.media_type or None, edition=_edition(reply))
    raise DeadlineExceeded(
        f"{bare_url(request.url)} did not return the whole document within {in_seconds(seconds or 0)}.",
        remedy="Check the address and that the server is up.",
    )


def _conditional(request: RequestParts, known: Edition) -> RequestParts:
    """Return a request that a server answers with 304 if the known edition is still the newest (RFC 9110, 13)."""
    stated = [("If-None-Match", known.etag), ("If-Modified-Since", known.modified)]
    added = [(name, value) for name, value in stated if value is not None]
    given = {name.lower() for name, _ in request.headers}
    if request.method != "GET" or not added or not given.isdisjoint(name.lower() for name, _ in added):
        return request
    return RequestParts("GET", request.url, [*request.headers, *added], request.body)


def _edition(reply: Reply) -> Edition | None:
    """Return what the server says about the edition, if a request can contain it."""
    etag, modified = (reply.headers.get(name, "").strip() or None for name in ("ETag", "Last-Modified"))
    if etag is not None and not _ETAG.fullmatch(etag):
        etag = None
    if modified is not None and not _is_old(modified, reply.headers.get("Date", "")):
        modified = None
    return None if etag is None and modified is None else Edition(reply.url, etag, modified)


def _is_old(modified: str, now: str) -> bool:
    """Return whether a document was modified in an earlier second than that of its reply.

    A document can change again within the second of its change, and its date stays the same then (RFC 9110, 8.8.2.2).
    """
    from email.utils import parsedate_to_datetime  # a manual in a file has no date

    try:
        return len(modified) < _MAX_DATE and parsedate_to_datetime(modified) < parsedate_to_datetime(now)
    except (ValueError, TypeError):  # not a date, or only one of them with a time zone
        return False


@contextmanager
def manual_advice(max_bytes: int, credentials: Credentials | None, entry: Entry | None) -> Generator[None]:
    """Give errors of a fetch the remedy that fits a manual."""
    try:
        yield
    except Rejected as error:
        if error.status in {401, 403}:
            error.remedy = _credentials_advice(credentials, entry)
        elif error.status == 404:
            error.remedy = (
                "Check the address of the registry."
                if entry == "registry"
                else "Check the path. OpenAPI descriptions are often at /openapi.json."
            )
        elif isinstance(error.status, int) and error.status >= 500:
            error.remedy = error.remedy or "The service itself failed. Look into its log, or try again later."
        raise
    except ReplyTooLarge as error:
        error.remedy = (
            f"Documents may have at most {max_bytes} bytes. Split it."
            if entry is None
            else f"Set `max_manual_bytes` above {max_bytes}."
        )
        raise


def _credentials_advice(credentials: Credentials | None, entry: Entry | None) -> str:
    if credentials is not None:
        return f'The server refused the credentials: check "auth" in the entry of the {entry or "manual"}.'
    if entry is None:
        return (
            "This address is fetched without credentials. Download the document and use the file, "
            'or name the address in a configuration, in a manual with "auth".'
        )
    example = '{"auth_type": "api_key", "api_key": "${API_KEY}", "var_name": "X-API-Key"}'
    return f'Add "auth" to the entry of the {entry}, for example {example}, and set API_KEY.'


def _check_content(reply: Reply, wanted: str) -> None:
    from utcp_bridge.net.web_page import HTML_TYPES, is_web_page  # patterns that a manual in a file does not need

    where, start = bare_url(reply.url), reply.body[:64].lstrip()
    if not start and not reply.body.strip():
        raise ManualError(
            f"{where} returned status {reply.status} with an empty body instead of {wanted}.", remedy=_USE_THE_DOCUMENT
        )
    looks_like_json = start.startswith((b"{", b"["))
    if is_web_page(reply.body) or (reply.media_type in HTML_TYPES and not looks_like_json):
        raise ManualError(f"{where} returned a web page instead of {wanted}.", remedy=_advice_for_page(reply))
    if reply.media_type.startswith(("image/", "audio/", "video/", "font/")):
        raise ManualError(f"{where} returned {reply.media_type} instead of {wanted}.", remedy=_USE_THE_DOCUMENT)


def _advice_for_page(page: Reply) -> str:
    from utcp_bridge.net.web_page import document_link  # see `_check_content`

    link = document_link(page.body)
    if link is None:
        return _USE_THE_DOCUMENT
    return f"The page links to {bare_url(urljoin(page.url, link))}: use that address."
