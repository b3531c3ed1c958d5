"""Plain caches of equal-sized models, without time: what a trace's order alone allows."""

from collections.abc import Callable, Mapping, Sequence
from math import exp

from pointsman.fleet.eviction import POLICIES, Demand, Record

NEVER = 1 << 60


def by_policy(models: Sequence[str], slots: int, policy: str) -> int:
    """Misses of a cache that evicts by one of the fleet's policies; a use lasts no time, every load takes as long."""
    return by_worth(models, slots, POLICIES[policy].worth)


def by_worth(models: Sequence[str], slots: int, worth: Callable[[Record], float]) -> int:
    """The same, by any worth."""
    demands: dict[str, Demand] = {}
    cached: set[str] = set()
    misses = 0
    for now, model in enumerate(models, 1):
        if model not in cached:
            misses += 1
            if len(cached) == slots:
                cached.remove(min(sorted(cached), key=lambda name: worth(_record(demands[name], now))))
            cached.add(model)
        demands[model] = demands.get(model, Demand()).after(now)
    return misses


def by_rates(models: Sequence[str], slots: int, rates: Mapping[float, float]) -> int:
    """Misses of a cache that evicts the least weighted sum of decayed counts; `rates`: wants after which a use counts
    1/e → the weight of that count."""
    decays = [(exp(-1 / wants), weight) for wants, weight in rates.items()]
    counts: dict[str, tuple[int, list[float]]] = {}
    cached: set[str] = set()
    misses = 0

    def worth(model: str, now: int) -> float:
        at, values = counts[model]
        return sum(weight * value * decay ** (now - at) for (decay, weight), value in zip(decays, values, strict=True))

    for now, model in enumerate(models, 1):
        if model not in cached:
            misses += 1
            if len(cached) == slots:
                cached.remove(min(sorted(cached), key=lambda name: worth(name, now)))
            cached.add(model)
        at, values = counts.get(model, (now, [0.0] * len(decays)))
        aged = [1 + value * decay ** (now - at) for (decay, _), value in zip(decays, values, strict=True)]
        counts[model] = (now, aged)
    return misses


def belady(models: Sequence[str], slots: int) -> int:
    """The fewest misses possible: whoever is needed again last leaves (Belady, 1966)."""
    next_use = _next_uses(models)
    cached: dict[str, int] = {}
    misses = 0
    for at, model in enumerate(models):
        if model not in cached:
            misses += 1
            if len(cached) == slots:
                del cached[max(cached, key=cached.__getitem__)]
        cached[model] = next_use[at]
    return misses


def prewarmed(models: Sequence[str], slots: int, *, sure: float) -> tuple[int, int]:
    """Misses, and loads, of `cost_aware` with prewarming: after each request the likeliest successor of the last model,
    by what followed it before, is loaded where it followed in a share of at least `sure` (and five times)."""
    worth = POLICIES["cost_aware"].worth
    demands: dict[str, Demand] = {}
    after: dict[str, dict[str, int]] = {}
    cached: set[str] = set()
    misses = loads = 0

    def admit(model: str, keep: str, now: int) -> None:
        if len(cached) == slots:
            able = sorted(cached - {keep})
            cached.remove(min(able, key=lambda name: worth(_record(demands[name], now))))
        cached.add(model)

    last = ""
    for now, model in enumerate(models, 1):
        if model not in cached:
            misses, loads = misses + 1, loads + 1
            admit(model, "", now)
        demands[model] = demands.get(model, Demand()).after(now)
        if last:
            followers = after.setdefault(last, {})
            followers[model] = followers.get(model, 0) + 1
        followers = after.get(model, {})
        guess = max(followers, key=followers.__getitem__, default="")
        if guess and slots > 1 and guess not in cached and followers[guess] >= max(5, sure * sum(followers.values())):
            loads += 1
            admit(guess, model, now)
        last = model
    return misses, loads


def _record(demand: Demand, now: int) -> Record:
    return Record(demand=demand, wants=now, idle_s=float(now - demand.at), size_bytes=1, reload_s=1.0)


def _next_uses(models: Sequence[str]) -> list[int]:
    found = [NEVER] * len(models)
    seen: dict[str, int] = {}
    for at in range(len(models) - 1, -1, -1):
        found[at] = seen.get(models[at], NEVER)
        seen[models[at]] = at
    return found


POLICY_CACHES: dict[str, Callable[[Sequence[str], int], int]] = {
    "LRU": lambda models, slots: by_policy(models, slots, "lru"),
    "decayed LFU": lambda models, slots: by_policy(models, slots, "lfu"),
    "cost_aware": lambda models, slots: by_policy(models, slots, "cost_aware"),
    "Belady": belady,
}
