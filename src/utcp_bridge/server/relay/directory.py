"""Which upstream owns a prompt or a URI, and under which name hosts know it.

A name or a URI stays the upstream's own where only one upstream has it. Otherwise each of them gets a prefix that
depends on its upstream alone, so it stays the same when others come and go. Both forms work in requests at all times:

    prompt   summary             → shop_summary
    URI      memo://guide        → utcp-bridge://shop/memo://guide
    template memo://notes/{id}   → utcp-bridge://shop/memo://notes/{id}
    page     ui://clock          → ui://utcp-bridge.shop/clock
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import islice
from typing import Final, TypeAlias

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from utcp_bridge.catalogue.links import refused_link
from utcp_bridge.catalogue.text import clean, clean_line
from utcp_bridge.foreign import is_visible_line, visible
from utcp_bridge.model import JsonObject, is_object
from utcp_bridge.server.relay.pages import digest_of
from utcp_bridge.upstream import Offers, Upstream

__all__ = ["SCHEME", "Directory", "Owner", "can_subscribe", "refuse_link"]

SCHEME: Final = "utcp-bridge://"
_WRAPPED: Final = re.compile(rf"{re.escape(SCHEME)}([a-z0-9_-]+)/(.+)", re.IGNORECASE | re.DOTALL)
_APP: Final = "ui://"
_APP_MARK: Final = "ui://utcp-bridge."
"""Starts a wrapped URI of a page: hosts show pages of the scheme `ui` only."""
_WRAPPED_APP: Final = re.compile(rf"{re.escape(_APP_MARK)}([a-z0-9_-]+)/(.+)", re.IGNORECASE | re.DOTALL)
_STRANGE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_WEB: Final = ("http:", "https:")
_MAX_TITLE: Final = 120
_MAX_DESCRIPTION: Final = 4_096
_MAX_INSTRUCTIONS: Final = 16_384
"""Characters that are read of each. Hosts get a part of them (`introduction.py`)."""
_MAX_KEY: Final = 40
_MAX_TRIED: Final = 100
"""Templates of one upstream with the same beginning as a URI that are compared with it."""

Owner: TypeAlias = tuple[Upstream, str]
"""An upstream, and the name or the URI that it knows itself."""


@dataclass(frozen=True, slots=True)
class _Known:
    """One upstream with what it offers."""

    upstream: Upstream
    offers: Offers
    prefix: str
    """Its part of prefixed names and of wrapped URIs."""
    uris: frozenset[str] = field(default_factory=frozenset[str])
    templates: tuple[str, ...] = ()
    schemes: frozenset[str] = field(default_factory=frozenset[str])

    def has_template_of(self, uri: str) -> bool:
        """Return whether the upstream lists a template that matches this URI."""
        alike = (one for one in self.templates if uri.startswith(one.partition("{")[0]))
        return any(_matches(template, uri) for template in islice(alike, _MAX_TRIED))

    @property
    def key(self) -> str:
        """Its part of wrapped URIs, which are compared without regard to case."""
        return self.prefix.lower()

    @property
    def has_resources(self) -> bool:
        """Whether requests for resources reach it."""
        return "resources" in self.offers.capabilities


class Directory:
    """What the upstreams offered at one moment, under the names that hosts see."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        pairs = [(one, offers) for one in upstreams if (offers := one.offers) is not None]
        pairs.sort(key=lambda pair: (pair[0].manual, pair[0].name))
        prefixes = _prefixes([_label(upstream) for upstream, _ in pairs])
        self._known = [_known(*pair, prefix) for pair, prefix in zip(pairs, prefixes, strict=True)]
        self._by_upstream = {id(one.upstream): one for one in self._known}

    def is_of(self, upstreams: Sequence[Upstream]) -> bool:
        """Return whether these upstreams still offer the same."""
        offered = [(one, offers) for one in upstreams if (offers := one.offers) is not None]
        same = all(
            (known := self._by_upstream.get(id(one))) is not None and known.offers is offers for one, offers in offered
        )
        return same and len(offered) == len(self._known)

    @property
    def upstreams(self) -> list[Upstream]:
        """The upstreams that offer something."""
        return [one.upstream for one in self._known]

    @cached_property
    def resources(self) -> list[JsonObject]:
        """The entries of `resources/list`."""
        return [
            _shown({**entry, "uri": self.uri_for(one.upstream, entry["uri"])})
            for one in self._known
            for entry in one.offers.resources
        ]

    @cached_property
    def resource_templates(self) -> list[JsonObject]:
        """The entries of `resources/templates/list`."""
        count = Counter(template for one in self._known for template in one.templates)
        return [
            _shown({**entry, "uriTemplate": own if count[own] == 1 else _wrap(one.key, own)})
            for one in self._known
            for entry in one.offers.resource_templates
            for own in (entry["uriTemplate"],)
        ]

    @cached_property
    def prompts(self) -> list[JsonObject]:
        """The entries of `prompts/list`."""
        return [
            _shown({**entry, "name": self._prompt_names[one.prefix, entry["name"]], **_shown_arguments(entry)})
            for one in self._known
            for entry in one.offers.prompts
        ]

    @cached_property
    def digests(self) -> dict[str, str]:
        """A hash of the resources with their templates, and one of the prompts."""
        return {
            "resources": digest_of([*self.resources, *self.resource_templates]),
            "prompts": digest_of(self.prompts),
        }

    @cached_property
    def _prompt_names(self) -> dict[tuple[str, str], str]:
        """The listed name of each prompt, by the prefix of its upstream and its own name."""
        own = Counter(entry["name"] for one in self._known for entry in one.offers.prompts)
        pairs = [(one.prefix, entry["name"]) for one in self._known for entry in one.offers.prompts]
        named = {pair: _visible_name(pair[1] if own[pair[1]] == 1 else "_".join(pair)) for pair in pairs}
        count = Counter(named.values())
        return {pair: name if count[name] == 1 else f"{name}_{_digest(' '.join(pair))}" for pair, name in named.items()}

    @cached_property
    def _prompt_owners(self) -> dict[str, Owner]:
        """The owners of prompts by every name that requests may use. Names that are listed come first."""
        listed: dict[str, Owner] = {}
        others: dict[str, Owner] = {}
        for one in self._known:
            for entry in one.offers.prompts:
                own = entry["name"]
                listed.setdefault(self._prompt_names[one.prefix, own], (one.upstream, own))
                others.setdefault(f"{one.prefix}_{own}", (one.upstream, own))
        return {**others, **listed}

    def prompt(self, name: str) -> Owner | None:
        """Return the owner of a prompt and its own name, or None."""
        return self._prompt_owners.get(name)

    def own_arguments(self, owner: Owner, given: Mapping[str, str]) -> dict[str, str]:
        """Return the arguments of a prompt under the names that its upstream knows, for the names that hosts see."""
        known = self._by_upstream.get(id(owner[0]))
        prompts = known.offers.prompts if known is not None else ()
        arguments = next((one.get("arguments", ()) for one in prompts if one["name"] == owner[1]), ())
        own = {_visible_name(one["name"], "argument"): one["name"] for one in arguments}
        return {own.get(name, name): value for name, value in given.items()}

    def offering(self, capability: str) -> list[Upstream]:
        """Return the upstreams that have a capability."""
        return [one.upstream for one in self._known if capability in one.offers.capabilities]

    def instructions(self) -> list[tuple[str, str]]:
        """Return the instructions of each upstream that has some, by its name for people."""
        return [
            (clean_line(_label(one.upstream), _MAX_TITLE), text)
            for one in self._known
            if (text := visible((one.offers.instructions or "")[:_MAX_INSTRUCTIONS])).strip()
        ]

    def has_resources(self, upstream: Upstream) -> bool:
        """Return whether an upstream can be asked for resources."""
        known = self._by_upstream.get(id(upstream))
        return known is not None and known.has_resources

    def shown_link(self, upstream: Upstream, uri: str, is_refused: bool) -> str | None:
        """Return the URI by which hosts read a resource that an upstream named; None if they cannot.

        A link that they must not open themselves (`is_refused`) is read through the upstream.
        """
        if is_refused and not self.has_resources(upstream):
            return None
        return self.uri_for(upstream, uri, wrapped=is_refused)

    def uri_for(self, upstream: Upstream, uri: str, *, wrapped: bool = False) -> str:
        """Return the URI by which hosts read this URI of an upstream.

        It is the URI itself if a request for it would reach this upstream, or if hosts open it themselves. With
        `wrapped`, it never is.
        """
        known = self._by_upstream.get(id(upstream))
        if known is None or not known.has_resources or uri.lower().startswith((SCHEME, _APP_MARK)):
            return uri
        if wrapped:
            return _wrap(known.key, uri)
        is_web = uri.lower().startswith(_WEB)
        if is_web and refuse_link(upstream, uri) is not None:  # hosts may fetch it themselves
            return _wrap(known.key, uri)
        owners = self._covering(uri)
        if owners == [known] or (not owners and len(self._with_resources) == 1):
            return uri
        if not owners and is_web:
            return uri
        return _wrap(known.key, uri)

    def _covering(self, uri: str) -> list[_Known]:
        """Return the upstreams that list a URI, else those with a template that matches it.

        A list of URIs costs no look at templates, because their numbers would multiply.
        """
        return self._by_uri.get(uri) or [one for one in self._known if one.has_template_of(uri)]

    @cached_property
    def _by_uri(self) -> dict[str, list[_Known]]:
        found: dict[str, list[_Known]] = {}
        for one in self._known:
            for uri in one.uris:
                found.setdefault(uri, []).append(one)
        return found

    def owners(self, uri: str) -> list[Owner]:
        """Return the upstreams that may have a URI or a template, the likeliest first, with their own form of it."""
        wrapped, page = _WRAPPED.fullmatch(uri), _WRAPPED_APP.fullmatch(uri)
        if (found := wrapped or page) is not None:
            key, own = found[1].lower(), found[2] if wrapped else f"{_APP}{found[2]}"
            return [(one.upstream, own) for one in self._known if one.key == key]
        likely = [one for one in self._with_resources if uri in one.templates]
        likely = likely or [one for one in self._covering(uri) if one.has_resources]
        if not likely and len(self._with_resources) > 1:
            scheme = uri.partition(":")[0].lower()
            likely = [one for one in self._with_resources if scheme in one.schemes]
        return [(one.upstream, uri) for one in likely or self._with_resources[:1]]

    @cached_property
    def _with_resources(self) -> list[_Known]:
        return [one for one in self._known if one.has_resources]


