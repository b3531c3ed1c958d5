"""The corridor: a request walks one straight line, each room adds one value and hands it on.

Knows: the order of the rooms and the protocols at their doors. Does not know: what happens inside any of them.
All that a request owns lives inside one `async with`: a client that leaves cancels it, and unwinding releases the
lease, aborts the upstream call and writes the Outcome.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from pointsman.types import Attempt, Explanation, Plan, Reply, Request, Signals, WhatIf, World
from pointsman.types_cache import Found


class Classifier(Protocol):
    """What is it? Pure."""

    def measure(self, request: Request) -> Signals: ...


class SecondStage(Protocol):
    """What is it, where the classifier is unsure? Within its own deadline; degraded signals say why. Never raises."""

    async def refine(self, request: Request, signals: Signals) -> Signals: ...


class Router(Protocol):
    """Who should answer? Pure; total: a plan without candidates carries the `problem`."""

    def decide(self, request: Request, signals: Signals, world: World) -> Plan: ...
    def what_if(self, request: Request, signals: Signals, world: World) -> tuple[WhatIf, ...]: ...


class Seat(Protocol):
    """One request's place at the cache: what it found, and where an answer is left as it passes by."""

    found: Found

    async def similar(self, signals: Signals) -> Found: ...
    def keep(self, reply: Reply, signals: Signals) -> Reply: ...


class Cache(Protocol):
    """Was it answered before, or is it just now? Entering a seat looks, and waits for an equal request under way."""

    def seat(self, request: Request) -> AbstractAsyncContextManager[Seat]: ...


class Entry(Protocol):
    """One request's record while it is being written. `sought` gives the kept reply, where there is one."""

    def sought(self, found: Found) -> Reply | None: ...
    def measured(self, signals: Signals) -> Signals: ...
    def planned(self, plan: Plan) -> Plan: ...
    def attempted(self, attempt: Attempt) -> None: ...
    def watch(self, reply: Reply) -> Reply: ...


class Ledger(Protocol):
    """What happened? Leaving the context writes exactly one Outcome, whatever happened inside."""

    def open(self, request: Request) -> AbstractAsyncContextManager[Entry]: ...


class Dispatch(Protocol):
    """Get the answer: lease → call → retry or fall back."""

    def run(self, request: Request, plan: Plan, entry: Entry) -> AbstractAsyncContextManager[Reply]: ...


class Gateway:
    """The whole product on one screen."""

    def __init__(
        self,
        classifier: Classifier,
        second: SecondStage,
        router: Router,
        dispatch: Dispatch,
        ledger: Ledger,
        world: Callable[[Request], World],
        cache: Cache,
    ) -> None:
        self.classifier = classifier
        self.second = second
        self.router = router
        self.dispatch = dispatch
        self.ledger = ledger
        self.world = world
        self.cache = cache

    @asynccontextmanager
    async def answer(self, request: Request) -> AsyncIterator[Reply]:
        """The reply, while the context is open. Raises PointsmanError where no answer could be had."""
        async with self.ledger.open(request) as entry, self.cache.seat(request) as seat:
            if kept := entry.sought(seat.found):
                yield kept
                return
            signals = entry.measured(await self.understand(request))
            if kept := entry.sought(await seat.similar(signals)):
                yield kept
                return
            plan = entry.planned(self.router.decide(request, signals, self.world(request)))
            async with self.dispatch.run(request, plan, entry) as reply:
                yield seat.keep(entry.watch(reply), signals)

    async def explain(self, request: Request) -> Explanation:
        """The decision only: the same two steps, nothing done; and what would have changed it."""
        signals, world = await self.understand(request), self.world(request)
        return Explanation(
            signals=signals,
            plan=self.router.decide(request, signals, world),
            would_change=self.router.what_if(request, signals, world),
        )

    async def understand(self, request: Request) -> Signals:
        """The fast signals; the encoder's too where they are unsure."""
        signals = self.classifier.measure(request)
        return await self.second.refine(request, signals) if signals.unsure else signals
