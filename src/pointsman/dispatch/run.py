"""Walk a plan: lease → call → answer, and on a failure retry here, go to the next candidate, or give up.

Knows: one deadline and one budget of attempts for the whole request, the commit point. Does not know: how a model is
loaded (fleet), how an engine is spoken to (backends), what is written down (ledger).
Invariants: no call without a lease; a failed attempt has released its lease before the next begins; after the first
content byte nothing is retried.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

from pointsman.clock import Clock
from pointsman.dispatch import stream
from pointsman.dispatch.mapping import check_answer, error_of, refusal
from pointsman.dispatch.retry import Situation, Verdict, decide
from pointsman.errors import DeadlineExceeded, PlanExhausted, PointsmanError, Refused, RequestError, UpstreamError
from pointsman.settings import RetrySettings
from pointsman.types import Attempt, Candidate, Lease, Plan, Reply, Request


class Fleet(Protocol):
    """Grants leases; hears how the call went."""

    def lease(self, deployment_id: str, deadline_s: float) -> AbstractAsyncContextManager[Lease]: ...
    def report(self, deployment_id: str, ok: bool) -> None: ...


class HttpReply(Protocol):
    """An upstream's answer while its connection is open."""

    @property
    def status(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read(self) -> bytes: ...


class Backend(Protocol):
    """Calls one deployment."""

    def call(self, lease: Lease, request: Request) -> AbstractAsyncContextManager[HttpReply]: ...


class Recorder(Protocol):
    """Keeps every attempt."""

    def attempted(self, attempt: Attempt) -> None: ...


class Dispatcher:
    """One for the process; holds no state of any request."""

    def __init__(
        self, fleet: Fleet, backends: Mapping[str, Backend], retry: RetrySettings, timeout_s: float, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._backends = backends
        self._retry = retry
        self._timeout_s = timeout_s
        self._clock = clock
        self._rng = clock.rng()

    @asynccontextmanager
    async def run(self, request: Request, plan: Plan, entry: Recorder) -> AsyncIterator[Reply]:
        """The reply, while its lease is held. Raises PointsmanError where no candidate answered in time."""
        if not plan.candidates:
            raise refusal(plan)
        timeout_s = min(self._timeout_s, request.limits.deadline_s or self._timeout_s)
        deadline_s = request.received_s + timeout_s
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.now())) as scope, AsyncExitStack() as stack:
                reply, deployment_id = await self._first_answer(request, plan, entry, deadline_s, stack)
                try:
                    yield reply
                except UpstreamError:
                    self._fleet.report(deployment_id, ok=False)
                    raise
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"The request took longer than its deadline of {timeout_s:g} s; allow more time or ask for less"
            ) from None

    async def _first_answer(
        self, request: Request, plan: Plan, entry: Recorder, deadline_s: float, stack: AsyncExitStack
    ) -> tuple[Reply, str]:
        """Walk the candidates until one has answered; its lease and connection are then owned by `stack`."""
        attempts: list[Attempt] = []
        position = tries_here = 0
        while True:
            candidate = plan.candidates[position]
            tries_here += 1
            walk = _Walk(self._clock, candidate)
            try:
                async with AsyncExitStack() as own:
                    reply = await self._attempt(request, candidate, deadline_s, own, walk)
                    stack.push_async_exit(own.pop_all())
                entry.attempted(walk.attempt())
                self._fleet.report(candidate.deployment_id, ok=True)
                return reply, candidate.deployment_id
            except PointsmanError as error:
                attempts.append(walk.attempt(error))
                entry.attempted(attempts[-1])
                if isinstance(error, UpstreamError) and error.code != "loading_failed":
                    self._fleet.report(candidate.deployment_id, ok=False)
                situation = Situation(
                    error=error,
                    tries_here=tries_here,
                    attempts=len(attempts),
                    candidates_left=len(plan.candidates) - position - 1,
                    remaining_s=deadline_s - self._clock.now(),
                )
                decision = decide(situation, self._retry, self._rng.random())
                if decision.verdict is Verdict.FAIL:
                    raise _last_word(error, tuple(attempts)) from error
            if decision.verdict is Verdict.NEXT:
                position, tries_here = position + 1, 0
            else:
                await self._clock.sleep(decision.wait_s)

    async def _attempt(
        self, request: Request, candidate: Candidate, deadline_s: float, own: AsyncExitStack, walk: "_Walk"
    ) -> Reply:
        """One call at one deployment, up to the commit point."""
        lease = await own.enter_async_context(self._fleet.lease(candidate.deployment_id, deadline_s))
        walk.leased_s = self._clock.now()
        backend = self._backends[candidate.deployment_id]
        http = await own.enter_async_context(backend.call(lease, request))
        if http.status != 200:
            raise error_of(http.status, await http.read(), candidate.model_id)
        if not request.stream:
            body = await http.read()
            walk.first_byte_s = self._clock.now()
            check_answer(request, http.content_type, body, candidate.model_id)
            return Reply(status=200, content_type=http.content_type, body=body)
        if not http.content_type.startswith("text/event-stream"):
            return await self._raw_stream(http, candidate, walk)
        events = stream.whole_events(http.chunks(), request.kind, candidate.model_id)
        held = await stream.until_content(events, candidate.model_id)
        walk.first_byte_s = self._clock.now()
        return Reply(
            status=200, content_type="text/event-stream", events=stream.checked(held, events, candidate.model_id)
        )

    async def _raw_stream(self, http: HttpReply, candidate: Candidate, walk: "_Walk") -> Reply:
        """A stream of bytes, such as audio: its first chunk is the commit point."""
        if not http.content_type.startswith("audio/"):
            raise UpstreamError(
                f"`{candidate.model_id}` sent {http.content_type or 'no content type'} instead of a stream",
                code="upstream_protocol",
            )
        chunks = http.chunks()
        async for first in chunks:
            walk.first_byte_s = self._clock.now()
            return Reply(status=200, content_type=http.content_type, events=_chain(first, chunks))
        raise UpstreamError(f"`{candidate.model_id}` sent an empty stream", code="upstream_cut")


class _Walk:
    """Times of one attempt while it is under way."""

    def __init__(self, clock: Clock, candidate: Candidate) -> None:
        self.candidate = candidate
        self.started_s = clock.now()
        self.leased_s: float | None = None
        self.first_byte_s: float | None = None

    def attempt(self, error: PointsmanError | None = None) -> Attempt:
        wait_s = (self.leased_s - self.started_s) if self.leased_s is not None else 0.0
        return Attempt(
            deployment_id=self.candidate.deployment_id,
            model_id=self.candidate.model_id,
            started_s=self.started_s,
            wait_s=wait_s,
            first_byte_s=self.first_byte_s,
            error=error.code if error else "",
            detail=error.message if error else "",
        )


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


def _last_word(error: PointsmanError, attempts: tuple[Attempt, ...]) -> PointsmanError:
    """What the caller hears: the error itself where it was the only one or the caller's own, else the whole walk."""
    if len(attempts) == 1 or isinstance(error, RequestError | Refused | DeadlineExceeded):
        return error
    walk = "; ".join(f"{attempt.deployment_id}: {attempt.error}" for attempt in attempts)
    return PlanExhausted(f"All {len(attempts)} attempts failed ({walk}); try again later", attempts=attempts)
