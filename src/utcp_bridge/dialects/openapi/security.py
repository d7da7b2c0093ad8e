"""Security requirements as auth objects, with one set of variables per scheme (pure).

`[]` and `{}` send nothing. AND becomes `{"auth_type": "all", "schemes": […]}`, OR becomes
`{"auth_type": "any", "options": […]}`: the first option whose variables are set is used, and with `"optional": true`
the call goes out without credentials if no option has its variables. Flows that need a person (authorization code,
implicit, password, device code, OpenID Connect) become a variable for a bearer token. Those for which a person can log
in (all but implicit and password) are used if the variable of the client's id is set.

The converter of python-utcp numbers its placeholders (`API_KEY_0`, `API_KEY_1`, …). They are accepted as aliases, so
variables that were set for it keep working.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any
from urllib.parse import urljoin, urlsplit

from utcp_bridge.dialects.openapi.references import References
from utcp_bridge.dialects.openapi.shapes import Family, Faults, Located, as_array, as_object, as_text
from utcp_bridge.dialects.openapi.swagger2 import upgrade_schemes
from utcp_bridge.model import JsonObject, is_object

__all__ = ["SecurityReader", "legacy_numbers"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_OPTIONS = 16
_CHALLENGED = frozenset({"digest", "negotiate", "ntlm", "scram-sha-1", "scram-sha-256"})
"""Schemes of HTTP that answer a challenge of the server. No token by itself does."""
_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "PATCH"})
_FLOWS = frozenset({"authorizationCode", "clientCredentials", "accessCode", "application"})


class SecurityReader:
    """The security schemes of one document, and the auth of each operation."""

    def __init__(
        self, references: References, family: Family, chosen: JsonObject | None, url: str | None, faults: Faults
    ) -> None:
        root = references.root()
        self._references = references
        self._chosen = chosen
        self._url = url or ""
        self._server = ""
        self._faults = faults
        self._is_taken = False
        self._schemes: dict[str, Located] = {}
        self._prefixes: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self._readers: dict[str, Callable[[str, JsonObject, list[str]], list[JsonObject] | None]] = {
            "apiKey": self._api_key,
            "http": self._http,
            "oauth2": self._oauth2,
            "openIdConnect": self._open_id,
            "mutualTLS": self._mutual_tls,
        }
        for name, scheme in _declared(root, family).items():
            self._schemes[name] = references.follow(scheme)

    @property
    def schemes(self) -> JsonObject:
        """All declared schemes by name, in 3.x form."""
        return {name: located.value for name, located in self._schemes.items()}

    def auth(self, requirements: list[Any] | None, legacy: int | None = None, server: str = "") -> JsonObject | None:
        """Return the auth object for an operation's requirements; None sends nothing.

        `legacy` is the number that python-utcp would give this operation's placeholders. `server` is the operation's
        base address, where relative addresses of a local document start.
        """
        self._server = server
        if not requirements:
            return self._taken(self._chosen) if requirements is None and not self._schemes else None
        options, optional = self._options(requirements, legacy)
        alike = (member for option in options for member in option if self._chosen and _is_alike(self._chosen, member))
        if self._chosen and (member := next(alike, None)) is not None:
            return self._taken(_completed(self._chosen, member))
        found = [option[0] if len(option) == 1 else {"auth_type": "all", "schemes": option} for option in options]
        if optional and found:
            return {"auth_type": "any", "options": found[:_MAX_OPTIONS], "optional": True}
        if len(found) <= 1:
            return found[0] if found else None
        return {"auth_type": "any", "options": found[:_MAX_OPTIONS]}

    def note_unused(self) -> None:
        """Add a fault if the operator's credentials fit no operation, when all operations were read.

        Exports of documentation pages write `security: []` into each operation.
        """
        if self._chosen and not self._is_taken:
            what = "No operation says that it needs credentials of this type, so `auth_tools` is not sent."
            remedy = (
                'If they do, write the header into the entry, such as `headers: {Authorization: "Bearer ${TOKEN}"}`.'
            )
            self._faults.add("#/security", what, remedy)

    def _taken(self, auth: JsonObject | None) -> JsonObject | None:
        self._is_taken = True
        return auth

    def carriers(self, requirements: list[Any] | None) -> set[tuple[str, str]]:
        """Return (place, name) of the parameters that carry credentials; header names are in lower case."""
        places: set[tuple[str, str]] = set()
        for requirement in requirements or []:
            for name in as_object(requirement):
                scheme = as_object(self._scheme(name).value)
                place, (key, _) = as_text(scheme.get("in")), _key_of(scheme)
                if scheme.get("type") == "apiKey" and key:
                    places.add((place, key.lower() if place == "header" else key))
                elif as_text(scheme.get("type")) in {"http", "oauth2", "openIdConnect"}:
                    places.add(("header", "authorization"))
        return places

    def _scheme(self, name: str) -> Located:
        """Return the scheme of this name; OpenAPI 3.2 also allows a reference to one."""
        if name in self._schemes:
            return self._schemes[name]
        if "/" in name or "#" in name:
            found = self._references.resolve(name, self._references.base, "#/security")
            if found is not None:
                return self._references.follow(found)
        return Located(None, "", "#/security")

    def _options(self, requirements: list[Any], legacy: int | None) -> tuple[list[list[JsonObject]], bool]:
        """Return the alternatives, each a list of members to send together, and whether sending nothing is allowed."""
        options: list[list[JsonObject]] = []
        optional = False
        for requirement in requirements:
            if not is_object(requirement):
                continue
            members = [self._members(name, as_array(scopes), legacy) for name, scopes in requirement.items()]
            if not requirement:
                optional = True
            elif all(member is not None for member in members):
                options += [
                    [part for part in parts if part] for parts in product(*[m for m in members if m is not None])
                ]
        return [option for option in options if option], optional or any(not option for option in options)

    def _members(self, name: str, scopes: list[Any], legacy: int | None) -> list[JsonObject] | None:
        """Return the ways to satisfy one scheme (an empty one sends nothing); None for an unknown scheme."""
        located = self._scheme(name)
        scheme = as_object(located.value)
        read = self._readers.get(as_text(scheme.get("type")))
        made = read(name, scheme, [scope for scope in scopes if isinstance(scope, str)]) if read else None
        if made is None:
            self._faults.add(f"#/security/{name}", f"security scheme {name!r} {_reason(scheme)}", "It is not used.")
            return None
        return [_with_aliases(member, legacy) for member in made]

    # --- kinds of scheme

    def _api_key(self, name: str, scheme: JsonObject, _scopes: list[str]) -> list[JsonObject] | None:
        place, (key, prefix) = as_text(scheme.get("in")), _key_of(scheme)
        if place not in {"header", "query", "cookie"} or not key or (place != "query" and not _TOKEN.fullmatch(key)):
            return None
        variable = self._variable(name, "API_KEY", scheme)
        return [{"auth_type": "api_key", "api_key": f"{prefix}${{{variable}}}", "var_name": key, "location": place}]

    def _http(self, name: str, scheme: JsonObject, _scopes: list[str]) -> list[JsonObject] | None:
        kind = as_text(scheme.get("scheme")).strip()
        if kind.lower() == "basic":
            user, password = self._variable(name, "USERNAME", scheme), self._variable(name, "PASSWORD", scheme)
            return [{"auth_type": "basic", "username": f"${{{user}}}", "password": f"${{{password}}}"}]
        if not _TOKEN.fullmatch(kind or "Bearer") or kind.lower() in _CHALLENGED:
            return None
        return [self._token(name, scheme, "Bearer" if kind.lower() in {"bearer", ""} else kind)]

    def _oauth2(self, name: str, scheme: JsonObject, scopes: list[str]) -> list[JsonObject] | None:
        flows = as_object(scheme.get("flows"))
        credentials = as_object(flows.get("clientCredentials"))
        options: list[JsonObject] = []
        token_url = self._absolute(name, as_text(credentials.get("tokenUrl")).strip())
        if token_url:
            options.append(self._client_credentials(name, scheme, token_url, scopes))
        return [*options, self._token(name, scheme, "Bearer"), *self._logins(name, scheme, _login_urls(flows), scopes)]

    def _logins(self, name: str, scheme: JsonObject, urls: JsonObject, scopes: list[str]) -> list[JsonObject]:
        """Return the logins of a confidential and of a public client; nothing if a person cannot log in."""
        fields = {key: self._absolute(name, url) for key, url in urls.items()}
        if not urls or not all(fields.values()):
            return []
        client, secret = self._variable(name, "CLIENT_ID", scheme), self._variable(name, "CLIENT_SECRET", scheme)
        login = {"auth_type": "oauth2_login", **fields, "client_id": f"${{{client}}}"}
        if scopes:
            login["scope"] = " ".join(scopes)
        return [{**login, "client_secret": f"${{{secret}}}"}, login]

    def _client_credentials(self, name: str, scheme: JsonObject, token_url: str, scopes: list[str]) -> JsonObject:
        client, secret = self._variable(name, "CLIENT_ID", scheme), self._variable(name, "CLIENT_SECRET", scheme)
        auth = {
            "auth_type": "oauth2",
            "token_url": token_url,
            "client_id": f"${{{client}}}",
            "client_secret": f"${{{secret}}}",
        }
        return {**auth, "scope": " ".join(scopes)} if scopes else auth

    def _open_id(self, name: str, scheme: JsonObject, scopes: list[str]) -> list[JsonObject] | None:
        issuer, suffix, _ = (
            as_text(scheme.get("openIdConnectUrl")).strip().partition("/.well-known/openid-configuration")
        )
        urls: JsonObject = {"issuer": issuer} if suffix else {}
        return [self._token(name, scheme, "Bearer"), *self._logins(name, scheme, urls, scopes)]

    def _mutual_tls(self, _name: str, _scheme: JsonObject, _scopes: list[str]) -> list[JsonObject] | None:
        """Return an empty member: the TLS connection carries the credentials, not the request."""
        return [{}]

    def _token(self, name: str, scheme: JsonObject, prefix: str) -> JsonObject:
        variable = self._variable(name, "TOKEN", scheme)
        key = f"{prefix} ${{{variable}}}"
        return {"auth_type": "api_key", "api_key": key, "var_name": "Authorization", "location": "header"}

    # --- variables

    def _variable(self, name: str, kind: str, scheme: JsonObject) -> str:
        prefix = self._prefix(name)
        variable = prefix if prefix == kind or prefix.endswith(f"_{kind}") else f"{prefix}_{kind}"
        about = " ".join(as_text(scheme.get("description")).split())[:200]
        self.notes.setdefault(variable, f"{scheme.get('type')} scheme {name!r}{': ' if about else ''}{about}")
        return variable

    def _prefix(self, name: str) -> str:
        """Return `PETSTORE_AUTH` for `petstore_auth` or `petstoreAuth`; two schemes never share their variables."""
        if name not in self._prefixes:
            prefix = "_".join(_WORD.findall(name)).upper() or "AUTH"
            if prefix in self._prefixes.values():
                prefix += "_" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:6].upper()
            self._prefixes[name] = prefix
        return self._prefixes[name]

    def _absolute(self, name: str, address: str) -> str:
        """Return an address as a URL; an empty text if the document does not say where it is."""
        base = self._url if self._url.lower().startswith(("http://", "https://")) else f"{self._server}/"
        try:
            joined = urljoin(base, address) if address else ""
            parts = urlsplit(joined)
        except ValueError:
            return address
        if joined and not (parts.scheme and parts.netloc):
            what = f"the address {address!r} of security scheme {name!r} is relative, and the document has no URL"
            self._faults.add(f"#/security/{name}", what, "Set `base_url`, or use a token.")
            return ""
        return joined


def _declared(root: Located, family: Family) -> dict[str, Located]:
    if family == "2.0":
        upgraded = upgrade_schemes(as_object(root.value).get("securityDefinitions"))
        return {name: Located(scheme, root.base, f"#/securityDefinitions/{name}") for name, scheme in upgraded.items()}
    schemes = root.at("components", "securitySchemes")
    return {name: schemes.at(name) for name in as_object(schemes.value)}


def _reason(scheme: JsonObject) -> str:
    """Return why nothing can be sent for a scheme."""
    kind = as_text(scheme.get("type"))
    if not scheme:
        return "is not declared"
    if kind == "apiKey":
        return "does not say where a key goes, by `in` and a valid `name`"
    if kind == "http":
        return f"is of a kind that the bridge does not send: {scheme.get('scheme')!r}"
    return f"has the unknown type {scheme.get('type')!r}"


def _key_of(scheme: JsonObject) -> tuple[str, str]:
    """Return the name of an API key and what its value begins with. Some documents name it `Authorization: Bearer`."""
    key = as_text(scheme.get("name"))
    if scheme.get("in") != "header" or ":" not in key:
        return key, ""
    name, _, word = (part.strip() for part in key.partition(":"))
    return name, f"{word} " if word else ""


def _login_urls(flows: JsonObject) -> JsonObject:
    """Return the URLs of the flows in which a person logs in; empty without such a flow, or if one is incomplete."""
    code, device = as_object(flows.get("authorizationCode")), as_object(flows.get("deviceAuthorization"))
    found = {
        "authorization_url": as_text(code.get("authorizationUrl")).strip(),
        "device_authorization_url": as_text(device.get("deviceAuthorizationUrl")).strip(),
        "token_url": (as_text(code.get("tokenUrl")) or as_text(device.get("tokenUrl"))).strip(),
    }
    urls: JsonObject = {key: url for key, url in found.items() if url}
    return urls if "token_url" in urls and len(urls) > 1 else {}


def _completed(chosen: JsonObject, generated: JsonObject) -> JsonObject:
    """Return the operator's `auth`. A login gets the URLs and scopes that the document has and the operator omits."""
    if chosen.get("auth_type") != "oauth2_login":
        return chosen
    return {**{key: value for key, value in generated.items() if key not in {"client_id", "client_secret"}}, **chosen}


