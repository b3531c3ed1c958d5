"""What has been used, for limits: in this process, or shared by several.

Knows: names of counters. Does not know: whose they are. One that a counter has forgotten starts anew: that errs on the
side of the caller.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from pointsman.admission.buckets import Rate, charge, take
from pointsman.clock import Clock

MOST_KEPT = 10_000


Leave = Callable[[], None]


class Counters(Protocol):
    """Buckets, daily sums and places by name. None of them raises: what cannot be asked is let through and counted."""

    async def take(self, name: str, rate: Rate, amount: float = 1.0) -> float:
        """Take so much; 0, or how many seconds to wait where it is not there. Of an amount of 0: until the debt is
        paid."""
        ...

    async def charge(self, name: str, rate: Rate, amount: float) -> None:
        """Take an amount, into debt if need be."""
        ...

    async def add(self, name: str, amount: float, keep_s: float) -> float:
        """Add to a sum that is forgotten after `keep_s`; the sum."""
        ...

    async def enter(self, name: str, most: int, keep_s: float) -> Leave | None:
        """One of `most` places, to be left by calling once what is returned; None where all are taken. A place that
        nobody left, because its process died, is free again after `keep_s`."""
        ...

    async def close(self) -> None:
        """Drop what is held open."""
        ...


class LocalCounters:
    """Of this process alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}
        self._sums: dict[str, tuple[float, float]] = {}
        self._inside: Counter[str] = Counter()

    async def take(self, name: str, rate: Rate, amount: float = 1.0) -> float:
        taken = take(self._full_at_s.get(name, 0.0), self._clock.now(), rate, amount)
        self._keep(name, taken.full_at_s)
        return taken.wait_s

    async def charge(self, name: str, rate: Rate, amount: float) -> None:
        self._keep(name, charge(self._full_at_s.get(name, 0.0), self._clock.now(), rate, amount))

    async def add(self, name: str, amount: float, keep_s: float) -> float:
        now_s = self._clock.now()
        total, until_s = self._sums.get(name, (0.0, 0.0))
        total = amount if until_s <= now_s else total + amount
        self._sums[name] = (total, until_s if until_s > now_s else now_s + keep_s)
        if len(self._sums) > MOST_KEPT:
            self._sums = {key: value for key, value in self._sums.items() if value[1] > now_s}
        return total

    async def enter(self, name: str, most: int, keep_s: float) -> Leave | None:  # noqa: ARG002  # the protocol's
        if self._inside[name] >= most:
            return None
        self._inside[name] += 1
        return partial(self._leave, name)

    def _leave(self, name: str) -> None:
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name]

    async def close(self) -> None:
        """Nothing is held open."""

    def _keep(self, name: str, full_at_s: float) -> None:
        self._full_at_s[name] = full_at_s
        if len(self._full_at_s) > MOST_KEPT:
            now_s = self._clock.now()
            self._full_at_s = {key: value for key, value in self._full_at_s.items() if value > now_s}

    def __repr__(self) -> str:
        return f"LocalCounters({len(self._full_at_s)} buckets, {len(self._sums)} sums)"
