"""What a model may be asked a minute and at once, whoever asks; beside what each key may ask (`control`).

Knows: each model's limits, which models are known to be full. Does not know: who answers in a full one's stead
(policy reads `full` through the World), nor what a call is.
A call is counted when it is made, retries included: that is what a server behind a model sees. Its tokens are charged
when they are known. A model that was found full is remembered, so that no plan names it until it has room again.
"""

from collections.abc import Mapping
from functools import partial

from pointsman.admission.buckets import Rate
from pointsman.admission.counters import Counters, Leave
from pointsman.admission.permit import Permit, nothing
from pointsman.clock import Clock
from pointsman.errors import Refused
from pointsman.settings import ModelLimits
from pointsman.types import Outcome

BUSY_RETRY_S = 1.0
BUSY_HOLD_S = 0.2
"""A model without a free place is asked again after this, or when a place of our own is free."""


class Quotas:
    """`keep_s`: a place that nobody left is free again after that."""

    def __init__(self, counters: Counters, clock: Clock, keep_s: float) -> None:
        self._counters = counters
        self._clock = clock
        self._keep_s = keep_s
        self._limits: dict[str, ModelLimits] = {}
        self._busy_until_s: dict[str, float] = {}
        self._spent_until_s: dict[str, float] = {}

    def configure(self, limits: Mapping[str, ModelLimits]) -> None:
        """By model id; what has been used stands."""
        self._limits = {model_id: one for model_id, one in limits.items() if one.model_fields_set}

    def permit(self, model_id: str) -> "Permit | None":
        """One call of the model while the context is open, entering it raises Refused; None: it has no limits."""
        limits = self._limits.get(model_id)
        return None if limits is None else Permit(partial(self.enter, model_id, limits))

    def full(self) -> tuple[tuple[str, float], ...]:
        """(model id, seconds until it has room) of those known to be full."""
        if not (self._busy_until_s or self._spent_until_s):
            return ()
        now_s, found = self._clock.now(), {}
        for until_s in (self._busy_until_s, self._spent_until_s):
            for model_id in tuple(until_s):
                if until_s[model_id] <= now_s or model_id not in self._limits:
                    del until_s[model_id]
                else:
                    found[model_id] = until_s[model_id] - now_s
        return tuple(found.items())

    async def enter(self, model_id: str, limits: ModelLimits) -> Leave:
        """One call may be made until what is returned is called, once. Raises Refused."""
        leave = await self._place(model_id, limits)
        try:
            await self._check_rates(model_id, limits)
        except BaseException:
            leave()
            raise
        return leave

    async def _place(self, model_id: str, limits: ModelLimits) -> Leave:
        if limits.max_concurrent is None:
            return nothing
        found = await self._counters.enter(f"model_at_once:{model_id}", limits.max_concurrent, self._keep_s)
        if found is None:
            self._busy_until_s[model_id] = self._clock.now() + BUSY_HOLD_S
            raise _limited(model_id, f"{limits.max_concurrent} calls at once", BUSY_RETRY_S)
        leave_it = found

        def leave() -> None:
            self._busy_until_s.pop(model_id, None)
            leave_it()

        return leave

    async def _check_rates(self, model_id: str, limits: ModelLimits) -> None:
        if limits.tokens_per_minute is not None:
            rate = Rate.tokens_per_minute(limits.tokens_per_minute)
            if wait_s := await self._counters.take(f"model_tokens:{model_id}", rate, 0.0):
                raise self._spent(model_id, f"{limits.tokens_per_minute:g} tokens a minute", wait_s)
        if limits.requests_per_minute is not None:
            rate = Rate.per_minute(limits.requests_per_minute)
            if wait_s := await self._counters.take(f"model_requests:{model_id}", rate):
                raise self._spent(model_id, f"{limits.requests_per_minute:g} calls a minute", wait_s)

    def _spent(self, model_id: str, what: str, wait_s: float) -> Refused:
        self._spent_until_s[model_id] = self._clock.now() + wait_s
        return _limited(model_id, what, wait_s)

    def owed(self, outcome: Outcome) -> str:
        """The model that has to be charged for an answer; empty for none."""
        if not self._limits:
            return ""
        model_id = next((one.model_id for one in reversed(outcome.attempts) if not one.error), "")
        limits = self._limits.get(model_id)
        return model_id if limits is not None and limits.tokens_per_minute is not None else ""

    async def charge(self, model_id: str, tokens: int) -> None:
        """What an answer has cost."""
        limits = self._limits.get(model_id)
        if limits is not None and limits.tokens_per_minute is not None:
            rate = Rate.tokens_per_minute(limits.tokens_per_minute)
            await self._counters.charge(f"model_tokens:{model_id}", rate, tokens)

    def __repr__(self) -> str:
        return f"Quotas({len(self._limits)} models, full: {', '.join(name for name, _ in self.full()) or 'none'})"


def _limited(model_id: str, what: str, wait_s: float) -> Refused:
    wait_s = max(1.0, wait_s)
    said = f"`{model_id}` may be asked {what} (`limits`); try again in {wait_s:.0f} s, or ask for `auto`"
    return Refused(said, code="rate_limit_exceeded", retry_after_s=wait_s)