def _with_aliases(auth: JsonObject, legacy: int | None) -> JsonObject:
    """Add python-utcp's placeholder names, which are used if the scheme's own variable is not set."""
    names = {"api_key": ["API_KEY"], "basic": ["USERNAME", "PASSWORD"], "oauth2": ["CLIENT_ID", "CLIENT_SECRET"]}
    kinds = names.get(auth.get("auth_type", ""), [])
    numbers: list[int] = [] if legacy is None else [*dict.fromkeys([legacy, 0])]
    aliases = [f"{kind}_{number}" for number in numbers for kind in kinds]
    return {**auth, "aliases": aliases} if aliases else auth


def _is_alike(chosen: JsonObject, generated: JsonObject) -> bool:
    """Return whether both are of one kind; API keys must also have the same name (in any letter case) and place."""
    if chosen.get("auth_type") != generated.get("auth_type"):
        return False
    if chosen.get("auth_type") != "api_key":
        return True
    names = [str(auth.get("var_name", "X-Api-Key")).lower() for auth in (chosen, generated)]
    places = [auth.get("location", "header") for auth in (chosen, generated)]
    return names[0] == names[1] and places[0] == places[1]


def legacy_numbers(
    operations: Iterable[tuple[str, str, Located]], document: JsonObject, schemes: JsonObject
) -> dict[tuple[str, str], int]:
    """Return (METHOD, path) → number for the operations that python-utcp's converter would give auth.

    It counts operations in document order that have an operationId, a common method and a supported first known
    scheme. It treats an empty `security` as a missing one.
    """
    numbers: dict[tuple[str, str], int] = {}
    for method, path, node in operations:
        requirements = as_array(node.value.get("security")) or as_array(document.get("security"))
        if method in _METHODS and node.value.get("operationId") and _is_supported(requirements, schemes):
            numbers[method, path] = len(numbers)
    return numbers


def _is_supported(requirements: list[Any], schemes: JsonObject) -> bool:
    for requirement in requirements:
        for name in as_object(requirement):
            if name in schemes:
                return _makes_auth(as_object(schemes[name]))
    return False


def _makes_auth(scheme: JsonObject) -> bool:
    kind = scheme.get("type")
    if kind == "oauth2":
        return any(
            flow in _FLOWS and as_object(about).get("tokenUrl")
            for flow, about in as_object(scheme.get("flows")).items()
        )
    if kind == "http":
        return as_text(scheme.get("scheme")).lower() in {"basic", "bearer"}
    return kind == "apiKey"
