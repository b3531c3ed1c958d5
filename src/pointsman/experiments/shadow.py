"""Shadow traffic: when a request has been answered, a copy of it goes to the model on trial, whose answer is dropped.

Knows: which requests are copied, that a copy may cost no caller anything. Does not know: how a plan is walked: the same
dispatch does it, with its deadline and its retries.
Invariants: a copy begins when the answer has been read to its end; it goes only where a ready deployment has a slot to
spare, so it loads nothing, evicts nothing and queues before nobody; at most `max_copies` of an experiment are under
way, one more is left out and counted; copies end with the process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from msgspec.structs import replace

from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.policy.experiments import SHADOW
from pointsman.types import (
    Attempt,
    Breaker,
    Candidate,
    FormPayload,
    JsonPayload,
    Plan,
    Reply,
    Request,
    Tier,
    Usage,
    Value,
    World,
)
from pointsman.types_trial import Trial

STREAMING = frozenset({"stream", "stream_options"})
RESULTS = ("ok", "failed", "busy")


class Recorder(Protocol):
    """What dispatch tells of each attempt."""

    def attempted(self, attempt: Attempt) -> None: ...


class Walker(Protocol):
    """Dispatch: walks a plan."""

    def run(self, request: Request, plan: Plan, entry: Recorder) -> AbstractAsyncContextManager[Reply]: ...


class Unwritten:
    """A copy has no entry in the ledger: nobody asked for it."""

    def attempted(self, attempt: Attempt) -> None:
        """Its last one is known from how it ends."""


class Copy(Value, frozen=True):
    """One request to be asked again."""

    experiment: str
    request: Request
    plan: Plan
    walker: Walker


class Copies:
    """Asks again. `told`: (experiment, when, whether it was answered, seconds, tokens); `usage_of` reads an answer."""

    def __init__(
        self,
        clock: Clock,
        world: Callable[[], World],
        told: Callable[[str, float, bool, float, int], None],
        usage_of: Callable[[bytes], Usage | None],
    ) -> None:
        self._clock = clock
        self._world = world
        self._told = told
        self._usage_of = usage_of
        self._due: asyncio.Queue[Copy] = asyncio.Queue()
        self._under_way: dict[str, int] = {}
        self._counts = dict.fromkeys(RESULTS, 0.0)

    def offer(self, request: Request, trial: Trial, most: int, walker: Walker) -> None:
        """Have the request asked again, if nothing has to wait for that."""
        candidates = tuple(_free(self._world(), trial.treatment))
        if not candidates or self._under_way.get(trial.name, 0) >= most:
            self._counts["busy"] += 1
            return
        self._under_way[trial.name] = self._under_way.get(trial.name, 0) + 1
        plan = Plan(candidates=candidates, rejected=(), strategy=SHADOW, reason="a copy of an answered request")
        copied = _copied(request, trial.treatment, self._clock.now())
        self._due.put_nowait(Copy(experiment=trial.name, request=copied, plan=plan, walker=walker))

    async def work(self) -> None:
        """Ask again what is due, for as long as the server runs."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._ask(await self._due.get()))

    async def _ask(self, copy: Copy) -> None:
        began_s, began_unix_s, tokens, is_good = self._clock.now(), self._clock.unix(), 0, False
        try:
            async with copy.walker.run(copy.request, copy.plan, Unwritten()) as reply:
                is_good = reply.status < 400
                usage = self._usage_of(reply.body)
                tokens = usage.total_tokens if usage else 0
        except PointsmanError:
            is_good = False
        finally:
            self._under_way[copy.experiment] -= 1
        self._counts["ok" if is_good else "failed"] += 1
        self._told(copy.experiment, began_unix_s, is_good, self._clock.now() - began_s, tokens)

    def counts(self) -> tuple[tuple[str, float], ...]:
        """By result, one of RESULTS, over all experiments: as metrics tell them."""
        return tuple(self._counts.items())

    def __repr__(self) -> str:
        return f"Copies({sum(self._under_way.values())} under way)"


class Shadowing:
    """A dispatch that has copies made. `most`: experiment → how many may be under way."""

    def __init__(
        self, dispatch: Walker, copies: Copies, trials: Callable[[], Iterable[Trial]], most: Mapping[str, int]
    ) -> None:
        self._dispatch = dispatch
        self._copies = copies
        self._trials = trials
        self._most = most

    @asynccontextmanager
    async def run(self, request: Request, plan: Plan, entry: Recorder) -> AsyncIterator[Reply]:
        """The reply, while its lease is held; when it is given back, perhaps a copy."""
        async with self._dispatch.run(request, plan, entry) as reply:
            yield reply
        for trial in self._trials():
            if trial.kind == SHADOW and plan.assignment and plan.assignment.experiment == trial.name:
                self._copies.offer(request, trial, self._most.get(trial.name, 1), self._dispatch)

    def __repr__(self) -> str:
        return f"Shadowing({self._dispatch!r})"


def _free(world: World, model_id: str) -> Iterable[Candidate]:
    for view in world.deployments:
        is_free = view.tier is Tier.HOT and view.breaker is Breaker.CLOSED and view.in_flight < view.slots
        if view.model_id == model_id and is_free and not view.queued:
            yield Candidate(deployment_id=view.id, model_id=model_id, score=1.0)


def _copied(request: Request, model_id: str, now_s: float) -> Request:
    """The same question to the other model, answered in one piece."""
    payload = request.payload
    whole: JsonPayload | FormPayload
    if isinstance(payload, JsonPayload):
        whole = JsonPayload(members=tuple(one for one in payload.members if one[0] not in STREAMING))
    else:
        whole = FormPayload(fields=tuple(one for one in payload.fields if one[0] not in STREAMING))
    return replace(request, id=f"{request.id}-shadow", model=model_id, payload=whole, stream=False, received_s=now_s)
