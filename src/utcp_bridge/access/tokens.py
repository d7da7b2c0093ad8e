"""Named tokens: how they are made, and the file that keeps their hashes.

A token is `utcpb_`, eight letters that name it (its id), `_` and 256 random bits. The file has the id and the SHA-256
of the whole token. A slow hash, as for passwords, is not needed: 2**256 tokens cannot be tried, however fast each try
is. The id finds the line; the digests are then compared in constant time. A line has one secret, or two while a
rotation overlaps.

The file is read in full and replaced in one step, under a lock. When a token was last used is in a second file beside
it, `FILE.used`, by the day: so a bridge that may only read the tokens, such as those of a mounted secret, works too.
"""

from __future__ import annotations

import os
import secrets
import stat
import string
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final

import orjson

from utcp_bridge.errors import ConfigError
from utcp_bridge.foreign import write_json
from utcp_bridge.late.patterns import late_pattern
from utcp_bridge.late.records import dataclass
from utcp_bridge.model import JsonObject, is_list, is_object
from utcp_bridge.net.files.writing import exclusive, write_file

__all__ = [
    "UNSEEN_SECONDS",
    "NamedToken",
    "NewToken",
    "Secret",
    "TokenFile",
    "is_named_token",
    "others_may_read",
    "shown_time",
]

UNSEEN_SECONDS: Final = 0.01
"""For how long at most a bridge may go by what it read of the file. So long a change waits before it returns."""
_PREFIX: Final = "utcpb_"
_ID: Final = 8
_ALPHABET: Final = string.ascii_lowercase + string.digits
_TOKEN: Final = late_pattern(rb"utcpb_([a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_NAME: Final = late_pattern(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SCOPE: Final = late_pattern(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")
"""A scope-token of RFC 6749, section 3.3."""
_DIGEST: Final = late_pattern(r"[0-9a-f]{64}")
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_TOKENS: Final = 10_000
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret of a token: its id, its SHA-256 in hexadecimal, and when it was made and ends (POSIX seconds)."""

    ident: str
    digest: str = field(repr=False)
    created: float
    ends: float | None = None

    def fits(self, token: bytes) -> bool:
        """Return whether a token is this one, in a time that does not depend on where they differ."""
        return compare_digest(sha256(token).hexdigest(), self.digest)


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A line of the file. `profiles` None means that the token is not bound to profiles. Times are POSIX seconds."""

    name: str
    secrets: tuple[Secret, ...]
    scopes: tuple[str, ...] = ()
    profiles: tuple[str, ...] | None = None
    created: float = 0.0
    expires: float | None = None

    def ends(self, secret: Secret) -> float | None:
        """Return when a secret of this token ends; None for never."""
        return min((one for one in (self.expires, secret.ends) if one is not None), default=None)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made now. `value` is shown once, and kept nowhere."""

    line: NamedToken
    value: str = field(repr=False)


def is_named_token(credential: bytes) -> bytes | None:
    """Return the id of a credential in the form of a named token; None for any other credential."""
    match = _TOKEN.fullmatch(credential)
    return None if match is None else match[1]


def others_may_read(path: Path) -> bool:
    """Return whether other users of this machine may read or write a file. Windows has no such bits."""
    return sys.platform != "win32" and bool(path.stat().st_mode & _OTHERS)


def _new_secret(now: float) -> tuple[Secret, str]:
    ident = "".join(secrets.choice(_ALPHABET) for _ in range(_ID))
    value = f"{_PREFIX}{ident}_{secrets.token_urlsafe(32)}"
    return Secret(ident, sha256(value.encode()).hexdigest(), now), value


class TokenFile:
    """The file of named tokens."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.place: Final = str(path)

    def read(self) -> dict[str, NamedToken]:
        """Return the tokens by their names; none if the file does not exist.

        :raises ConfigError: the file cannot be read or is not of this form.
        """
        data = self._bytes()
        return {} if data is None else self._parsed(data)

    def add(
        self,
        name: str,
        *,
        scopes: Iterable[str] = (),
        profiles: Sequence[str] | None = None,
        expires: float | None = None,
    ) -> NewToken:
        """Make a token and keep its hash.

        :raises ConfigError: the name or a scope is not usable, another token has the name, or the file cannot be
            written.
        """
        if _NAME.fullmatch(name) is None:
            raise ConfigError(
                f"{name[:80]!r} cannot be the name of a token.",
                remedy="Use up to 64 letters, digits and `.`, `_`, `@`, `-`; begin with a letter or a digit.",
            )
        wrong = next((one for one in scopes if _SCOPE.fullmatch(one) is None), None)
        if wrong is not None:
            raise ConfigError(f"{wrong[:80]!r} cannot be a scope.", remedy="Use a word without blanks and quotes.")
        now = time.time()
        secret, value = _new_secret(now)
        made = NamedToken(name, (secret,), tuple(scopes), None if profiles is None else tuple(profiles), now, expires)

        def with_it(lines: dict[str, NamedToken]) -> None:
            if name in lines:
                raise ConfigError(
                    f"{self.path} has a token {name!r} already.",
                    remedy=f"Choose another name, or run `utcp-bridge token rotate {name}` for a new secret.",
                )
            lines[name] = made

        self._change(with_it)
        return NewToken(made, value)

    def rotate(self, name: str, overlap: float) -> NewToken:
        """Give a token a new secret. The one before is valid for `overlap` more seconds, older ones end now.

        :raises ConfigError: the token does not exist, or the file cannot be written.
        """
        now = time.time()
        secret, value = _new_secret(now)
        made: list[NamedToken] = []

        def with_it(lines: dict[str, NamedToken]) -> None:
            line = self._named(lines, name)
            before = line.secrets[-1]
            ends = now + overlap if before.ends is None else min(before.ends, now + overlap)
            kept = (replace(before, ends=ends),) if ends > now else ()
            made.append(replace(line, secrets=(*kept, secret)))
            lines[name] = made[0]

        self._change(with_it)
        return NewToken(made[0], value)

    def revoke(self, name: str) -> None:
        """Remove a token.

        :raises ConfigError: the token does not exist, or the file cannot be written.
        """

        def without_it(lines: dict[str, NamedToken]) -> None:
            del lines[self._named(lines, name).name]

        self._change(without_it)

    def used(self) -> dict[str, str]:
        """Return the day on which each token was last used, as `2030-01-31`. An unreadable file has none."""
        try:
            found: Any = orjson.loads(self._used_path.read_bytes()[:_MAX_BYTES])
        except (OSError, orjson.JSONDecodeError):
            return {}
        return {name: day for name, day in found.items() if isinstance(day, str)} if is_object(found) else {}

    def note_use(self, days: Mapping[str, str]) -> None:
        """Keep the day on which tokens were last used.

        :raises ConfigError: the file beside the tokens cannot be written.
        """
        with exclusive(self.path):
            known = self.used()
            names = self.read()
            after = {name: max(day, known.get(name, "")) for name, day in {**known, **days}.items() if name in names}
            if after != known:
                write_file(self._used_path, write_json(after, orjson.OPT_INDENT_2), private=True)

    @property
    def _used_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.used")

    def _named(self, lines: Mapping[str, NamedToken], name: str) -> NamedToken:
        if name not in lines:
            known = ", ".join(sorted(lines)[:20])
            remedy = f"It has: {known}." if known else f"Run `utcp-bridge token add {name}`."
            raise ConfigError(f"{self.path} has no token {name[:80]!r}.", remedy=remedy)
        return lines[name]

    def _change(self, change: Callable[[dict[str, NamedToken]], None]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"The folder {self.path.parent} cannot be made: {error.strerror}.") from None
        with exclusive(self.path):
            before = self._bytes()
            lines = {} if before is None else self._parsed(before)
            change(lines)
            data = write_json({"version": 1, "tokens": [_written(one) for one in lines.values()]}, orjson.OPT_INDENT_2)
            write_file(self.path, data, private=True, before=before)
        time.sleep(UNSEEN_SECONDS)  # when this returns, each bridge of this machine goes by the new file

    def _bytes(self) -> bytes | None:
        try:
            with self.path.open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._fault("it is not a regular file")
                data = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._fault(str(error.strerror)) from None
        if len(data) > _MAX_BYTES:
            raise self._fault(f"it has more than {_MAX_BYTES} bytes")
        return data

    def _parsed(self, data: bytes) -> dict[str, NamedToken]:
        try:
            document: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self._fault("it is not JSON") from None
        lines = document.get("tokens") if is_object(document) else None
        if not is_object(document) or document.get("version") != 1 or not is_list(lines) or len(lines) > _MAX_TOKENS:
            raise self._fault("it is not a file of tokens, version 1")
        found: dict[str, NamedToken] = {}
        for number, line in enumerate(lines, 1):
            token = _read(line)
            if token is None or token.name in found:
                raise self._fault(f"token {number} is not complete, or its name is not unique")
            found[token.name] = token
        return found

    def _fault(self, why: str) -> ConfigError:
        remedy = "Restore it, or remove it and make new tokens with `utcp-bridge token add NAME`."
        return ConfigError(f"The file of tokens {self.path} cannot be used: {why}.", remedy=remedy)


