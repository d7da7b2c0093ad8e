"""Visitors of the console who signed in at one bridge, for the others of a store.

A cookie is a random number. What the store keeps under its hash is the visitor's token, encrypted with a key that is
derived from the cookie and from `state_key`: who has only one of the three learns nothing.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from utcp_bridge.stores.replicas import SharedStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["SharedVisits"]

_NONCE: Final = 12
_INFO: Final = b"utcp-bridge console"


class SharedVisits:
    """The visits in a store."""

    def __init__(self, store: SharedStore, state_key: str) -> None:
        self._store, self._key = store, state_key.encode()

    async def keep(self, cookie: str, token: str, seconds: float) -> None:
        """Keep the token of a visitor for some seconds.

        :raises StoreAway: the store does not answer.
        """
        nonce = secrets.token_bytes(_NONCE)
        await self._store.put(_name(cookie), nonce + self._cipher(cookie).encrypt(nonce, token.encode(), None), seconds)

    async def token(self, cookie: str) -> str | None:
        """Return the token of a visitor; None if there is none, or no bridge with this `state_key` has kept it.

        :raises StoreAway: the store does not answer.
        """
        from cryptography.exceptions import InvalidTag

        found = await self._store.get(_name(cookie))
        if found is None:
            return None
        try:
            return self._cipher(cookie).decrypt(found[:_NONCE], found[_NONCE:], None).decode()
        except (InvalidTag, ValueError):
            return None

    async def end(self, cookie: str) -> None:
        """Forget a visitor.

        :raises StoreAway: the store does not answer.
        """
        await self._store.run(lambda redis: redis.delete(self._store.prefix + _name(cookie)))

    def _cipher(self, cookie: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=32, salt=sha256(cookie.encode()).digest(), info=_INFO)
        return AESGCM(derived.derive(self._key + cookie.encode()))


def _name(cookie: str) -> str:
    return f"visit:{sha256(cookie.encode('utf-8', 'surrogatepass')).hexdigest()}"
