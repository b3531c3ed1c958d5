"""Two candidates for one request: the second is asked when the first keeps silent, and the first to answer wins.

Knows: how a race is run and cleaned up. Does not know: when racing is wise (`run`), what a call is (`attempt`).
Source: Dean and Barroso, "The Tail at Scale", 2013: wait for the 95th percentile, so that few requests cost two calls.
Invariants: the loser holds nothing when the race returns; a race left early leaves no task behind.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pointsman.clock import Clock
from pointsman.dispatch.attempt import Call
from pointsman.errors import PointsmanError
from pointsman.types import Reply

Start = Callable[[Call], Coroutine[Any, Any, Reply]]
Failures = list[tuple[Call, PointsmanError]]


class Race:
    """One race. `failures`: who failed, in the order in which they did."""

    def __init__(self, clock: Clock, start: Start) -> None:
        self.failures: Failures = []
        self._clock = clock
        self._start = start
        self._running: dict[asyncio.Task[Reply], Call] = {}

    async def run(self, first: Call, second: Callable[[], Call | None], delay_s: float) -> tuple[Call, Reply] | None:
        """The winner, committed; None where all failed. `second` makes the rival when its time has come, or declines:
        it is asked once, after `delay_s` of silence; a first that fails sooner is no business of a race."""
        try:
            self._go(first)
            if won := await self._next(delay_s):
                return won
            if not self._running:
                return None
            rival = second()
            if rival is not None:
                rival.is_hedge = True
                first.raced, rival.raced = rival.candidate.deployment_id, first.candidate.deployment_id
                self._go(rival)
            while self._running:
                if won := await self._next(None):
                    return won
            return None
        finally:
            await self._cancel()

    def _go(self, call: Call) -> None:
        task = asyncio.create_task(self._start(call), name=f"call-{call.candidate.deployment_id}")
        self._running[task] = call

    async def _next(self, timeout_s: float | None) -> tuple[Call, Reply] | None:
        """The first of those that end; failures are noted. None at the time-out, too."""
        done, _ = await asyncio.wait(self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            call = self._running.pop(task)
            try:
                return call, task.result()
            except PointsmanError as error:
                self.failures.append((call, error))
        return None

    async def _cancel(self) -> None:
        """End the others. One that had won in this very moment gives back what it holds."""
        running, self._running = self._running, {}
        for task in running:
            task.cancel()
        for task, call in running.items():
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                await call.own.aclose()

    def __repr__(self) -> str:
        return f"Race({len(self._running)} running, {len(self.failures)} failed)"
