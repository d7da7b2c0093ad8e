"""What a place is that a person wants tools from: its kind, its tools, where calls go, and which credentials it needs.

`add` and `init` ask this before they write an entry. A place is a URL, a file, the command line of an MCP server, or
the name of a recipe.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from utcp_bridge.errors import AuthRequired, ConfigError, ManualError, Rejected, UtcpError
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.processes.systems import has_folder, split_command

if TYPE_CHECKING:
    from utcp_bridge.configuration.places import Placed

__all__ = ["AuthWay", "Recipe", "ToolSource", "examine", "is_command_line", "recipes", "suggested_name"]

_SECONDS: Final = 30.0
"""How long a server may take to show its tools."""
_GENERIC_HOST: Final = re.compile(r"(?:api|www|mcp|docs?|developers?|openapi|app|rest)\.")
_RAW_HOST: Final = re.compile(
    r"(?:^|\.)(?:raw|gist|cdn|static|storage|objects?|s3)\b|amazonaws|digitaloceanspaces|jsdelivr"
)
_PLAIN_WORDS: Final = frozenset({"", "null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that are not text in YAML, or in older versions of it."""
_GENERIC_WORDS: Final = frozenset(
    {"the", "rest", "api", "apis", "openapi", "swagger", "spec", "specification", "public"}
)
_DOCUMENT: Final = re.compile(r"(?i)\.(?:json|jsonc|ya?ml)$")
_MAX_NAME: Final = 40
_LAUNCHERS: Final = frozenset(
    {"npx", "uvx", "bunx", "pipx", "uv", "pnpm", "yarn", "bun", "deno", "docker", "podman", "node"}
)
_PYTHON: Final = re.compile(r"python[0-9.]*|py")
_VERBS_OF_LAUNCHERS: Final = frozenset({"run", "dlx", "exec", "x", "tool"})
_WITH_VALUE: Final = frozenset(
    {"-e", "--env", "-v", "--volume", "--mount", "--name", "--network", "--from", "--with", "-p", "--package"}
    | {"--python", "--env-file", "-u", "--user", "-w"}
)
_UNSAFE_TRIAL: Final = re.compile(r"(?i)delete|remove|logout|sign.?out|revoke|reset|cancel|unsubscribe|export|download")