def refuse_link(upstream: Upstream, uri: str) -> str | None:
    """Return why hosts must not open a link of an upstream themselves; None if they may."""
    return refused_link(uri, is_local=upstream.is_local, written=upstream.written)


def can_subscribe(upstream: Upstream) -> bool:
    """Return whether an upstream reports changes of its resources."""
    resources = upstream.offers.capabilities.get("resources") if upstream.offers is not None else None
    return is_object(resources) and bool(resources.get("subscribe"))


def _known(upstream: Upstream, offers: Offers, prefix: str) -> _Known:
    uris = frozenset(entry["uri"] for entry in offers.resources)
    templates = tuple(entry["uriTemplate"] for entry in offers.resource_templates)
    schemes = frozenset(uri.partition(":")[0].lower() for uri in (*uris, *templates))
    return _Known(upstream, offers, prefix, uris, templates, schemes)


def _wrap(key: str, uri: str) -> str:
    """Return a URI that names its upstream too."""
    if uri.lower().startswith(_APP):
        return f"{_APP_MARK}{key}/{uri[len(_APP) :]}"
    return f"{SCHEME}{key}/{uri}"


def _label(upstream: Upstream) -> str:
    """Return the name of an upstream: that of its manual, and its own if a manual may have several."""
    own = upstream.name
    return upstream.manual if own in {upstream.manual, "server", ""} else f"{upstream.manual}.{own}"


