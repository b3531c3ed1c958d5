"""Answers in this process. Bounded by bytes; the least recently used leave first.

Invariants: never more than `max_bytes`, the upkeep of every entry counted; nothing is given after its time.
"""

from collections import OrderedDict
from collections.abc import Callable

from pointsman.cache.store import StoreStatistics

UPKEEP_BYTES = 320
"""What the interpreter adds to an entry: key, tuple, two byte strings' heads, its place in the table."""


class Memory:
    """Satisfies `Store`; none of its methods ever waits."""

    def __init__(self, max_bytes: int, now: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._now = now
        self._entries: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._size_bytes = 0
        self._puts = self._evicted = self._expired = 0

    async def get(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, until_s = entry
        if self._now() >= until_s:
            self._drop(key)
            self._expired += 1
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """What alone is more than the whole bound is not kept."""
        self._drop(key)
        cost_bytes = len(value) + UPKEEP_BYTES
        if cost_bytes > self._max_bytes:
            return
        self._puts += 1
        self._entries[key] = (value, self._now() + ttl_s)
        self._size_bytes += cost_bytes
        while self._size_bytes > self._max_bytes:
            oldest = next(iter(self._entries))
            self._count_departure(self._entries[oldest][1])
            self._drop(oldest)

    def _count_departure(self, until_s: float) -> None:
        if self._now() >= until_s:
            self._expired += 1
        else:
            self._evicted += 1

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= len(entry[0]) + UPKEEP_BYTES

    async def close(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._size_bytes = 0

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            entries=len(self._entries),
            size_bytes=self._size_bytes,
            puts=self._puts,
            evicted=self._evicted,
            expired=self._expired,
        )

    def __repr__(self) -> str:
        return f"Memory({len(self._entries)} answers, {self._size_bytes} of {self._max_bytes} bytes)"
