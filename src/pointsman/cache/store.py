"""What a store is: bytes under a key for a while. A protocol and its error only."""

from typing import Protocol

from pointsman.types import Value


class StoreError(Exception):
    """A store could not do what it was asked. Never leaves this room: it costs a hit."""


class StoreStatistics(Value, frozen=True):
    """What a store holds, where it can tell, and what left it since the start."""

    entries: int = 0
    size_bytes: int = 0
    puts: int = 0
    evicted: int = 0
    expired: int = 0
    failed: int = 0
    skipped: int = 0
    is_up: bool = True


class Store(Protocol):
    """Keeps bytes for at most `ttl_s` seconds, or less. Raises StoreError, or does not answer in time."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None: ...
    async def close(self) -> None: ...
    def statistics(self) -> StoreStatistics: ...
