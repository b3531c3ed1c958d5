"""A store that may fail, made one that may not: every call has a time limit, and one that keeps failing is left alone.

Invariants: nothing is raised but cancellation; a failure is a miss, counted; while the breaker is open no call is made,
but for one trial after each pause, which doubles up to `LONGEST_PAUSE_S`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from pointsman.cache.store import Store, StoreError, StoreStatistics
from pointsman.clock import Clock

MOST_FAILURES = 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
T = TypeVar("T")


class Guard:
    """Satisfies `Store`. `changed` hears whether the store is up, and why not."""

    def __init__(self, store: Store, timeout_s: float, clock: Clock, changed: Callable[[bool, str], None]) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._clock = clock
        self._changed = changed
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._closed_until_s: float | None = None
        self._failed = self._skipped = 0

    async def get(self, key: bytes) -> bytes | None:
        return await self._try(lambda: self._store.get(key))

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        await self._try(lambda: self._store.put(key, value, ttl_s))

    async def close(self) -> None:
        """Also of a store that is left alone: what it holds open here is ours."""
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._store.close()

    async def _try(self, call: Callable[[], Awaitable[T]]) -> T | None:
        if not self._may_try():
            self._skipped += 1
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call()
        except (StoreError, TimeoutError) as error:
            self._has_failed(str(error) or f"no answer within {1000 * self._timeout_s:g} ms")
            return None
        if self._failures:
            self._is_well()
        return result

    def _may_try(self) -> bool:
        """Closed, or time for the next trial; the trial itself moves the time of the one after."""
        if self._closed_until_s is None:
            return True
        if self._clock.now() < self._closed_until_s:
            return False
        self._closed_until_s = self._clock.now() + self._pause_s
        return True

    def _has_failed(self, why: str) -> None:
        self._failed += 1
        self._failures += 1
        if self._failures < MOST_FAILURES:
            return
        if self._closed_until_s is None:
            self._changed(False, why)
        else:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._closed_until_s = self._clock.now() + self._pause_s

    def _is_well(self) -> None:
        was_closed = self._closed_until_s is not None
        self._failures, self._pause_s, self._closed_until_s = 0, FIRST_PAUSE_S, None
        if was_closed:
            self._changed(True, "")

    def statistics(self) -> StoreStatistics:
        return msgspec.structs.replace(
            self._store.statistics(),
            failed=self._failed,
            skipped=self._skipped,
            is_up=self._closed_until_s is None,
        )

    def __repr__(self) -> str:
        state = "up" if self._closed_until_s is None else "left alone"
        return f"Guard({self._store!r}, {state}, {self._failed} failed)"
