"""Walk a plan: lease → call → answer, and on a failure ask the next candidate, one of them again, or give up.

Knows: one deadline and one budget of attempts for the whole request, the commit point. Does not know: how a model is
loaded (fleet), how an engine is spoken to (backends), what is written down (ledger), what a failure means (`retry`).
Invariants: no call without a lease; a failed attempt has released its lease before the next begins; after the first
content byte nothing is retried; where the caller allows it, a cut text is continued, from the same budget of attempts.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import msgspec

from pointsman.clock import Clock
from pointsman.dispatch.attempt import Backend, Call, Caller, Fleet, Quotas
from pointsman.dispatch.continuation import Continuation, Delivered, may_continue
from pointsman.dispatch.hedge import Race
from pointsman.dispatch.manners import Manners
from pointsman.dispatch.mapping import refusal
from pointsman.dispatch.patience import SOONEST_LOOK_S, LeftLine, Wait, look_again_in_s
from pointsman.dispatch.retry import TOO_MUCH, Failed, Situation, Verdict, decide, last_word, may_pass, not_asked
from pointsman.errors import DeadlineExceeded, PointsmanError, UpstreamError
from pointsman.settings import RetrySettings
from pointsman.types import Attempt, Candidate, Plan, Reply, Request

# Failures that say nothing about how a deployment answers: the fleet knows of them already.
OF_THE_FLEET = frozenset({"loading_failed", "fetch_failed", "out_of_memory"})

Failures = dict[int, Failed]


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
        manners: Manners | None = None,
    ) -> None:
        self.fleet = fleet
        self.backends = backends
        self.retry = retry
        self.clock = clock
        self.rng = clock.rng()
        self.latencies = latencies
        self.caller = Caller(fleet, backends, retry, clock, quotas, manners)
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
        at, failed = 0, Failures()
        while True:
            reply, failures = await self._try(request, candidates, at, failed)
            if reply is not None:
                return reply
            for call, error in failures:
                at = candidates.index(call.candidate)
                failed[at] = Failed(tries=failed[at].tries + 1 if at in failed else 1, error=error)
            situation = Situation(
                models=tuple([one.model_id for one in candidates]),
                failed=failed,
                last=at,
                attempts=len(self._attempts),
                remaining_s=self._deadline_s - self._own.clock.now(),
            )
            decision = decide(situation, self._own.retry, self._own.rng.random())
            if decision.verdict is Verdict.FAIL:
                raise last_word(situation, tuple(self._attempts)) from failed[at].error
            at = decision.at
            if decision.wait_s:
                await self._own.clock.sleep(decision.wait_s)

    async def _try(
        self, request: Request, candidates: tuple[Candidate, ...], at: int, failed: Failures
    ) -> tuple[Reply | None, list[tuple[Call, PointsmanError]]]:
        """One candidate, or a race of two. The reply, or who failed and how."""
        call = Call(self._own.clock, candidates[at])
        delay_s = None if at in failed else self._hedge_after_s(request, call.candidate)
        rival = None if delay_s is None else self._next(candidates, at, failed)
        if rival is None or delay_s is None:
            try:
                patience = partial(self._patience, call, candidates, failed) if len(candidates) > 1 else None
                reply = await self._own.caller.make(call, request, self._deadline_s, patience)
            except PointsmanError as error:
                self._note(call, error)
                return None, [(call, error)]
            return self._won(call, reply), []
        race = Race(self._own.clock, lambda one: self._own.caller.make(one, request, self._deadline_s))
        won = await race.run(call, lambda: self._rival(rival), delay_s)
        for lost, why in race.failures:
            self._note(lost, why)
        return (self._won(*won) if won else None), race.failures

    def _patience(self, call: Call, candidates: tuple[Candidate, ...], failed: Failures, waited_s: float) -> float:
        """How much longer to stand in this one's line before looking again. Raises LeftLine."""
        fleet, deployment_id, now_s = self._own.fleet, call.candidate.deployment_id, self._own.clock.now()
        if call.expected_wait_s is None:
            call.expected_wait_s = fleet.turn_in_s(deployment_id, is_last_in_line=True)
        models, max_attempts = tuple([one.model_id for one in candidates]), self._own.retry.max_attempts
        others = not_asked(models, failed, max_attempts)
        if len(self._attempts) < max_attempts:
            others += may_pass(failed)
        turns = [fleet.turn_in_s(candidates[at].deployment_id) for at in others if candidates[at] is not call.candidate]
        remaining_s = self._deadline_s - now_s
        if not turns:
            return max(SOONEST_LOOK_S, remaining_s)
        wait = Wait(
            waited_s=waited_s,
            expected_s=call.expected_wait_s,
            limit_s=waited_s + remaining_s,
            elsewhere_s=min(turns),
            others=len(turns),
        )
        if look_in_s := look_again_in_s(wait):
            return look_in_s
        raise LeftLine(
            f"`{deployment_id}` had no turn for it within {waited_s:.1f} s; another candidate is sooner",
            retry_after_s=max(1.0, wait.expected_s - waited_s),
        )

    def _next(self, candidates: tuple[Candidate, ...], at: int, failed: Failures) -> Candidate | None:
        """Who would be asked after this one."""
        fresh = not_asked(tuple([one.model_id for one in candidates]), failed, self._own.retry.max_attempts)
        return next((candidates[other] for other in fresh if other != at), None)

    def _hedge_after_s(self, request: Request, candidate: Candidate) -> float | None:
        """How much silence calls for a rival; None: none is called, for the wait would be for a load, or is unknown."""
        retry, fleet = self._own.retry, self._own.fleet
        if not retry.hedge or request.has_tools or fleet.turn_in_s(candidate.deployment_id):
            return None
        return retry.hedge_after_s or self._own.latencies.slow_s(candidate.deployment_id)

    def _rival(self, candidate: Candidate) -> Call | None:
        has_budget = len(self._attempts) + 2 <= self._own.retry.max_attempts
        is_free = not self._own.fleet.turn_in_s(candidate.deployment_id)
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
