"""Who may see and change the fleet. Pure.

Knows: the admin key, what an HTTP client shows of itself. Does not know: what is behind the gate.

The decision, numbered as in `Gate.check`:
1. there is a key → `Authorization: Bearer KEY`, from wherever; compared in constant time
2. there is none → only a program on this machine: not one behind a proxy, whose own address would be all we see, and
   not a web page, which a browser on this machine may have loaded from anywhere
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from pointsman.errors import ConfigError, RequestError

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
SHORTEST_KEY, FEWEST_CHARACTERS = 16, 8
"""Whoever may reach the port may guess: a key that is shorter, or of fewer different characters, is none."""
REMEDY = "set `server.admin_key_env` and send `Authorization: Bearer KEY`"


class Gate:
    """`key` empty: none is configured."""

    def __init__(self, key: str = "") -> None:
        self._digest = _digest(key) if key else b""

    @classmethod
    def of(cls, variable: str | None, environ: Mapping[str, str]) -> Self:
        """The key in that variable. Raises ConfigError where it holds nothing, or what could be guessed."""
        key = environ.get(variable, "").strip() if variable else ""
        if variable and not key:
            said = f"the variable {variable} is not set; set it to a long random key, or remove the setting"
            raise ConfigError((f"server.admin_key_env: {said}",))
        if key and (len(key) < SHORTEST_KEY or len(set(key)) < FEWEST_CHARACTERS):
            said = f"the key in {variable} could be guessed; take {SHORTEST_KEY} random characters or more"
            raise ConfigError((f"server.admin_key_env: {said}, such as `openssl rand -hex 32` prints",))
        return cls(key)

    def check(self, client: str, headers: Mapping[str, str]) -> None:
        """Nothing where `client` (an address) may pass. `headers` by lower-case name. Raises RequestError."""
        if self._digest:  # 1
            scheme, _, key = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not key:
                raise RequestError("The admin key is missing: send `Authorization: Bearer KEY`", code="invalid_api_key")
            if not hmac.compare_digest(_digest(key.strip()), self._digest):
                raise RequestError("The admin key is wrong", code="invalid_api_key")
            return
        if why := _stranger(client, headers):  # 2
            raise RequestError(f"Without an admin key only this machine may ask; {why}: {REMEDY}", code=DENIED)

    @property
    def has_key(self) -> bool:
        """Whether there is one to be shown."""
        return bool(self._digest)

    def __repr__(self) -> str:
        return f"Gate({'key' if self._digest else 'loopback'})"


DENIED = "permission_denied"


def _stranger(client: str, headers: Mapping[str, str]) -> str:
    """Why this is not a program on this machine; empty: it is."""
    if not is_loopback(client):
        return f"{client or 'the caller'} is another"
    if any(name in headers for name in FORWARDED):
        return "the request came through a proxy"
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not is_loopback(urlsplit(f"//{host}").hostname or ""):
        return f"it was asked by the name {host!r}, which anybody may point here"
    if origin and urlsplit(origin).netloc != host:
        return f"a web page of {origin} asks"
    return ""


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, is this machine's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _digest(key: str) -> bytes:
    """Of one length whatever the key's, so that comparing tells nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
