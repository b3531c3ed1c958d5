"""How many calls a server takes at once, learned: one step of the limit after one more outcome. Pure.

Knows: outcomes, and how many calls were under way. Does not know: whose calls, where the limit is kept.
Additive increase, multiplicative decrease (Chiu and Jain 1989; TCP, RFC 5681; as a limit of concurrency: Netflix'
concurrency-limits, `AIMDLimit`). The limit rises only where it was reached: a limit nobody touches teaches nothing.
It falls once for each burst: a call that began before the last fall says nothing of the limit after it (TCP: within one
round trip).

overloaded (429, 503, time-out, slow) → × 0.7 (CUBIC's factor, RFC 9438)
a success at the limit                → + 1 before the first fall, doubling it with each round; + 1 / limit after it
"""

from pointsman.types import Value

SHRINK = 0.7


class Limit(Value, frozen=True):
    """Between `low` and `high` calls at once; `slots` is what is granted. `fell_s`: when it last fell."""

    low: int
    high: int
    value: float
    fell_s: float | None = None

    @property
    def slots(self) -> int:
        return int(self.value)


def first(low: int, high: int) -> Limit:
    """Before anything is known."""
    return Limit(low=low, high=high, value=float(low))


def stepped(limit: Limit, now_s: float, in_flight: int, *, is_overloaded: bool, began_s: float) -> Limit:
    """After one more outcome, of a call that began then, with so many under way when it came; the same object where
    nothing changed."""
    if is_overloaded:
        if limit.fell_s is not None and began_s <= limit.fell_s:
            return limit
        return Limit(low=limit.low, high=limit.high, value=max(float(limit.low), limit.value * SHRINK), fell_s=now_s)
    if in_flight < limit.slots or limit.value >= limit.high:
        return limit
    value = limit.value + (1.0 if limit.fell_s is None else 1.0 / limit.value)
    return Limit(low=limit.low, high=limit.high, value=min(float(limit.high), value), fell_s=limit.fell_s)
