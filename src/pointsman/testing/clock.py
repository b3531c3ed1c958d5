"""A clock that a test owns. Time stands still until `advance`; sleepers wake in their order, each at its moment."""

import asyncio
import heapq
import itertools
import random

YIELDS = 50


class FakeClock:
    """`pointsman.clock.Clock`. Chance is seeded: the same test, the same jitter."""

    def __init__(self, now_s: float = 1000.0, unix_s: float = 1_800_000_000.0) -> None:
        self._now_s = now_s
        self._unix_offset_s = unix_s - now_s
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now_s

    def unix(self) -> float:
        return self._now_s + self._unix_offset_s

    async def sleep(self, duration_s: float) -> None:
        """Until `advance` has gone that far; one turn of the event loop where the duration is not positive."""
        if duration_s <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + duration_s, next(self._order), woken))
        await woken

    def rng(self, seed: int | None = None) -> random.Random:
        return random.Random(0 if seed is None else seed)

    async def advance(self, duration_s: float) -> None:
        """Let that much time pass, and everything happen that is due in it."""
        end_s = self._now_s + duration_s
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            at_s, _, woken = heapq.heappop(self._sleepers)
            self._now_s = max(self._now_s, at_s)
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._now_s = end_s
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until it waits for time or for the outside."""
        for _ in range(YIELDS):
            await asyncio.sleep(0)

    def __repr__(self) -> str:
        waiting = sum(not woken.done() for _, _, woken in self._sleepers)
        return f"FakeClock({self._now_s:g} s, {waiting} asleep)"
