"""Who is worth keeping? Eviction policies, each one pure function of a deployment's record. Pure.

Knows: how often and when a deployment was asked for, its size, what loading it again costs. Does not know: who may
leave at all (`admission`), how many must (`memory`).

`lru`         the longest idle leaves first.
`lfu`         the least often asked for leaves first; counts decay.
`cost_aware`  the one whose absence costs least leaves first: how soon it will be asked for, times a root of what
              loading it again takes, over its size.

How soon: a use loses its weight by a power law of its age in real traces, which three decaying counts approximate; the
short one sees a conversation that is going on, the long one who is popular. Ages are counted in wants of the whole
fleet, not in seconds, so one set of constants serves a request a minute and ten a second (Lee et al., LRFU, 2001). Cost
over size is GreedyDual-Size-Frequency's (Cherkasova, 1998); a root of the cost, so that the number of loads counts
beside their length.
The constants were chosen by simulation: bench/fleet/README.md.
"""

from collections.abc import Callable, Mapping
from math import exp

from pointsman.types import Value

SHORT, MIDDLE, LONG = 4.0, 40.0, 400.0
"""Wants of the fleet after which a use counts 1/e, in each of three counts."""
MIDDLE_WEIGHT, LONG_WEIGHT = 0.2, 0.02
"""Beside the short count's 1."""
MIN_RELOAD_S = 0.1
RELOAD_POWER = 0.25
"""1 would load for the fewest seconds, 0 the fewest times; this is nearly as good at either."""


class Demand(Value, frozen=True):
    """Decayed counts of the wants for one deployment, as of want number `at` of the whole fleet."""

    at: int = 0
    short: float = 0.0
    middle: float = 0.0
    long: float = 0.0

    def after(self, want: int) -> "Demand":
        """With one more want, the fleet's number `want`."""
        age = self.at - want
        return Demand(
            at=want,
            short=1 + self.short * exp(age / SHORT),
            middle=1 + self.middle * exp(age / MIDDLE),
            long=1 + self.long * exp(age / LONG),
        )


class Record(Value, frozen=True):
    """What a policy may look at. `wants`: the fleet's count of wants so far; `idle_s`: since the last use ended."""

    demand: Demand
    wants: int
    idle_s: float
    size_bytes: int
    reload_s: float


def lru(record: Record) -> float:
    return -record.idle_s


def lfu(record: Record) -> float:
    return record.demand.middle * exp((record.demand.at - record.wants) / MIDDLE)


def cost_aware(record: Record) -> float:
    demand, age = record.demand, record.demand.at - record.wants
    soon = (
        demand.short * exp(age / SHORT)
        + MIDDLE_WEIGHT * demand.middle * exp(age / MIDDLE)
        + LONG_WEIGHT * demand.long * exp(age / LONG)
    )
    reload: float = max(record.reload_s, MIN_RELOAD_S) ** RELOAD_POWER
    return soon * reload / max(record.size_bytes, 1)


class Policy(Value, frozen=True):
    """`worth`: of keeping a deployment; of two, the one worth less leaves first. `is_patient`: rather than evict an
    idle one, a load waits a while for a busy one that is worth less."""

    worth: Callable[[Record], float]
    is_patient: bool = False


POLICIES: Mapping[str, Policy] = {
    "lru": Policy(worth=lru),
    "lfu": Policy(worth=lfu),
    "cost_aware": Policy(worth=cost_aware, is_patient=True),
}
