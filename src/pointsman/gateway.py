"""The corridor: a request walks one straight line, each room adds one value and hands it on.

Knows: the order of the rooms. Does not know: what happens inside any of them (`doors` says what each offers).
All that a request owns lives inside one `async with`: a client that leaves cancels it, and unwinding releases the
lease, aborts the upstream call and writes the Outcome.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pointsman.doors import Admission, Cache, Classifier, Dispatch, Ledger, Router, SecondStage
from pointsman.types import Explanation, Reply, Request, Signals, World


class Gateway:
    """The whole product on one screen."""

    def __init__(
        self,
        admission: Admission,
        classifier: Classifier,
        second: SecondStage,
        router: Router,
        dispatch: Dispatch,
        ledger: Ledger,
        world: Callable[[Request], World],
        cache: Cache,
    ) -> None:
        self.admission = admission
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
        async with (
            self.ledger.open(request) as entry,
            self.admission.admit(request),
            self.cache.seat(request) as seat,
        ):
            if kept := entry.sought(seat.found):
                yield kept
                return
            signals = entry.measured(await self.understand(request))
            if kept := entry.sought(await seat.similar(signals)):
                yield kept
                return
            world = self.world(request)
            plan = entry.planned(self.router.decide(request, signals, world), world)
            async with self.dispatch.run(request, plan, entry) as reply:
                yield seat.keep(entry.watch(reply), signals)

    async def explain(self, request: Request) -> Explanation:
        """The decision only: the same two steps, nothing done; and what would have changed it. It counts against its
        key's rate, as it takes the time to decide."""
        await self.admission.count(request)
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