def _prefixes(labels: Sequence[str]) -> list[str]:
    """Return a prefix for each upstream. One that had to change, or that two would have, ends with a hash."""
    plain = [label.replace(".", "_") for label in labels]
    slugs = [_STRANGE.sub("_", text).strip("_")[:_MAX_KEY] or "server" for text in plain]
    count = Counter(slug.lower() for slug in slugs)
    return [
        slug if slug == text and count[slug.lower()] == 1 else f"{slug}_{_digest(label)}"
        for slug, text, label in zip(slugs, plain, labels, strict=True)
    ]


def _visible_name(name: str, otherwise: str = "prompt") -> str:
    """Return a name that people see as it is. One that had to change ends with a hash."""
    if is_visible_line(name):
        return name
    return f"{clean_line(name, _MAX_TITLE) or otherwise}_{_digest(name)}"


def _shown_arguments(prompt: JsonObject) -> JsonObject:
    arguments = prompt.get("arguments")
    if not arguments:
        return {}
    return {"arguments": [_shown({**one, "name": _visible_name(one["name"], "argument")}) for one in arguments]}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:6]


@lru_cache(maxsize=4096)
def _template(text: str) -> UriTemplate | None:
    try:
        return UriTemplate.parse(text)
    except InvalidUriTemplate:
        return None


def _matches(template: str, uri: str) -> bool:
    parsed = _template(template)
    return parsed is not None and parsed.match(uri) is not None


def _shown(entry: JsonObject) -> JsonObject:
    """Return an entry with texts of a length that hosts show. `Desk.shown` removes what people do not see."""
    shown = dict(entry)
    if "uri" in entry or "uriTemplate" in entry:
        shown["name"] = clean_line(entry["name"], _MAX_TITLE) or "unnamed"
    for key, limit in (("title", _MAX_TITLE), ("description", _MAX_DESCRIPTION)):
        if key in entry:
            shown[key] = clean(entry[key], limit)
    if "icons" in entry:
        shown["icons"] = [icon for icon in entry["icons"] if refused_link(icon["src"]) is None]
    return shown
