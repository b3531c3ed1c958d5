"""Answers in a Valkey or Redis that several gateways share. Needs the extra `valkey`.

Knows: the client library, our name for a key. Does not know: time limits beyond a socket's, when to give up (`guard`).
Invariants: an exception of the library never leaves; a call that is given up closes its connection, so that its late
answer cannot become another's (and a record is believed only under the key that it carries).
"""

from pointsman.cache.store import StoreError, StoreStatistics
from pointsman.valkey_client import FAULTS, client_of

PREFIX = "pointsman:cache:"


class Redis:
    """Satisfies `Store`. Connects when it is first asked; raises StoreError. `url` as `settings.cache` has it."""

    def __init__(self, url: str, password: str, timeout_s: float) -> None:
        self._url = url
        self._client = client_of(url, password, timeout_s)
        self._puts = 0

    async def get(self, key: bytes) -> bytes | None:
        try:
            value = await self._client.get(PREFIX + key.hex())
        except FAULTS as error:
            raise _said(error) from None
        return value if isinstance(value, bytes) else None

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        try:
            await self._client.set(PREFIX + key.hex(), value, px=max(1, round(1000 * ttl_s)))
        except FAULTS as error:
            raise _said(error) from None
        self._puts += 1

    async def close(self) -> None:
        try:
            await self._client.aclose()
        except FAULTS as error:
            raise _said(error) from None

    def statistics(self) -> StoreStatistics:
        """What is held there is not ours alone, and not asked."""
        return StoreStatistics(puts=self._puts)

    def __repr__(self) -> str:
        return f"Redis({self._url})"


def _said(error: Exception) -> StoreError:
    return StoreError(f"{type(error).__name__}: {error}")
