"""Admission: may this request come in now?

Knows: each key's limits, the line in front. Does not know: HTTP, models, what the request asks.
In this order, the cheapest refusal first: 1 the key's own requests at once 2 its requests a minute 3 its tokens a
minute 4 its tokens a day 5 the line for everybody. A refusal is 429 and says when it would not be one; in 5, 503.
Tokens are charged when they are known, by the Outcome: no answer is cut for its price, its owner waits afterwards.
"""

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from pointsman.admission.buckets import Rate
from pointsman.admission.counters import Counters, Leave
from pointsman.admission.line import Line, Place
from pointsman.admission.permit import Permit, nothing
from pointsman.admission.quotas import Quotas
from pointsman.clock import Clock
from pointsman.errors import DeadlineExceeded, Refused
from pointsman.settings import AdmissionSettings, KeySettings
from pointsman.types import Outcome, Request

DAY_S = 86_400.0
BUSY_RETRY_S = 1.0
GRACE_S = 10.0
"""After its deadline a request is given so long to leave, before a shared store reckons that its process has died."""


class Admission:
    """Lets requests in. It is a sink of the ledger too: it hears what each of them cost."""

    def __init__(
        self,
        keys: tuple[KeySettings, ...],
        settings: AdmissionSettings,
        counters: Counters,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self.line = Line(settings.max_concurrent, settings.max_waiting, clock)
        self._keys = {key.name: key for key in keys}
        self._default_priority = settings.default_priority
        self._counters = counters
        self._clock = clock
        self._timeout_s = timeout_s
        self._charging: set[asyncio.Task[None]] = set()
        self.quotas = Quotas(counters, clock, timeout_s + GRACE_S)

    def reconfigured(self, keys: tuple[KeySettings, ...], settings: AdmissionSettings, timeout_s: float) -> None:
        """Other keys and limits from the next request on; what a key has spent stays spent."""
        self.line.resize(settings.max_concurrent, settings.max_waiting)
        self._keys = {key.name: key for key in keys}
        self._default_priority = settings.default_priority
        self._timeout_s = timeout_s

    def admit(self, request: Request) -> Permit:
        """In, while the context is open. Entering raises Refused or DeadlineExceeded."""
        return Permit(partial(self.enter, request, self._keys.get(request.tenant)))

    async def count(self, request: Request) -> None:
        """One that asks no model: a request of its key, no more. Raises Refused."""
        if key := self._keys.get(request.tenant):
            await self._check_requests(key)

    async def enter(self, request: Request, key: KeySettings | None) -> Leave:
        """Inside, until what is returned is called, once."""
        if key is None:
            return partial(self.line.leave, await self._in_line(request, self._default_priority))
        leave = await self._one_of_its_own(key)
        try:
            await self._check_rates(key)
            place = await self._in_line(request, key.priority)
        except BaseException:
            leave()
            raise

        def leave_both() -> None:
            self.line.leave(place)
            leave()

        return leave_both

    async def _in_line(self, request: Request, priority: int) -> Place:
        place = self.line.place(priority)
        if self.line.enter_nowait(place):
            return place
        timeout_s = min(self._timeout_s, request.limits.deadline_s or self._timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self.line.enter(place)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The request waited {timeout_s:g} s to be let in: {self.line.waiting} wait; try again later"
            ) from None
        return place

    async def _one_of_its_own(self, key: KeySettings) -> Leave:  # 1
        if key.max_concurrent is None:
            return nothing
        leave = await self._counters.enter(f"at_once:{key.name}", key.max_concurrent, self._timeout_s + GRACE_S)
        if leave is None:
            raise _limited(f"{key.max_concurrent} requests at once (`max_concurrent`)", key, BUSY_RETRY_S)
        return leave

    async def _check_requests(self, key: KeySettings) -> None:
        if key.requests_per_minute is not None:  # 2
            wait_s = await self._counters.take(f"requests:{key.name}", Rate.per_minute(key.requests_per_minute))
            if wait_s:
                raise _limited(f"{key.requests_per_minute:g} requests a minute", key, wait_s)

    async def _check_rates(self, key: KeySettings) -> None:
        await self._check_requests(key)
        if key.tokens_per_minute is not None:  # 3
            wait_s = await self._counters.take(f"tokens:{key.name}", Rate.tokens_per_minute(key.tokens_per_minute), 0.0)
            if wait_s:
                raise _limited(f"{key.tokens_per_minute:g} tokens a minute", key, wait_s)
        if key.tokens_per_day is not None:  # 4
            spent = await self._counters.add(self._day_of(key), 0.0, DAY_S)
            if spent >= key.tokens_per_day:
                left_s = DAY_S - self._clock.unix() % DAY_S
                raise _limited(f"{key.tokens_per_day:g} tokens a day", key, left_s)

    def _day_of(self, key: KeySettings) -> str:
        return f"day:{int(self._clock.unix() // DAY_S)}:{key.name}"

    # ------------------------------------------------------------ a sink of the ledger

    def closed(self, outcome: Outcome) -> None:
        """Charge its tokens, in the background: nobody waits for it."""
        key = self._keys.get(outcome.tenant)
        tokens = outcome.usage.prompt_tokens + outcome.usage.completion_tokens
        if not tokens:
            return
        if key is not None and (key.tokens_per_minute is not None or key.tokens_per_day is not None):
            self._begin(self._charge(key, tokens))
        if model_id := self.quotas.owed(outcome):
            self._begin(self.quotas.charge(model_id, tokens))

    def _begin(self, charge: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(charge, name="charge")
        self._charging.add(task)
        task.add_done_callback(self._charging.discard)

    async def _charge(self, key: KeySettings, tokens: int) -> None:
        if key.tokens_per_minute is not None:
            await self._counters.charge(f"tokens:{key.name}", Rate.tokens_per_minute(key.tokens_per_minute), tokens)
        if key.tokens_per_day is not None:
            await self._counters.add(self._day_of(key), tokens, DAY_S)

    async def settled(self) -> None:
        """Return when everything is charged."""
        if self._charging:
            await asyncio.wait(set(self._charging))

    async def close(self) -> None:
        """Charge what is still to be charged, then let go of the counters."""
        await self.settled()
        await self._counters.close()

    def __repr__(self) -> str:
        return f"Admission({len(self._keys)} keys, {self.line!r})"


def _limited(what: str, key: KeySettings, wait_s: float) -> Refused:
    return Refused(
        f"The key `{key.name}` may have {what}; try again in {max(1.0, wait_s):.0f} s",
        code="rate_limit_exceeded",
        retry_after_s=max(1.0, wait_s),
    )