def _written(token: NamedToken) -> JsonObject:
    """Return a token as the file has it, with times that people can read."""
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "profiles": None if token.profiles is None else list(token.profiles),
        "created": shown_time(token.created),
        "expires": shown_time(token.expires),
        "secrets": [
            {"id": one.ident, "sha256": one.digest, "created": shown_time(one.created), "ends": shown_time(one.ends)}
            for one in token.secrets
        ],
    }


def shown_time(seconds: float | None) -> str | None:
    """Return a time in UTC, as `2030-01-31T12:00:00Z`."""
    return (
        None
        if seconds is None
        else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )


def _read(line: Any) -> NamedToken | None:
    """Return the token of a line; None if it is not one."""
    if not is_object(line) or not isinstance(line.get("name"), str) or _NAME.fullmatch(line["name"]) is None:
        return None
    scopes, profiles = _texts(line.get("scopes")), line.get("profiles")
    named = None if profiles is None else _texts(profiles)
    written = line.get("secrets")
    found = [_secret(one) for one in written] if is_list(written) else []
    hashes = tuple(one for one in found if one is not None)
    if scopes is None or (profiles is not None and named is None) or not hashes or len(hashes) != len(found):
        return None
    try:
        return NamedToken(
            line["name"], hashes, scopes, named, _seconds(line.get("created")) or 0.0, _seconds(line.get("expires"))
        )
    except ValueError:
        return None


def _secret(one: Any) -> Secret | None:
    if not is_object(one):
        return None
    ident, digest = one.get("id"), one.get("sha256")
    if not isinstance(ident, str) or not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        return None
    try:
        return Secret(ident, digest, _seconds(one.get("created")) or 0.0, _seconds(one.get("ends")))
    except ValueError:
        return None


def _seconds(text: Any) -> float | None:
    """Return POSIX seconds.

    :raises ValueError: it is not a time. A time that cannot be read must not become a token without end.
    """
    if text is None:
        return None
    found = datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        raise ValueError("a time has a zone")
    return found.timestamp()


def _texts(value: Any) -> tuple[str, ...] | None:
    if not is_list(value) or not all(isinstance(one, str) for one in value):
        return None
    return tuple(value)
