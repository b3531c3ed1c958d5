"""What the books keep of a prompt: by default only a digest by which an equal one is recognised.

Knows: the key, the operator's wish. Does not know: where it is written.
Invariants: without the key nobody can try out guesses against a digest; the digests of two tenants have nothing in
common; a prompt's text leaves this module only where the operator asked for that.
"""

import hashlib
from collections.abc import Callable

import msgspec

from pointsman.types import Request

LONGEST_BYTES = 256 * 1024
"""A longer prompt is not kept, only its digest."""


class Prompts:
    """`key`: gives up to 64 secret bytes, the same in every process whose digests are to agree; asked once, for the
    first digest. None: no digests."""

    def __init__(self, key: Callable[[], bytes] | None = None, store: bool = False) -> None:
        self._find_key = key
        self._key = b""
        self._stores = store
        self._encode = msgspec.json.Encoder().encode

    def digest(self, request: Request) -> str:
        """32 hexadecimal digits of all turns in their order, keyed BLAKE2b (RFC 7693); "" where there are none.

        About a microsecond a kilobyte; attachments do not count.
        """
        if not request.turns or not self._has_key():
            return ""
        digest = hashlib.blake2b(request.tenant.encode(errors="replace"), digest_size=16, key=self._key)
        for turn in request.turns:
            digest.update(f"\0{turn.role}\0{turn.text}".encode(errors="replace"))
        return digest.hexdigest()

    def sealed(self, digest: str) -> str:
        """Another's digest of words, under the key: a plain one could be guessed at."""
        if not digest or not self._has_key():
            return ""
        return hashlib.blake2b(digest.encode(), digest_size=8, key=self._key).hexdigest()

    def _has_key(self) -> bool:
        if not self._key and self._find_key is not None:
            self._key = self._find_key()[:64]
        return bool(self._key)

    def kept(self, request: Request) -> str:
        """The turns as JSON where prompts are to be stored, else ""."""
        if not self._stores or not request.turns:
            return ""
        text = self._encode(request.turns)
        return text.decode() if len(text) <= LONGEST_BYTES else ""

    def __repr__(self) -> str:
        return f"Prompts({'stored' if self._stores else 'digests' if self._find_key else 'nothing'})"
