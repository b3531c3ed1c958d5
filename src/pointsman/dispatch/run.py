"""Walk a plan: lease → call → answer, and on a failure retry here, go to the next candidate, or give up.

Knows: one deadline and one budget of attempts for the whole request, the commit point. Does not know: how a model is
loaded (fleet), how an engine is spoken to (backends), what is written down (ledger).
Invariants: no call without a lease; a failed attempt has released its lease before the next begins; after the first
content byte nothing is retried; where the caller allows it, a cut text is continued, from the same budget of attempts.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from pointsman.clock import Clock
from pointsman.dispatch.attempt import Backend, Call, Caller, Fleet, Quotas
from pointsman.dispatch.continuation import Continuation, Delivered, may_continue
from pointsman.dispatch.hedge import Race
from pointsman.dispatch.mapping import refusal
from pointsman.dispatch.retry import Situation, Verdict, decide
from pointsman.errors import DeadlineExceeded, PlanExhausted, PointsmanError, Refused, RequestError, UpstreamError
from pointsman.settings import RetrySettings
from pointsman.types import Attempt, Candidate, Plan, Reply, Request

# Failures that say nothing about how a deployment answers: the fleet knows of them already.
OF_THE_FLEET = frozenset({"loading_failed", "fetch_failed", "out_of_memory"})
TOO_MUCH = frozenset({429, 503})
"""Statuses of a server that is asked more than it can take."""


class Recorder(Protocol):
    """Keeps every attempt."""

    def attempted(self, attempt: Attempt) -> None: ...


class Latencies(Protocol):
    """How long deployments take to their first byte, as seen so far. None: not known yet."""

    def slow_s(self, deployment_id: str) -> float | None: ...


class Dispatcher:
    """One for the process; holds no state of any request."""

    def __init__(
        self,
        fleet: Fleet,
        backends: Mapping[str, Backend],
        retry: RetrySettings,
        timeout_s: float,
        clock: Clock,
        latencies: Latencies,
        quotas: Quotas | None = None,
    ) -> None:
        self.fleet = fleet
        self.backends = backends
        self.retry = retry
        self.clock = clock
        self.rng = clock.rng()
        self.latencies = latencies
        self.caller = Caller(fleet, backends, retry, clock, quotas)
        self._timeout_s = timeout_s

    @asynccontextmanager
    async def run(self, request: Request, plan: Plan, entry: Recorder) -> AsyncIterator[Reply]:
        """The reply, while its lease is held. Raises PointsmanError where no candidate answered in time."""
        if not plan.candidates:
            raise refusal(plan)
        timeout_s = min(self._timeout_s, request.limits.deadline_s or self._timeout_s)
        deadline_s = request.received_s + timeout_s
        walk = Walk(self, entry, deadline_s)
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self.clock.now())) as scope:
                try:
                    reply = await walk.first(request, plan.candidates)
                    if reply.events is not None and may_continue(request, self.retry.continuation):
                        reply = msgspec.structs.replace(reply, events=walk.continued(request, plan, reply.events))
                    yield reply
                except UpstreamError:
                    walk.failed()
                    raise
                finally:
                    await walk.close()
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"The request took longer than its deadline of {timeout_s:g} s; allow more time or ask for less"
            ) from None


class Walk:
    """One request's way through its candidates. `current` is the call that has answered."""

    def __init__(self, dispatcher: Dispatcher, entry: Recorder, deadline_s: float) -> None:
        self._own = dispatcher
        self._entry = entry
        self._deadline_s = deadline_s
        self._attempts: list[Attempt] = []
        self._broken: list[str] = []
        self.current: Call | None = None

    async def close(self) -> None:
        """Give back what the answer holds."""
        current, self.current = self.current, None
        if current is not None:
            await current.own.aclose()

    def failed(self) -> None:
        """The one that answered has broken off."""
        if self.current is not None:
            self._own.fleet.report(self.current.candidate.deployment_id, ok=False)

    async def first(self, request: Request, candidates: tuple[Candidate, ...]) -> Reply:
        """Walk the candidates until one has answered. Raises the last word on the matter where none does."""
        position = tries_here = 0
        while True:
            tries_here += 1
            rival = candidates[position + 1] if position + 1 < len(candidates) and tries_here == 1 else None
            reply, failures = await self._try(request, candidates[position], rival)
            if reply is not None:
                return reply
            position += len(failures) - 1  # a rival that failed too is behind us
            last = failures[-1]
            situation = Situation(
                error=last,
                tries_here=tries_here,
                attempts=len(self._attempts),
                candidates_left=len(candidates) - position - 1,
                remaining_s=self._deadline_s - self._own.clock.now(),
            )
            decision = decide(situation, self._own.retry, self._own.rng.random())
            if decision.verdict is Verdict.FAIL:
                raise _last_word(last, tuple(self._attempts)) from last
            if decision.verdict is Verdict.NEXT:
                position, tries_here = position + 1, 0
            else:
                await self._own.clock.sleep(decision.wait_s)

    async def _try(
        self, request: Request, candidate: Candidate, rival: Candidate | None
    ) -> tuple[Reply | None, list[PointsmanError]]:
        """One candidate, or a race of two. The reply, or how they failed."""
        call, delay_s = Call(self._own.clock, candidate), self._hedge_after_s(request, candidate)
        if rival is None or delay_s is None:
            try:
                reply = await self._own.caller.make(call, request, self._deadline_s)
            except PointsmanError as error:
                self._note(call, error)
                return None, [error]
            return self._won(call, reply), []
        race = Race(self._own.clock, lambda one: self._own.caller.make(one, request, self._deadline_s))
        won = await race.run(call, lambda: self._rival(rival), delay_s)
        for lost, why in race.failures:
            self._note(lost, why)
        return (self._won(*won) if won else None), [why for _, why in race.failures]

    def _hedge_after_s(self, request: Request, candidate: Candidate) -> float | None:
        """How much silence calls for a rival; None: none is called, for the wait would be for a load, or is unknown."""
        retry, fleet = self._own.retry, self._own.fleet
        if not retry.hedge or request.has_tools or not fleet.can_serve_now(candidate.deployment_id):
            return None
        return retry.hedge_after_s or self._own.latencies.slow_s(candidate.deployment_id)

    def _rival(self, candidate: Candidate) -> Call | None:
        has_budget = len(self._attempts) + 2 <= self._own.retry.max_attempts
        is_free = self._own.fleet.can_serve_now(candidate.deployment_id)
        return Call(self._own.clock, candidate) if has_budget and is_free else None

    def _won(self, call: Call, reply: Reply) -> Reply:
        self.current = call
        self._note(call)
        return reply

    def _note(self, call: Call, error: PointsmanError | None = None) -> None:
        attempt = call.attempt(error)
        self._entry.attempted(attempt)
        if error is None:
            self._own.fleet.report(call.candidate.deployment_id, True, call.leased_s, call.answered_in_s)
            return
        self._attempts.append(attempt)
        if isinstance(error, UpstreamError) and error.code not in OF_THE_FLEET:
            is_overload, is_late = error.upstream_status in TOO_MUCH, error.code == "upstream_timeout"
            self._own.fleet.report(
                call.candidate.deployment_id, False, call.leased_s, is_overload=is_overload, is_late=is_late
            )

    async def continued(self, request: Request, plan: Plan, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The events of an answer that outlives its deployment."""
        delivered = Delivered()
        try:
            async for chunk in events:
                delivered.add(chunk)
                yield chunk
            return
        except UpstreamError as error:
            cut = error
        while True:
            events, by = await self._resume(request, plan, delivered, cut)
            is_told = False
            try:
                async for chunk in events:
                    if out := delivered.seamless(chunk, None if is_told else by):
                        is_told = True
                        delivered.add(out)
                        yield out
                return
            except UpstreamError as error:
                cut = error

    async def _resume(
        self, request: Request, plan: Plan, delivered: Delivered, cut: UpstreamError
    ) -> tuple[AsyncIterator[bytes], Continuation]:
        """Have the next candidate go on; who broke off comes last. Raises the cut itself where nobody can."""
        broken = self.current
        able = [one for one in plan.candidates if self._own.backends[one.deployment_id].can_continue]
        if broken is None or not able or not delivered.can_go_on:
            raise cut
        self._broken.append(broken.candidate.deployment_id)
        able.sort(key=lambda one: self._broken.count(one.deployment_id))
        self.failed()
        now_s = self._own.clock.now()
        attempt = msgspec.structs.replace(broken.attempt(cut), started_s=now_s, wait_s=0.0, first_byte_s=None)
        self._entry.attempted(attempt)
        self._attempts.append(attempt)
        await self.close()
        if len(self._attempts) >= self._own.retry.max_attempts:
            raise cut
        try:
            reply = await self.first(delivered.request(request), tuple(able))
        except PointsmanError as error:
            raise cut from error
        if reply.events is None or self.current is None:
            raise cut
        by = self.current.candidate
        return reply.events, Continuation(
            model_id=by.model_id, deployment_id=by.deployment_id, after_tokens=delivered.tokens
        )

    def __repr__(self) -> str:
        return f"Walk({len(self._attempts)} failed, {self.current.candidate.deployment_id if self.current else 'none'})"


def _last_word(error: PointsmanError, attempts: tuple[Attempt, ...]) -> PointsmanError:
    """What the caller hears: the error itself where it was the only one or the caller's own, else the whole walk."""
    if len(attempts) == 1 or isinstance(error, RequestError | Refused | DeadlineExceeded):
        return error
    walk = "; ".join(f"{attempt.deployment_id}: {attempt.error}" for attempt in attempts)
    return PlanExhausted(f"All {len(attempts)} attempts failed ({walk}); try again later", attempts=attempts)
