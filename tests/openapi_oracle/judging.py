"""Is what arrived what was prescribed? Everything is compared decoded; what is wrong is said in words."""

import contextlib
import email.parser
import email.policy
import json
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit


def judge(prescribed, arrived):
    """None, or the first thing that is wrong."""
    checks = (_method, _target, _query, _headers, _cookies, _body)
    return next((wrong for check in checks if (wrong := check(prescribed, arrived))), None)


def _method(prescribed, arrived):
    return None if arrived.method == prescribed.method else f"method {arrived.method}"


def _target(prescribed, arrived):
    path = arrived.target.partition("?")[0]
    decoded = "/".join(unquote(part).replace("/", "\0") for part in path.split("/"))
    for base in prescribed.bases:
        parts = urlsplit(base)
        wanted = unquote(parts.path) + (prescribed.path if prescribed.path.startswith("/") else f"/{prescribed.path}")
        if parts.netloc == arrived.header("host") and decoded == wanted:
            return None
    return f"target {arrived.header('host')}{path}, not {prescribed.bases} {prescribed.path}"


def _pairs(text):
    return [
        tuple(unquote(side, errors="strict") for side in part.partition("=")[::2]) for part in text.split("&") if part
    ]


def _query(prescribed, arrived):
    found = _pairs(arrived.target.partition("?")[2])
    if any("+" in part for part in arrived.target.partition("?")[2].split("&") if "+" in part):
        return "a bare + in the query"
    return None if same_pairs(found, prescribed.query) else f"query {found}, not {prescribed.query}"


def same_pairs(found, wanted):
    """Equal as multisets; JSON texts are equal as JSON."""
    return sorted(map(_canonical, found)) == sorted(map(_canonical, wanted))


def _canonical(pair):
    name, value = pair
    if value[:1] in {"{", "["}:
        with contextlib.suppress(ValueError):
            value = json.dumps(json.loads(value), sort_keys=True)
    return name, value


def _headers(prescribed, arrived):
    for name, wanted in prescribed.headers.items():
        found = arrived.header(name)
        if found is None or _canonical((name, found)) != _canonical((name, wanted)):
            return f"header {name}: {found!r}, not {wanted!r}"
    return None


def _cookies(prescribed, arrived):
    if "cookie" in prescribed.headers:  # a header parameter of that name was judged as a header
        return None
    found = [
        tuple(map(unquote, part.strip().partition("=")[::2])) for part in (arrived.header("cookie") or "").split(";")
    ]
    found = [pair for pair in found if pair[0]]
    return None if same_pairs(found, prescribed.cookies) else f"cookies {found}, not {prescribed.cookies}"


def _body(prescribed, arrived):
    if prescribed.body is None:
        return f"a body of {len(arrived.body)} bytes" if arrived.body else None
    content_type = arrived.header("content-type") or ""
    essence = content_type.split(";")[0].strip().lower()
    if not any(fnmatchcase(essence, declared.split(";")[0].strip().lower()) for declared in prescribed.media_types):
        return f"content type {content_type!r}, not one of {prescribed.media_types}"
    kind, value = prescribed.body
    return _BODIES[kind](value, arrived.body, content_type)


def _json(value, body, _content_type):
    try:
        found = json.loads(body)
    except ValueError:
        return f"no JSON body: {body[:80]!r}"
    return None if found == value else f"JSON body {found}, not {value}"


def _form(wanted, body, _content_type):
    found = _pairs(body.decode("ascii").replace("+", " "))
    return None if same_pairs(found, wanted) else f"form {found}, not {wanted}"


def _multipart(wanted, body, content_type):
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        found.append((unquote(name), part.get_payload(decode=True).decode("utf-8", "surrogateescape")))
    return None if same_pairs(found, wanted) else f"multipart {found}, not {wanted}"


def _bytes(value, body, _content_type):
    return None if body == value else f"body {body[:80]!r}, not {value[:80]!r}"


_BODIES = {"json": _json, "form": _form, "multipart": _multipart, "bytes": _bytes}