@dataclass(frozen=True, slots=True)
class AuthWay:
    """One way to authenticate.

    `what` describes it, `variables` are to be set for it. `auth` goes into the entry; None if the variables alone are
    enough. `tools` is the number of tools for which it works.
    """

    what: str
    variables: tuple[str, ...]
    auth: JsonObject | None = field(default=None, repr=False)
    tools: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is known about a public API. `key` is `{header, prefix}`, `{basic: true}` or empty."""

    name: str
    title: str
    url: str
    origins: tuple[str, ...]
    key: Mapping[str, Any]
    page: str
    trial: str
    kind: str


@dataclass(frozen=True, slots=True)
class ToolSource:
    """A source of tools that was looked at.

    `entry` is its call template, without name and credentials. `origins` are where its calls go, `own` is the origin of
    the place itself. `auths` are the credentials that its tools ask for, one for each tool, None for a tool that needs
    none. `trial` is the tool of a harmless GET without arguments. `keys` are variables that a manual names itself.
    """

    kind: str
    title: str
    place: str
    entry: JsonObject = field(repr=False)
    tools: int = 0
    origins: tuple[str, ...] = ()
    own: str = ""
    auths: tuple[JsonObject | None, ...] = field(default=(), repr=False)
    keys: tuple[str, ...] = ()
    trial: str = ""
    notes: tuple[str, ...] = ()

    @property
    def foreign(self) -> list[str]:
        """The origins that the entry has to allow: credentials go to these and to the origin of the place."""
        return [origin for origin in self.origins if origin != self.own]

    @property
    def needs_key(self) -> bool:
        """Whether each of its tools needs credentials."""
        return bool(self.keys) or (bool(self.auths) and all(_is_required(auth) for auth in self.auths))

    def ways(self, name: str, recipe: Recipe | None = None) -> list[AuthWay]:
        """Return each way to authenticate a manual of this name, the one for most tools first."""
        if self.keys:
            from utcp_bridge.variables import flat_key

            keys = tuple(flat_key(name, key) or key for key in self.keys)
            return [AuthWay("the variables that the manual names", keys, tools=self.tools)]
        prefix = _variable_prefix(name)
        found: dict[str, AuthWay] = {}
        counts: Counter[str] = Counter()
        for auth in self.auths:
            of_tool = {way.what: way for way in _ways_of(auth, name, prefix)}
            found = {**of_tool, **found}
            counts.update(of_tool.keys())
        order = sorted(found, key=lambda what: (-counts[what], found[what].auth is None))
        ways = [replace(found[what], tools=counts[what]) for what in order]
        first = None if recipe is None else _recipe_way(recipe, prefix, self.tools)
        if first is None:
            return ways
        return [first, *(way for way in ways if way.what != first.what)]


@cache
def recipes() -> Mapping[str, Recipe]:
    """Return the recipes by their names."""
    from utcp_bridge.dialects.documents import parse_document

    text = (files("utcp_bridge.cli") / "recipes.yaml").read_text(encoding="utf-8")
    return {
        name: Recipe(
            name,
            one["title"],
            one["url"],
            tuple(one["origins"]),
            one.get("key") or {},
            one.get("page", ""),
            one.get("trial", ""),
            one.get("kind", ""),
        )
        for name, one in parse_document(text, hint=".yaml").items()
    }


# --- looking -------------------------------------------------------------------------------------


async def examine(
    place: str,
    *,
    kind: str = "",
    base_url: str | None = None,
    trial: str = "",
    folder: Path | None = None,
    headers: JsonObject | None = None,
) -> ToolSource:
    """Return what is at a URL, in a file, or behind the command line of an MCP server, which is started.

    `kind` (openapi, manual, mcp, graphql) skips the detection. `base_url` replaces the servers of a description.
    `trial` is the path of a harmless GET. Commands run in `folder`. `headers` are those for an MCP server.

    :raises ConfigError: the place is not a source of tools, or the file does not exist.
    :raises UtcpError: it cannot be reached.
    """
    if place.lower().startswith(("ws://", "wss://")):
        return await _served("websocket", {"call_template_type": "websocket", "url": place}, place)
    if kind == "mcp" and headers:
        return await _served("mcp", {"call_template_type": "mcp", "url": place, "headers": headers}, place)
    if _is_url(place):
        return await _at_url(place, kind, base_url, trial)
    if kind == "mcp" or is_command_line(place):
        entry = {"call_template_type": "mcp", "command": place}
        return await _served("mcp", entry, place, folder=folder)
    return await _document(place, base_url, trial)


def is_command_line(text: str) -> bool:
    """Return whether a text is the command line of a program that this machine has, and not the path of a file."""
    try:
        words = split_command(text)
    except ValueError:
        return False
    return bool(words) and not Path(text).exists() and shutil.which(words[0]) is not None


def _is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


async def _at_url(url: str, kind: str, base_url: str | None, trial: str) -> ToolSource:
    """Look for a document, an MCP server and a GraphQL service, the likeliest first. Return the first that is there."""
    path = urlsplit(url).path.rstrip("/").lower()
    order = ["document", "mcp", "graphql"]
    likely = "mcp" if path.endswith(("/mcp", "/sse")) else "graphql" if path.endswith("/graphql") else "document"
    order.sort(key=lambda one: one != likely)
    if kind:
        order = [kind if kind in {"mcp", "graphql"} else "document"]
    failures: list[UtcpError] = []
    for one in order:
        try:
            if one == "document":
                return await _document(url, base_url, trial)
            return await _served(one, {"call_template_type": one, "url": url}, url)
        except UtcpError as error:
            failures.append(error)
            if one == "document" and isinstance(error, ConfigError):
                break
    raise failures[0]


async def _document(place: str, base_url: str | None, trial: str) -> ToolSource:
    from utcp_bridge.configuration.places import read_place
    from utcp_bridge.dialects import Shape, detect
    from utcp_bridge.dialects.formats import format_of_document, said_of_format

    placed = await read_place(place)
    shape = detect(placed.document)
    if shape in {Shape.OPENAPI, Shape.FOREIGN}:
        return await _description(placed, place, base_url, trial)
    if shape in {Shape.MANUAL, Shape.TOOLS}:
        return _manual(placed, place)
    if shape is Shape.CONFIG and "mcpServers" in placed.document:
        raise ConfigError(
            f"{placed.shown} is the file of an MCP host.", remedy=f"Run `utcp-bridge migrate {place}` to take it over."
        )
    if shape in {Shape.CONFIG, Shape.CONFIG_ENTRIES, Shape.TEMPLATE, Shape.REGISTRY}:
        raise ConfigError(
            f"{placed.shown} is a {'registry' if shape is Shape.REGISTRY else 'configuration'} instead of a manual.",
            remedy="Name it beside your configuration: `utcp-bridge serve` takes several.",
        )
    if found := format_of_document(placed.document):
        raise ConfigError(f"{placed.shown} is {said_of_format(found)}.", remedy=found.way)
    raise ManualError(
        f"{placed.shown} is neither an API description, nor a manual, nor an MCP server, nor a GraphQL service.",
        remedy="Check the address. The page of an API often links its OpenAPI description.",
    )


def _template_of(place: str) -> JsonObject:
    if _is_url(place):
        return {"call_template_type": "http", "url": place}
    return {"call_template_type": "file", "file_path": place}


async def _description(placed: Placed, place: str, base_url: str | None, trial: str) -> ToolSource:
    from utcp_bridge.convert.foreign import foreign_manual
    from utcp_bridge.convert.outcome import Wishes
    from utcp_bridge.convert.sources import openapi_manual
    from utcp_bridge.dialects.formats.described import kind_of

    document, wishes = placed.document, Wishes(base_url=base_url)
    kind = kind_of(document) or "OpenAPI description"
    if kind_of(document):
        made = await foreign_manual(placed, placed.shown, wishes)
    else:
        made = await openapi_manual(document, url=placed.url, name=placed.shown, wishes=wishes)
    templates = [tool["tool_call_template"] for tool in made.tools]
    info = made.document.get("info")
    lost = [fault for fault in made.notes if fault.severity == "error"]
    return ToolSource(
        kind,
        str(info.get("title") or "") if is_object(info) else "",
        place,
        {**_template_of(place), **({"base_url": base_url} if base_url else {})},
        len(made.tools),
        _origins(template.get("url") for template in templates),
        _origin(place),
        tuple(auth if is_object(auth := template.get("auth")) else None for template in templates),
        trial=_harmless(made.tools, trial),
        notes=tuple(str(fault) for fault in lost[:3]),
    )


def _manual(placed: Placed, place: str) -> ToolSource:
    from utcp_bridge.dialects import to_v1
    from utcp_bridge.manuals.variables_needed import variables_of_tools

    manual = to_v1(placed.document)
    tools = [tool for tool in manual.get("tools", ()) if is_object(tool)]
    templates = [one for tool in tools if is_object(one := tool.get("tool_call_template"))]
    info = manual.get("info")
    kinds = {str(one.get("call_template_type")) for one in templates} - {"http", "file", "text"}
    entry = _template_of(place)
    own = "http" if _is_url(place) else "file"
    programs = sorted({str(one.get("call_template_type")) for one in templates if _starts_program(one)})
    wanted = sorted({str(one.get("call_template_type")) for one in templates}.difference(programs) | {own})
    notes = [f"Its tools also have the types {', '.join(sorted(kinds))}."] if kinds else []
    if programs:
        more = ' and "trusted": true' if own == "http" else ""
        notes.append(
            f"Tools of the type {', '.join(programs)} run programs on this machine, so they are left out. If you trust "
            f"the manual, add the type to `allowed_communication_protocols` of its entry{more}."
        )
    if wanted != [own]:
        entry["allowed_communication_protocols"] = wanted
    needed = variables_of_tools(tools, "")
    return ToolSource(
        "UTCP manual",
        str(info.get("title") or "") if is_object(info) else "",
        place,
        entry,
        len(tools),
        _origins(template.get("url") for template in templates),
        _origin(place),
        keys=tuple(needed),
        trial=_harmless(tools, ""),
        notes=tuple(notes),
    )


def _starts_program(template: JsonObject) -> bool:
    """Return whether a call of a template, as a manual states it, may start a program on this machine."""
    from pydantic import ValidationError

    from utcp_bridge.transports.registry import TransportRegistry

    try:
        transport = TransportRegistry().find(str(template.get("call_template_type")))
    except ConfigError:
        return False
    try:
        return not transport.implicit or transport.starts_program(transport.template.model_validate(template))
    except ValidationError:  # a variable may make it valid later
        return "starts_program" in vars(transport)


async def _served(kind: str, entry: JsonObject, place: str, *, folder: Path | None = None) -> ToolSource:
    """Return what a server says of itself. It is asked as the bridge will ask it.

    :raises UtcpError: it does not answer.
    """
    from utcp_bridge.cli.opening import open_loaded
    from utcp_bridge.configuration.loading import as_config

    async with AsyncExitStack() as stack:
        loaded = await as_config({"manual_call_templates": [{**entry, "name": "place"}]}, root=folder or Path.cwd())
        client = await open_loaded(loaded, stack)
        await client.wait_loaded(_SECONDS)
        [state] = client.report()
        titles = {"mcp": "MCP server", "graphql": "GraphQL service", "websocket": "WebSocket service"}
        origins = (_origin(place),) if "url" in entry else ()
        found = ToolSource(titles[kind], state.title, place, entry, state.tools, origins, _origin(place))
        error = state.error
        if isinstance(error, AuthRequired) or (isinstance(error, Rejected) and error.status == 401):
            return replace(found, auths=(_BEARER,), notes=(_login_note(kind, error),))
        if error is not None:
            raise error
        if kind == "graphql" and state.dialect not in {"", "graphql"} and not state.tools:
            raise ManualError(f"{place} is not a GraphQL service.")
        return found


_BEARER: Final[JsonObject] = {
    "auth_type": "api_key",
    "api_key": "Bearer ${TOKEN}",
    "var_name": "Authorization",
    "location": "header",
}


def _login_note(kind: str, error: UtcpError) -> str:
    if isinstance(error, AuthRequired) and kind == "mcp":
        return "It wants a login. `utcp-bridge login NAME` opens it in a browser, or give it a token."
    return "It wants credentials, so its tools are not known yet."


def _origin(url: Any) -> str:
    from utcp_bridge.urls import origin_of

    if isinstance(url, str) and "://" in url:
        with suppress(ConfigError):
            return origin_of(url.replace("ws://", "http://").replace("wss://", "https://"))
    return ""


def _origins(urls: Iterable[Any]) -> tuple[str, ...]:
    """Return the origins of URLs, the most frequent first."""
    found = [origin for url in urls if (origin := _origin(url))]
    return tuple(origin for origin, _ in Counter(found).most_common())


def _harmless(tools: Sequence[JsonObject], path: str) -> str:
    """Return the name of a tool whose GET needs no arguments and reads something small, or an empty text."""
    found: list[tuple[int, str]] = []
    for tool in tools:
        template, inputs, name = tool.get("tool_call_template"), tool.get("inputs"), str(tool.get("name"))
        if not is_object(template) or str(template.get("http_method", "GET")).upper() != "GET":
            continue
        url = urlsplit(str(template.get("url"))).path
        needs = is_object(inputs) and bool(inputs.get("required"))
        if needs or "{" in url or template.get("call_template_type") != "http":
            continue
        if path and url.endswith(path):
            return name
        if not _UNSAFE_TRIAL.search(f"{url} {name}"):
            found.append((len(url), name))
    return min(found)[1] if found and not path else ""


# --- credentials ---------------------------------------------------------------------------------


def _is_required(auth: JsonObject | None) -> bool:
    return auth is not None and auth.get("optional") is not True


def _variable_prefix(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII).upper().strip("_") or "API"


def _ways_of(auth: JsonObject | None, name: str, prefix: str) -> Iterator[AuthWay]:
    if auth is None:
        return
    options = auth.get("options")
    for option in options if auth.get("auth_type") == "any" and is_list(options) else [auth]:
        if is_object(option):
            yield _way(option, name, prefix)


def _way(auth: JsonObject, name: str, prefix: str) -> AuthWay:
    """Return one way. Kinds that an entry cannot set for all tools use the variables of the document."""
    kind = auth.get("auth_type")
    if kind == "api_key":
        sent, variable = _key_of(auth, prefix)
        start = str(auth.get("api_key", "")).partition("${")[0]
        written = {**_without(auth, "aliases"), "api_key": f"{start}${{{variable}}}"}
        return AuthWay(sent, (variable,), written)
    if kind == "basic":
        user, password = f"{prefix}_USERNAME", f"{prefix}_PASSWORD"
        written = {"auth_type": "basic", "username": f"${{{user}}}", "password": f"${{{password}}}"}
        return AuthWay("a user name and a password", (user, password), written)
    return AuthWay(_in_words(auth, prefix), tuple(_own_variables(auth, name)))


def _in_words(auth: JsonObject, prefix: str) -> str:
    kind, schemes = auth.get("auth_type"), auth.get("schemes")
    if kind == "all" and is_list(schemes):
        return " and ".join(_way(one, "", prefix).what for one in schemes if is_object(one))
    if kind == "oauth2_login":
        secret = " and secret" if "client_secret" in auth else ""
        return f"the login of a person, with an OAuth client id{secret}"
    return "an OAuth client id and secret" if kind == "oauth2" else f"{kind}"


def _own_variables(auth: JsonObject, name: str) -> list[str]:
    from utcp_bridge.variables import flat_key, variable_names

    return [flat_key(name, variable) or variable for variable in variable_names(_without(auth, "aliases"))]


def _without(auth: JsonObject, key: str) -> JsonObject:
    return {name: value for name, value in auth.items() if name != key}


def _key_of(auth: Mapping[str, Any], prefix: str) -> tuple[str, str]:
    """Return how a key is sent, in words, and its variable."""
    place, key = auth.get("location", "header"), str(auth.get("var_name", "X-Api-Key"))
    start = str(auth.get("api_key", "")).partition("${")[0].strip()
    if start:
        return f"a token, sent as `{key}: {start} …`", f"{prefix}_TOKEN"
    where = {"header": "header", "query": "query parameter", "cookie": "cookie"}.get(str(place), "header")
    return f"a key in the {where} {key}", f"{prefix}_API_KEY"


def _recipe_way(recipe: Recipe, prefix: str, tools: int) -> AuthWay | None:
    if not recipe.key:
        return None
    auth: JsonObject = {"auth_type": "basic"}
    if header := recipe.key.get("header"):
        start = recipe.key.get("prefix", "")
        auth = {"auth_type": "api_key", "api_key": f"{start}${{KEY}}", "var_name": header, "location": "header"}
    return replace(_way(auth, recipe.name, prefix), tools=tools)


# --- names ---------------------------------------------------------------------------------------


def suggested_name(place: str, title: str, taken: Iterable[str]) -> str:
    """Return a new name for a source: from the host of its URL, its title, its package or its file.

    A host that only stores files, and an address without a name, say nothing about the source.
    """
    base = _safe(_base_name(place, title))
    names, name, number = set(taken), base, 2
    while name in names:
        name, number = f"{base}_{number}", number + 1
    return name


def _base_name(place: str, title: str) -> str:
    if not re.match(r"(?:https?|wss?)://", place, re.IGNORECASE):
        if Path(place).exists() or _DOCUMENT.search(place) or not re.search(r"\s", place):
            return PurePath(place).stem
        return _package(place)
    parts = urlsplit(place)
    host = (parts.hostname or "").lower()
    stem = PurePath(parts.path).stem
    if _is_address(host) or _RAW_HOST.search(host):
        words = [word for word in title.split() if not _is_generic(word)]
        return " ".join(words) or stem or host
    while (match := _GENERIC_HOST.match(host)) and host.count(".") > 1:
        host = host[match.end() :]
    return host.partition(".")[0]


def _is_generic(word: str) -> bool:
    """Return whether a word of a title says nothing about the source: `API`, `v2`, `3.1`."""
    word = word.strip("().,:-").lower()
    return word in _GENERIC_WORDS or word.removeprefix("v").replace(".", "").isdigit() or not word


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _package(command: str) -> str:
    """Return the package or program of a command line: `npx -y @scope/server-memory@1 /data` → `server-memory`."""
    try:
        words = split_command(command)
    except ValueError:
        words = command.split()
    launched, skips = False, False
    for word in words:
        stem = PurePath(word).stem if has_folder(word) and not word.startswith("@") else word
        if skips or word.startswith("-") or (launched and word in _VERBS_OF_LAUNCHERS):
            skips = not skips and word in _WITH_VALUE
        elif stem in _LAUNCHERS or _PYTHON.fullmatch(stem):
            launched = True
        else:
            package, at, version = word.rpartition("@")
            bare = (package if package and at and "/" not in version else word).rpartition("/")[2]
            return re.sub(r"\.(?:py|js|ts|mjs|exe|cmd)$|:[\w.-]+$", "", bare)
    return words[0] if words else "server"


def _safe(text: str) -> str:
    """Return a name of letters, digits and `_`, which YAML reads as text."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()[:_MAX_NAME].rstrip("_")
    return f"api_{name}".rstrip("_") if name in _PLAIN_WORDS or name[0].isdigit() else name
