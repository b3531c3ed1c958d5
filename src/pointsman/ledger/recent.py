"""The last few hundred Outcomes, the last hour in figures and the last events, in memory: what the console shows.

Knows: values, their order, how many there were. Does not know: who looks, how it is shown.
Invariants: memory does not grow with traffic; a request costs an append and a few counts; nobody is told anything: who
looks asks what came after the last one seen, so that a console nobody has open costs nothing more.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

from msgspec.structs import replace

from pointsman.ledger.buckets import Buckets, SeriesView
from pointsman.ledger.lines import Event
from pointsman.redact import Redactor
from pointsman.types import Outcome, Value

T = TypeVar("T")

MOST_OUTCOMES = 500
MOST_EVENTS = 400


class Told(Value, frozen=True):
    """An event of the server's life, with its number and its moment."""

    number: int
    at_unix_s: float
    event: Event


class Ring(Generic[T]):
    """The last `most` things, each with its number: the first ever is 1."""

    def __init__(self, most: int) -> None:
        self._kept: deque[T] = deque(maxlen=most)
        self.last = 0

    def add(self, thing: T) -> None:
        self._kept.append(thing)
        self.last += 1

    def after(self, number: int, most: int) -> tuple[tuple[int, T], ...]:
        """The newest `most` of those kept that came after `number`, oldest first, each with its number."""
        count = min(most, self.last - number, len(self._kept))
        newest = reversed(tuple(islice(reversed(self._kept), max(0, count))))
        return tuple(enumerate(newest, self.last - max(0, count) + 1))

    def newest_first(self) -> "reversed[T]":
        return reversed(self._kept)

    def __repr__(self) -> str:
        return f"Ring({len(self._kept)} of {self.last})"


class Recent:
    """A sink, and a listener of the log. `unix`: seconds since 1970; `hide`: what no event may say; `in_flight`: how
    many requests there are."""

    def __init__(
        self, unix: Callable[[], float], hide: Redactor | None = None, in_flight: Callable[[], int] = int
    ) -> None:
        self._unix = unix
        self._hide = hide or Redactor()
        self.outcomes: Ring[Outcome] = Ring(MOST_OUTCOMES)
        self.events: Ring[Told] = Ring(MOST_EVENTS)
        self.in_flight = in_flight
        self._buckets = Buckets()

    def closed(self, outcome: Outcome) -> None:
        """Keep it and count it."""
        self.outcomes.add(outcome)
        self._buckets.add(outcome)

    def event(self, event: Event) -> None:
        """Keep an event, without secrets."""
        event = replace(event, message=self._hide(event.message))
        self.events.add(Told(number=self.events.last + 1, at_unix_s=self._unix(), event=event))

    def find(self, request_id: str) -> Outcome | None:
        """The newest of that id among those kept: callers may choose ids, and choose one twice."""
        return next((one for one in self.outcomes.newest_first() if one.request_id == request_id), None)

    def series(self) -> SeriesView:
        """The last hour."""
        return self._buckets.view(self._unix())

    def __repr__(self) -> str:
        return f"Recent({self.outcomes!r}, {self.events!r}, {self.in_flight()} in flight)"
