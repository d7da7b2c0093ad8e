"""What is or may be secret in a server's entry: environment, headers, arguments and URLs, place by place (pure).

Names decide, the forms of tokens that vendors publish, and how random a text looks. A replaced text and its value make
the original text again, so a value that is hidden without need changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import orjson

from utcp_bridge.auth.literals import literal_secrets, without_literals
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.variables import names_credential

__all__ = ["SECRET_PLACES", "hidden", "is_random", "names_secret"]

SECRET_PLACES: Final = frozenset({"env", "environment", "envs", "env_vars", "headers", "http_headers"})
_LINES: Final = frozenset({"args", "command", "cmd"})
_URLS: Final = frozenset({"url", "httpUrl", "serverUrl", "uri", "server_url"})
_CREDENTIAL: Final = re.compile(r"(?P<scheme>Bearer|Basic|Token) +(?P<secret>\S+)", re.IGNORECASE)
_HEADER: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9-]*): *(?P<value>\S.*)", re.DOTALL)
_FLAG: Final = re.compile(r"(?P<flag>--?[A-Za-z][\w.-]*)(?:=(?P<value>.+))?", re.DOTALL)
_OPTION: Final = re.compile(r"-[A-Za-z]|--[A-Za-z][A-Za-z-]*(?:=.*)?", re.DOTALL)
_JOINED: Final = re.compile(r"(?P<flag>-[A-Za-z])(?P<value>[^=-].*)", re.DOTALL)
"""An option of one letter with its value: `-pSECRET`."""
_ASSIGNED: Final = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.+)", re.DOTALL)
_QUOTED: Final = re.compile(r"(?P<mark>[\"'])(?P<text>.*)(?P=mark)", re.DOTALL)
_PIECE: Final = re.compile(r"""\s+|(?:\$\{[^{}]*\}|"[^"]*"|'[^']*'|[^\s"'])+|["']""")
"""A word of a line, with what is in quotation marks, or the blanks between two words."""
_MEMBER: Final = re.compile(
    r"(?P<before>[;,?&\s](?P<name>[A-Za-z][\w.-]{0,100})\s?=\s?)(?P<value>[^\s;,&'\"${][^\s;,&'\"$]*)"
)
"""`Password=x` in a connection string, and `key=x` in the query of a URL."""
_USERINFO: Final = re.compile(r"(?P<before>://[^\s/:@?#]*:)(?P<value>[^\s/@?#${]+)(?=@)")
_VARIABLE: Final = re.compile(r"\$\$|\$\{\{[^{}]*\}\}|\$\{[^{}]*\}")
_DEFAULT: Final = re.compile(r"\$\{(?P<name>\w+):-(?P<text>[^{}]+)\}")
_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Token|ApiKey) +", re.IGNORECASE)
_PLAIN: Final = re.compile(
    r"\d{1,5}|\w{0,2}|true|false|yes|no|on|off|none|null|debug|info|warn|warning|error", re.IGNORECASE
)
_BARE_LOGIN: Final = re.compile(
    r"(?P<before>(?<![^\s=,'\"(])(?P<user>[A-Za-z_][\w.-]{0,63}):)(?P<value>[^\s:@/${][^\s:@/$]*)(?=@(?!sha\d+:)[\w.-])"
)
"""`user:password@host` without a scheme."""
_SOURCES: Final = frozenset(
    {"npm", "jsr", "git", "github", "gitlab", "file", "link", "workspace", "docker", "image", "pypi"}
)
"""What stands before a colon in the name of a package, such as `npm:left-pad@1.3.0`."""
_LOGIN: Final = re.compile(r"-u|--(?:proxy-)?user|--login|--userpwd|--basic(?:-auth)?")
"""Options whose value is `user:password`."""
_USER: Final = re.compile(r"(?P<user>[^\s:/]+:)(?P<secret>[^\s/][^\s]*)")
_SHORT: Final = re.compile(
    r"pass|pwd|pw|pat|bearer|jwt|creds?|apikey|tokens|keys|secrets|passwords|cookies|authkey", re.IGNORECASE
)
_ABOUT: Final = re.compile(r"auth|token|secret|passw|credential|key", re.IGNORECASE)
"""Parts of the name of an option whose value is hidden if it looks like a secret."""
_PASSWORDS: Final = frozenset({"-p", "-a"})
"""Options of one letter that are a password in some programs."""
_LETTERS: Final = frozenset({"-k", "-t", "-s", "-w", "-P", "-W"})
"""Options of one letter that are a key, a token or a secret in some programs, and something else in others."""
_WORD_END: Final = re.compile(r"[a-z0-9](?=[A-Z])|[\W_]")
_OF_PORTS: Final = re.compile(r"[\d.:\[\]-]+(?:/\w+)?")
_OF_WORDS: Final = re.compile(r"[a-z]+(?:[-_][a-z]+)*")
_TOKEN: Final = re.compile(
    r"sk-[\w-]{16,}|[spr]k_(?:live|test)_\w{10,}|gh[opusr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|xox[abeoprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|npm_\w{30,}"
    r"|pypi-[\w-]{30,}|hf_\w{20,}|(?:ntn|secret)_\w{30,}|lin_api_\w{20,}|SG\.[\w-]{16,}\.[\w-]{16,}|dop_v1_\w{40,}"
    r"|figd_[\w-]{20,}|glsa_\w{20,}|shp(?:at|ca|pa|ss)_\w{20,}|sntry[su]_[\w=-]{20,}|dckr_pat_[\w-]{20,}|hvs\.[\w-]{20,}"
    r"|tvly-[\w-]{16,}|pplx-\w{20,}|gsk_\w{20,}|xai-\w{20,}|r8_\w{20,}|nvapi-[\w-]{20,}|ATATT[\w=-]{20,}|PMAK-[\w-]{20,}"
    r"|sbp_\w{20,}|apify_api_\w{20,}|GOCSPX-[\w-]{20,}|ya29\.[\w-]{20,}|NRAK-\w{20,}|dapi[0-9a-f]{32}|whsec_\w{20,}"
)
"""Tokens by the beginnings that their vendors publish for scanners of secrets."""
_RUN: Final = re.compile(r"[\w.-]+")
"""What a token may be the whole of."""
_PIECE_OF_TOKEN: Final = re.compile(r"[A-Za-z0-9]{20,}")
_CHUNK: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_VARIABLE_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_SECRET_SHAPE: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w+/=-]{8,}")
_HOST: Final = re.compile(r"://(?:[^\s/?#@]*@)?(?P<host>[^\s/?#@]+)")
_NOT_ALNUM: Final = re.compile(r"[^A-Za-z0-9]")
_MIN_RANDOM: Final = 20
_MAX_TEXT: Final = 32_768
"""Characters of a text in which tokens and members are looked for."""

_Give = Callable[[str, str], str]
"""Takes the name of a place and its value, and returns what is written there."""


def names_secret(name: str) -> bool:
    """Return whether the name of an option or a variable suggests a secret, also by a short word such as `pwd`."""
    return names_credential(name) or _SHORT.fullmatch(_WORD_END.split(name.strip("-_"))[-1]) is not None


def hidden(template: JsonObject, give: _Give, default: _Give = lambda _name, text: text) -> JsonObject:
    """Return a server's object with `give(name, value)` in place of what is or may be secret.

    These are the values of `env` and headers except for short common ones, arguments whose option or name says so,
    tokens of a known form, and fields and parts of URLs whose names say so. Values with variables stay. The default of
    a variable cannot be another variable: `default(name, text)` is written in its place if it may be secret.
    """
    return _Hider(give, default).template(template)


class _Hider:
    def __init__(self, give: _Give, default: _Give) -> None:
        self._give = give
        self._default = default

    def template(self, template: JsonObject) -> JsonObject:
        made = {key: self._place(key, value) for key, value in template.items()}
        return {key: self._defaults(value, "") for key, value in made.items()}

    def _place(self, name: str, value: Any) -> Any:
        if name in SECRET_PLACES and is_object(value):
            return {key: self._value(str(key), one) for key, one in value.items()}
        if name in _LINES and is_list(value):
            return [*self._words(value)]
        if name in _LINES and isinstance(value, str):
            return self._line(value)
        if name in _URLS and isinstance(value, str):
            return self._parts(value)
        return without_literals({name: value}, self._give)[name]

    def _defaults(self, value: Any, name: str) -> Any:
        if is_object(value):
            return {key: self._defaults(one, str(key)) for key, one in value.items()}
        if is_list(value):
            return [self._defaults(one, name) for one in value]
        if not isinstance(value, str) or ":-" not in value:
            return value

        def replaced(found: re.Match[str]) -> str:
            text = found["text"]
            is_named = names_secret(found["name"]) or names_secret(name)
            if _PLAIN.fullmatch(text) or not (is_named or _has_token(text) or _has_literals(text)):
                return found[0]
            return f"${{{found['name']}:-{self._default(found['name'], text)}}}"

        return _DEFAULT.sub(replaced, value)

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value) if names_secret(name) or not _PLAIN.fullmatch(str(value)) else value
        if not isinstance(value, str) or (_PLAIN.fullmatch(value) and not names_secret(name)):
            return value
        if credential := _CREDENTIAL.fullmatch(value):
            return f"{credential['scheme']} {self._part(name, credential['secret'])}"
        return self._part(name, value)

    def _part(self, name: str, value: str) -> str:
        """Return a value that may be secret. One with variables keeps them, and gives the text around them."""
        variables = [found for found in _VARIABLE.finditer(value) if found[0] != "$$"]
        if not variables:
            return self._give(name, value)
        if "://" in value or not names_secret(name):
            return self._parts(value)
        made, at = "", 0
        for found in variables:
            made += self._around(name, value[at : found.start()]) + str(self._defaults(found[0], name))
            at = found.end()
        return made + self._around(name, value[at:])

    def _around(self, name: str, text: str) -> str:
        scheme = _SCHEME.match(text)
        start = scheme.end() if scheme else 0
        is_plain = text.startswith(("/", "~")) or not any(map(str.isalnum, text[start:]))
        return text if is_plain else text[:start] + self._give(name, text[start:])

    # --- arguments ----------------------------------------------------------------------------------

    def _words(self, words: Iterable[Any]) -> Iterator[Any]:
        """Yield arguments with what is secret replaced: behind an option, joined to it, or in `TOKEN=X`."""
        before = ""
        for word in words:
            text = word if isinstance(word, str) else ""
            if before and text and not _OPTION.fullmatch(text):
                yield self._behind(before, text)
            else:
                yield self._argument(text) if text else word
            flag = _FLAG.fullmatch(text)
            is_option = flag is not None and flag["value"] is None and _takes_secret(flag["flag"])
            before = flag["flag"] if flag is not None and is_option else ""

    def _behind(self, option: str, text: str) -> str:
        """Return the value of an option."""
        name = option.lstrip("-")
        if names_secret(name) or (option in _PASSWORDS and not _follows_p(text)):
            return self._part(name, text)
        if (option in _LETTERS or _ABOUT.search(name)) and _SECRET_SHAPE.fullmatch(text) and not _is_place(text):
            return self._part(name, text)
        if _LOGIN.fullmatch(option) and (login := _USER.fullmatch(text)) and not login["secret"].isdigit():
            return login["user"] + self._part("password", login["secret"])
        return self._argument(text)

    def _argument(self, text: str) -> str:
        """Return one argument: an option with its value, `TOKEN=X`, `Header: X`, a JSON text, or a line of words."""
        flag = _FLAG.fullmatch(text)
        if flag and flag["value"]:
            return f"{flag['flag']}={self._behind(flag['flag'], flag['value'])}"
        joined = _JOINED.fullmatch(text)
        if joined and (not flag or _TOKEN.fullmatch(joined["value"]) or joined["flag"] == "-p"):
            return joined["flag"] + self._behind(joined["flag"], joined["value"])
        pair = _ASSIGNED.fullmatch(text) or _HEADER.fullmatch(text)
        if pair and names_secret(pair["name"]):
            return text[: pair.start("value")] + str(self._value(pair["name"], pair["value"]))
        if text.startswith(("{", "[")) and _has_json_literals(text):
            return self._give("config", text)
        if quoted := _QUOTED.fullmatch(text):
            return f"{quoted['mark']}{self._argument(quoted['text'])}{quoted['mark']}"
        return self._line(text)

    def _line(self, text: str) -> str:
        """Return a text that may be a line of words, such as that of `sh -c`. Blanks between them stay."""
        if _is_base64(text):
            return self._give("token", text)
        pieces = _PIECE.findall(text) if len(text) <= _MAX_TEXT else [text]
        if len(pieces) > 1:
            words = self._words(piece for piece in pieces if not piece.isspace())
            text = "".join(piece if piece.isspace() else next(words) for piece in pieces)
        return self._parts(text)

    def _parts(self, text: str) -> str:
        """Return a text without the tokens, passwords of URLs, and members with a secret name that are in it."""
        if len(text) > _MAX_TEXT:
            return text
        made, at = "", 0
        for found in _VARIABLE.finditer(text):
            made += self._part_of_text(text[at : found.start()]) + found[0]
            at = found.end()
        return made + self._part_of_text(text[at:])

    def _part_of_text(self, text: str) -> str:
        def member(found: re.Match[str]) -> str:
            is_secret = names_secret(found["name"])
            return found["before"] + self._give(found["name"], found["value"]) if is_secret else found[0]

        def login(found: re.Match[str]) -> str:
            is_package = found["user"].lower() in _SOURCES
            return found[0] if is_package else found["before"] + self._give("password", found["value"])

        hosts = [found.span("host") for found in _HOST.finditer(text)]
        text = _RUN.sub(lambda found: self._run(found, hosts), text)
        text = _BARE_LOGIN.sub(login, text)
        text = _USERINFO.sub(lambda found: found["before"] + self._give("password", found["value"]), text)
        return _MEMBER.sub(member, text)

    def _run(self, found: re.Match[str], hosts: list[tuple[int, int]]) -> str:
        token = found[0].rstrip(".-")
        is_secret = _TOKEN.fullmatch(token) is not None
        if not is_secret and len(token) >= _MIN_RANDOM and "." not in token:
            before = found.string[: found.start()]
            is_version = before.endswith(("@", "#", "sha256:", "sha512:", "sha512-"))
            is_host = any(start <= found.start() < end for start, end in hosts)
            is_secret = not (is_version or is_host or _is_place(found.string)) and is_random(token)
        return self._give("token", token) + found[0][len(token) :] if is_secret else found[0]


def is_random(text: str) -> bool:
    """Return whether a text looks as if a program drew its characters: letters of both cases and digits change often.

    Words, dates, versions, names of models and machines, and UUIDs do not.
    """
    long = len(text) >= 40 and any(map(str.isdigit, text)) and len(_CHUNK.findall(text)) >= 0.35 * len(text)
    return long or any(_is_drawn(piece) for piece in _PIECE_OF_TOKEN.findall(text))


def _is_base64(text: str) -> bool:
    """Return whether a text is random bytes in base64. One with a slash in front may be a path."""
    return _BASE64.fullmatch(text) is not None and not _is_place(text) and is_random(_NOT_ALNUM.sub("", text))


def _is_drawn(piece: str) -> bool:
    digits = sum(map(str.isdigit, piece))
    return 0 < digits < len(piece) - 3 and len(_CHUNK.findall(piece)) >= 0.25 * len(piece)


def _is_place(text: str) -> bool:
    """Return whether an argument is a path, or the name of a variable."""
    return text.startswith(("/", ".", "~")) or _VARIABLE_NAME.fullmatch(text) is not None


def _takes_secret(flag: str) -> bool:
    is_letter = flag in _PASSWORDS or flag in _LETTERS
    return is_letter or names_secret(flag) or _ABOUT.search(flag) is not None or _LOGIN.fullmatch(flag) is not None


def _follows_p(text: str) -> bool:
    """Return whether what follows `-p` is a port, a path, or words: `-p8080:80`, `-p /data`, `-path`, `-p my-data`."""
    is_path = text.startswith(("/", "./", "~"))
    return is_path or bool(_OF_PORTS.fullmatch(text) or _OF_WORDS.fullmatch(text))


def _has_token(text: str) -> bool:
    return any(_TOKEN.fullmatch(run.rstrip(".-")) for run in _RUN.findall(text))


def _has_literals(text: str) -> bool:
    return "://" in text and bool(literal_secrets({"": text}))


def _has_json_literals(text: str) -> bool:
    """Return whether a text is JSON with a credential in it."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return bool(literal_secrets(content))
