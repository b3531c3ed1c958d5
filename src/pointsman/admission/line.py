"""The line in front of the gateway: so many at once, the others wait by priority, and too many are turned away.

Knows: places, priorities, deadlines. Does not know: keys, models, what is done inside.
Decision tree, when somebody comes:
1. a place is free and nobody of the same or a higher priority waits → in
2. the line has room → wait
3. somebody of a lower priority waits → the last of the lowest is turned away, and takes its place in the line
4. → turned away
Invariants: places are never oversold; who leaves the line or the room gives its place back once.
"""

import asyncio
import heapq
from types import TracebackType

from pointsman.clock import Clock
from pointsman.errors import Refused

PACE_MEMORY = 0.9
"""Share of the old figure in the moving average of how long a place is held."""


class Place:
    """One request's place: `async with line.place(...)`."""

    __slots__ = ("_line", "granted", "order", "since_s")

    def __init__(self, line: "Line", priority: int, number: int) -> None:
        self._line = line
        self.order = (-priority, number)
        self.granted: asyncio.Future[None] | None = None
        self.since_s = 0.0

    def __lt__(self, other: "Place") -> bool:
        return self.order < other.order

    async def __aenter__(self) -> None:
        await self._line.enter(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.leave(self)


class Line:
    """`width` at once, `most_waiting` behind them."""

    def __init__(self, width: int, most_waiting: int, clock: Clock) -> None:
        self._width = width
        self._most_waiting = most_waiting
        self._clock = clock
        self._waiting: list[Place] = []
        self._inside = 0
        self._number = 0
        self._held_s = 1.0
        self.turned_away = 0

    @property
    def inside(self) -> int:
        return self._inside

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def place(self, priority: int = 0) -> Place:
        """A place to enter; the higher priority first, then the earlier."""
        self._number += 1
        return Place(self, priority, self._number)

    def enter_nowait(self, place: Place) -> bool:
        """Take the place where nobody goes before; False where one has to wait."""
        if self._inside >= self._width or (self._waiting and self._waiting[0] < place):
            return False
        self._take(place)
        return True

    async def enter(self, place: Place) -> None:
        """Return with the place taken. Raises Refused `queue_full`."""
        if self.enter_nowait(place):  # 1
            return
        if len(self._waiting) >= self._most_waiting:
            last = max(self._waiting, default=None)
            if last is None or last.order[0] <= place.order[0]:  # 4
                raise self._refusal()
            self._turn_away(last)  # 3
        place.granted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, place)  # 2
        try:
            await place.granted
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
            elif place.granted.done() and not place.granted.cancelled() and place.granted.exception() is None:
                self.leave(place)  # it was let in at the very moment it left
            raise

    def resize(self, width: int, most_waiting: int) -> None:
        """Wider: who waits comes in. Narrower: nobody is sent away, but nobody comes in before enough have left."""
        self._width = width
        self._most_waiting = most_waiting
        self._let_in()

    def leave(self, place: Place) -> None:
        """Give the place to the first in the line."""
        self._inside -= 1
        self._held_s = PACE_MEMORY * self._held_s + (1 - PACE_MEMORY) * (self._clock.now() - place.since_s)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._width:
            first = heapq.heappop(self._waiting)
            if first.granted is not None and not first.granted.done():
                self._take(first)
                first.granted.set_result(None)

    def _take(self, place: Place) -> None:
        self._inside += 1
        place.since_s = self._clock.now()

    def _turn_away(self, place: Place) -> None:
        self._waiting.remove(place)
        heapq.heapify(self._waiting)
        if place.granted is not None and not place.granted.done():
            place.granted.set_exception(self._refusal())

    def _refusal(self) -> Refused:
        self.turned_away += 1
        wait_s = self._held_s * (len(self._waiting) + 1) / self._width
        return Refused(
            f"{self._inside} requests are under way and {len(self._waiting)} wait before this one; try again in "
            f"{max(1.0, wait_s):.0f} s",
            code="queue_full",
            retry_after_s=max(1.0, wait_s),
        )

    def __repr__(self) -> str:
        return f"Line({self._inside} of {self._width} inside, {len(self._waiting)} waiting)"
