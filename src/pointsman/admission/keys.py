"""API keys: whose is it? Only hashes are known here.

Knows: the keys of the settings. Does not know: what their owners may do (`control`), HTTP.
A key is 256 random bits, so one round of SHA-256 is as good as a slow hash: there is nothing to guess. Every hash is
compared, in constant time, so that an answer's time tells nothing about how near a guess was.
"""

import hashlib
import hmac
import secrets

from pointsman.errors import RequestError
from pointsman.settings import KeySettings

PREFIX = "pm-"
LONGEST = 256


def new_key() -> str:
    """A key nobody has yet."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """What the settings keep of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Keyring:
    """Read-only after construction."""

    def __init__(self, keys: tuple[KeySettings, ...]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        """Whether keys are asked for at all."""
        return bool(self._keys)

    def owner(self, authorization: str, api_key: str = "") -> KeySettings | None:
        """Whose key it is, from `Authorization: Bearer …` or Anthropic's `x-api-key`; None where none is asked for.

        Raises RequestError `invalid_api_key`; a key is never said back.
        """
        if not self._keys:
            return None
        scheme, _, bearer = authorization.partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else api_key
        if not given:
            raise RequestError(
                "This server asks for an API key; send it as `Authorization: Bearer …`", code="invalid_api_key"
            )
        hashed = hash_of(given[: LONGEST + 1])
        owner = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, hashed):
                owner = key
        if owner is None:
            raise RequestError(
                "The API key is not known here; check it, or ask the operator for one", code="invalid_api_key"
            )
        return owner

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key.name for key in self._keys) or 'open'})"
