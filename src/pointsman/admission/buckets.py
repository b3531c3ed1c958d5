"""A token bucket as one number. Pure.

Knows: rates and bursts. Does not know: clocks, keys, stores.
The generic cell rate algorithm (ITU-T I.371, 1996): a bucket is the moment at which it will be full again; taking moves
that moment on. It needs no refill, and one number is all that two processes have to share.
"""

from pointsman.types import Value


class Rate(Value, frozen=True):
    """`per_s` on average, `burst` at once."""

    per_s: float
    burst: float

    @classmethod
    def per_minute(cls, count: float, burst: float | None = None) -> "Rate":
        """So many a minute; the burst is a tenth of them, at least one, where nothing else is said."""
        return cls(per_s=count / 60, burst=max(1.0, count / 10) if burst is None else burst)

    @classmethod
    def tokens_per_minute(cls, count: float) -> "Rate":
        """A minute's tokens may be spent at once: one long answer is no abuse."""
        return cls.per_minute(count, burst=count)


class Taken(Value, frozen=True):
    """The bucket afterwards, as the moment it is full again; `wait_s` is 0 where it was enough, else nothing was taken
    and so long it takes until it is."""

    full_at_s: float
    wait_s: float = 0.0


def take(full_at_s: float, now_s: float, rate: Rate, amount: float = 1.0) -> Taken:
    """Take an amount if it is there. More than the burst is there when the bucket is full."""
    full_at_s = max(full_at_s, now_s)
    after_s = full_at_s + amount / rate.per_s
    wait_s = after_s - now_s - max(rate.burst, amount) / rate.per_s
    return Taken(full_at_s=full_at_s, wait_s=wait_s) if wait_s > 1e-9 else Taken(full_at_s=after_s)


def charge(full_at_s: float, now_s: float, rate: Rate, amount: float) -> float:
    """Take an amount whether it is there or not: what was spent is known only afterwards. The debt is waited for."""
    return max(full_at_s, now_s) + amount / rate.per_s
