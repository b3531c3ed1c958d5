"""One call at one deployment, up to the commit point: lease → call → the first content.

Knows: what makes an answer good enough to commit to. Does not know: what comes next where it is not.
Invariant: whatever ends a call, its lease and connection are owned by its own stack and leave with it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Protocol

import msgspec

from pointsman.clock import Clock
from pointsman.dispatch import stream
from pointsman.dispatch.manners import Manners
from pointsman.dispatch.mapping import check_answer, error_of, unquoted
from pointsman.dispatch.pace import Pace
from pointsman.errors import PointsmanError, UpstreamError
from pointsman.redact import Hide
from pointsman.settings import RetrySettings
from pointsman.types import Attempt, Candidate, Lease, Reply, Request

Patience = Callable[[float], float]
"""Of the seconds waited in line: for how many more to wait before it is asked again."""


class Fleet(Protocol):
    """Grants leases; hears how the call went. `patience` ends a wait in line by what it raises. `turn_in_s` is advice:
    how long one more would wait, or the last that does; 0 where it would be granted at once, and it is well."""

    def lease(
        self, deployment_id: str, deadline_s: float, patience: Patience | None = None
    ) -> AbstractAsyncContextManager[Lease]: ...
    def report(
        self,
        deployment_id: str,
        ok: bool,
        began_s: float | None = None,
        first_byte_s: float | None = None,
        *,
        is_overload: bool = False,
        is_late: bool = False,
    ) -> None: ...
    def turn_in_s(self, deployment_id: str, *, is_last_in_line: bool = False) -> float: ...


class Quotas(Protocol):
    """Models' own limits. `permit`: one call while the context is open, entering it raises Refused; None: no limits."""

    def permit(self, model_id: str) -> AbstractAsyncContextManager[None] | None: ...


class HttpReply(Protocol):
    """An upstream's answer while its connection is open."""

    @property
    def status(self) -> int: ...
    @property
    def content_type(self) -> str: ...
    @property
    def retry_after_s(self) -> float | None: ...
    def chunks(self) -> AsyncIterator[bytes]: ...
    async def read(self) -> bytes: ...


class Backend(Protocol):
    """Calls one deployment. `can_continue`: it goes on writing an answer that the request's `prefix` begins."""

    @property
    def can_continue(self) -> bool: ...
    def call(self, lease: Lease, request: Request) -> AbstractAsyncContextManager[HttpReply]: ...


class Call:
    """One attempt while it is under way: its times, and the stack that owns its lease and connection."""

    def __init__(self, clock: Clock, candidate: Candidate) -> None:
        self._clock = clock
        self.candidate = candidate
        self.own = AsyncExitStack()
        self.started_s = clock.now()
        self.leased_s: float | None = None
        self.expected_wait_s: float | None = None
        self.first_byte_s: float | None = None
        self.is_hedge = False
        self.raced = ""

    @property
    def answered_in_s(self) -> float | None:
        """From the lease to the first byte."""
        if self.first_byte_s is None or self.leased_s is None:
            return None
        return self.first_byte_s - self.leased_s

    def attempt(self, error: PointsmanError | None = None) -> Attempt:
        """The record of it."""
        wait_s = (self.leased_s - self.started_s) if self.leased_s is not None else 0.0
        return Attempt(
            deployment_id=self.candidate.deployment_id,
            model_id=self.candidate.model_id,
            started_s=self.started_s,
            wait_s=wait_s,
            first_byte_s=self.first_byte_s,
            error=error.code if error else "",
            detail=error.message if error else "",
            is_hedge=self.is_hedge,
            raced=self.raced,
            ended_s=self._clock.now(),
        )


class Caller:
    """Makes calls; holds no state of any."""

    def __init__(
        self,
        fleet: Fleet,
        backends: Mapping[str, Backend],
        retry: RetrySettings,
        clock: Clock,
        quotas: Quotas | None = None,
        manners: Manners | None = None,
    ) -> None:
        self._fleet = fleet
        self._quotas = quotas
        self._manners = manners or {}
        self._backends = backends
        self._retry = retry
        self._clock = clock

    async def make(self, call: Call, request: Request, deadline_s: float, patience: Patience | None = None) -> Reply:
        """The reply, committed to; `call.own` holds what it needs. Raises PointsmanError, holding nothing then."""
        try:
            return await self._make(call, request, deadline_s, patience)
        except BaseException:
            await call.own.aclose()
            raise

    async def _make(self, call: Call, request: Request, deadline_s: float, patience: Patience | None) -> Reply:
        model_id, deployment_id = call.candidate.model_id, call.candidate.deployment_id
        if (manner := self._manners.get(model_id)) is not None:
            request = manner.of(request)
        if self._quotas is not None and (permit := self._quotas.permit(model_id)) is not None:
            await call.own.enter_async_context(permit)
        lease = await call.own.enter_async_context(self._fleet.lease(deployment_id, deadline_s, patience))
        call.leased_s = self._clock.now()
        http = await call.own.enter_async_context(self._backends[deployment_id].call(lease, _traced(request, call)))
        clean = partial(unquoted, turns=request.turns, api_key=lease.endpoint.api_key)
        if http.status != 200:
            raise error_of(http.status, await http.read(), model_id, http.retry_after_s, clean)
        if not request.stream:
            body = await http.read()
            call.first_byte_s = self._clock.now()
            check_answer(request, http.content_type, body, model_id)
            return Reply(status=200, content_type=http.content_type, body=body)
        if not http.content_type.startswith("text/event-stream"):
            return await self._raw_stream(http, call)
        return await self._event_stream(http, call, request, clean)

    async def _event_stream(self, http: HttpReply, call: Call, request: Request, clean: Hide) -> Reply:
        """Events: the first with content is the commit point. Roles, comments and empty deltas keep nobody waiting."""
        model_id, limit_s = call.candidate.model_id, self._retry.first_token_timeout_s
        events = stream.whole_events(http.chunks(), request.kind, model_id)
        try:
            async with asyncio.timeout(limit_s):
                held = await stream.until_content(events, model_id, clean)
        except TimeoutError:
            raise UpstreamError(
                f"`{model_id}` began its answer and sent no token within {limit_s:g} s", code="upstream_timeout"
            ) from None
        call.first_byte_s = self._clock.now()
        rest = stream.checked(held, Pace(events, self._retry, self._clock, model_id), model_id, clean)
        return Reply(status=200, content_type="text/event-stream", events=rest)

    async def _raw_stream(self, http: HttpReply, call: Call) -> Reply:
        """A stream of bytes, such as audio: its first chunk is the commit point."""
        model_id = call.candidate.model_id
        if not http.content_type.startswith("audio/"):
            raise UpstreamError(
                f"`{model_id}` sent {http.content_type or 'no content type'} instead of a stream",
                code="upstream_protocol",
            )
        chunks = http.chunks()
        async for first in chunks:
            call.first_byte_s = self._clock.now()
            return Reply(status=200, content_type=http.content_type, events=_chain(first, chunks))
        raise UpstreamError(f"`{model_id}` sent an empty stream", code="upstream_cut")


def _traced(request: Request, call: Call) -> Request:
    """As the upstream is asked: in a span of this call's own, where there is a trace."""
    if request.trace is None:
        return request
    return msgspec.structs.replace(request, trace=request.trace.of_call(call.candidate.deployment_id, call.started_s))


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
