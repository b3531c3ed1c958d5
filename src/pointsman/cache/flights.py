"""Equal requests under way: one asks, the others wait for what it gets.

Knows: who leads, who follows. Does not know: answers, stores, deadlines.
Invariants: at most one leader for a key; a leader that goes wakes all who follow it, whatever made it go; nobody's
leaving disturbs another: a follower only ever stops waiting.
"""

import asyncio
from enum import Enum

from pointsman.cache.record import Record


class Fate(Enum):
    """How a leader ended that has no answer to share."""

    LOST = "lost"  # it failed or left: another may lead
    ALONE = "alone"  # its answer cannot be shared: everyone asks for itself


Landing = Record | Fate


class Flight:
    """One leader's way to an answer. The future is made for the first who follows."""

    __slots__ = ("_future", "_landing", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._future: asyncio.Future[Landing] | None = None
        self._landing: Landing | None = None

    def land(self, landing: Landing) -> None:
        """The first word counts."""
        if self._landing is None:
            self._landing = landing
            if self._future is not None:
                self._future.set_result(landing)

    async def landed(self, timeout_s: float) -> Landing | None:
        """How it ended; None where it has not by then."""
        if self._landing is None:
            if self._future is None:
                self._future = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._future,), timeout=timeout_s)
        return self._landing


class Flights:
    """The flights under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight] = {}

    def lead(self, key: bytes) -> Flight | None:
        """A flight to lead; None where one is under way."""
        if key in self._flights:
            return None
        flight = self._flights[key] = Flight(key)
        return flight

    def under_way(self, key: bytes) -> Flight:
        return self._flights[key]

    def over(self, flight: Flight) -> None:
        """Nobody joins it any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def __len__(self) -> int:
        return len(self._flights)

    def __repr__(self) -> str:
        return f"Flights({len(self)} under way)"
