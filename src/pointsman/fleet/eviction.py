"""Who is worth keeping? Eviction policies, each one pure function of a deployment's record. Pure.

Knows: how often and when a deployment was asked for, its size, what loading it again costs. Does not know: who may
leave at all (`admission`), how many must (`memory`).

`lru`         the longest idle leaves first.
`lfu`         the least frequently asked for leaves first; counts decay.
`cost_aware`  the least expected reload time saved per byte leaves first: how soon it will be asked for, estimated from
              counts that forget fast and counts that forget slowly, times the time to load it again, over its size.

Ages are counted in wants of the whole fleet, not in seconds (Lee et al., LRFU, 2001), so one set of constants serves a
request a minute and ten a second. Two rates of forgetting together approximate the power law by which a use loses its
weight in real traces: the fast one sees a conversation that is going on, the slow one who is popular. Cost over size is
GreedyDual-Size-Frequency's (Cherkasova, 1998). The constants were chosen by simulation: bench/fleet/README.md.
"""

from collections.abc import Callable, Mapping
from math import exp

from pointsman.types import Value

FAST_WANTS = 5.0
SLOW_WANTS = 100.0
SLOW_WEIGHT = 0.1
"""A use k wants ago weighs exp(-k / FAST_WANTS) + SLOW_WEIGHT · exp(-k / SLOW_WANTS)."""
MIN_RELOAD_S = 0.1


class Demand(Value, frozen=True):
    """Decayed counts of the wants for one deployment, as of want number `at` of the whole fleet."""

    at: int = 0
    fast: float = 0.0
    slow: float = 0.0

    def after(self, want: int) -> "Demand":
        """With one more want, the fleet's number `want`."""
        age = self.at - want
        return Demand(at=want, fast=1 + self.fast * exp(age / FAST_WANTS), slow=1 + self.slow * exp(age / SLOW_WANTS))


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
    return record.demand.slow * exp((record.demand.at - record.wants) / SLOW_WANTS)


def cost_aware(record: Record) -> float:
    demand, age = record.demand, record.demand.at - record.wants
    soon = demand.fast * exp(age / FAST_WANTS) + SLOW_WEIGHT * demand.slow * exp(age / SLOW_WANTS)
    return soon * max(record.reload_s, MIN_RELOAD_S) / max(record.size_bytes, 1)


POLICIES: Mapping[str, Callable[[Record], float]] = {"lru": lru, "lfu": lfu, "cost_aware": cost_aware}
"""Name → how much a deployment is worth keeping; of two, the one worth less leaves first."""
