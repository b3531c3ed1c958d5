"""Counters in a Valkey or Redis that several gateways share, so that a limit is one limit. Needs the extra `valkey`.

Knows: the client library, two scripts. Does not know: whose counters they are.
Invariants: nothing is raised but cancellation; a store that cannot be asked within its time limit is left alone for a
while, and this process counts by itself until then: limits are then kept by each gateway, and answers never wait.
The store's own clock is the one clock of a bucket.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pointsman.admission.buckets import Rate
from pointsman.admission.counters import Leave, LocalCounters
from pointsman.clock import Clock
from pointsman.valkey_client import FAULTS, client_of

PREFIX = "pointsman:limit:"
PAUSE_S = 5.0
T = TypeVar("T")

# `buckets.take` and `buckets.charge`; ARGV: per_s, burst, amount, whether to take it in any case. Answers the wait.
BUCKET = """
local now_parts = redis.call('TIME')
local now = tonumber(now_parts[1]) + tonumber(now_parts[2]) / 1000000
local per_s, burst, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local after = full_at + amount / per_s
local wait = after - now - math.max(burst, amount) / per_s
if wait > 0.000001 and ARGV[4] == '0' then return tostring(wait) end
if amount > 0 then
  redis.call('SET', KEYS[1], string.format('%.6f', after), 'PX', math.ceil((after - now) * 1000) + 1000)
end
return '0'
"""
# Members are those inside, with the moment until which they may be. ARGV: how many, seconds to keep, who.
ENTER = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[3])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) + 1)
return 1
"""
# ARGV: amount, seconds to keep. Answers the sum.
SUM = """
local total = redis.call('INCRBYFLOAT', KEYS[1], ARGV[1])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return total
"""


class SharedCounters:
    """Satisfies `Counters`. `changed` hears whether the store is up, and why not. Connects when it is first asked."""

    def __init__(
        self, url: str, password: str, timeout_s: float, clock: Clock, changed: Callable[[bool, str], None]
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._clock = clock
        self._changed = changed
        self._local = LocalCounters(clock)
        self._away_until_s: float | None = None
        self._client = client_of(url, password, timeout_s)
        self._bucket = self._client.register_script(BUCKET)
        self._sum = self._client.register_script(SUM)
        self._enter = self._client.register_script(ENTER)
        self._me = secrets.token_hex(8)
        self._entered = 0
        self._leaving: set[asyncio.Task[None]] = set()

    async def take(self, name: str, rate: Rate, amount: float = 1.0) -> float:
        return await self._either(self._ask(name, rate, amount), lambda: self._local.take(name, rate, amount))

    async def charge(self, name: str, rate: Rate, amount: float) -> None:
        async def locally() -> float:
            await self._local.charge(name, rate, amount)
            return 0.0

        await self._either(self._ask(name, rate, amount, in_any_case=True), locally)

    async def add(self, name: str, amount: float, keep_s: float) -> float:
        async def remotely() -> float:
            return float(await self._sum(keys=[PREFIX + name], args=[amount, round(keep_s)]))

        return await self._either(remotely, lambda: self._local.add(name, amount, keep_s))

    async def enter(self, name: str, most: int, keep_s: float) -> Leave | None:
        """Full here is full: the store is asked only where there is a place by this process's own count, and after all
        whose leaving is under way, so that one who asks again at once finds the place it left."""
        leave_here = await self._local.enter(name, most, keep_s)
        if leave_here is None:
            return None
        self._entered += 1
        who = f"{self._me}:{self._entered}"

        def leave() -> None:
            leave_here()
            task = asyncio.get_running_loop().create_task(self._leave(name, who), name="leave")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

        async def remotely() -> bool:
            return bool(await self._enter(keys=[PREFIX + name], args=[most, math.ceil(keep_s), who]))

        async def locally() -> bool:
            return True

        try:
            if self._leaving:
                await asyncio.wait(self._leaving, timeout=self._timeout_s)
            is_in = await self._either(remotely, locally)
        except BaseException:  # whether the store has let it in is not known
            leave()
            raise
        if is_in:
            return leave
        leave_here()
        return None

    async def _leave(self, name: str, who: str) -> None:
        async def remotely() -> None:
            await self._client.zrem(PREFIX + name, who)

        async def locally() -> None:
            """It has left here already; the store forgets it by itself."""

        await self._either(remotely, locally)

    async def close(self) -> None:
        """Leave what is being left, and drop the connections."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.aclose()
        except FAULTS:
            return  # it is gone already

    def _ask(
        self, name: str, rate: Rate, amount: float, *, in_any_case: bool = False
    ) -> Callable[[], Awaitable[float]]:
        args: list[Any] = [rate.per_s, rate.burst, amount, int(in_any_case)]

        async def remotely() -> float:
            return float(await self._bucket(keys=[PREFIX + name], args=args))

        return remotely

    async def _either(self, remotely: Callable[[], Awaitable[T]], locally: Callable[[], Awaitable[T]]) -> T:
        if self._away_until_s is not None and self._clock.now() < self._away_until_s:
            return await locally()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await remotely()
        except FAULTS as error:
            if self._away_until_s is None:
                self._changed(False, f"{type(error).__name__}: {error}".rstrip(": "))
            self._away_until_s = self._clock.now() + PAUSE_S
            return await locally()
        if self._away_until_s is not None:
            self._away_until_s = None
            self._changed(True, "")
        return answer

    def __repr__(self) -> str:
        return f"SharedCounters({self._url}, {'here' if self._away_until_s is None else 'away'})"
