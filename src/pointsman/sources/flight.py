"""Single flight: work that several want is done once.

Knows: who waits for what. Does not know: what the work is.
Invariants: one task a key; a waiter that leaves takes only itself; when the last has left, the task is cancelled and
has ended before that waiter's own cancellation goes on.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pointsman.sources.base import OnProgress, Progress

Work = Callable[[OnProgress], Coroutine[Any, Any, Path]]


class Flight:
    """One piece of work under way, and those who wait for it."""

    def __init__(self, work: Work) -> None:
        self.listeners: list[OnProgress] = []
        self.task = asyncio.ensure_future(work(self._report))

    def _report(self, progress: Progress) -> None:
        for listener in tuple(self.listeners):
            listener(progress)

    def __repr__(self) -> str:
        return f"Flight({len(self.listeners)} waiting)"


class Flights:
    """What is under way, by key. All in one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __repr__(self) -> str:
        return f"Flights({self._flights})"

    async def join(self, key: str, work: Work, on_progress: OnProgress) -> Path:
        """The result of the work under way for `key`, started here where there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(work)
        flight.listeners.append(on_progress)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(on_progress)
            if not flight.listeners:
                await self._end(key, flight)

    async def _end(self, key: str, flight: Flight) -> None:
        """The last waiter has left: nobody may join any more, and nothing goes on unwanted."""
        del self._flights[key]
        flight.task.cancel()
        await asyncio.wait({flight.task})
        if not flight.task.cancelled():
            flight.task.exception()  # its waiters had it; one that left does not want it
