"""What did not pay, and what each part of the policy is worth: `python -m bench.fleet.ablations --data DIR [--write]`.

Both tables are of the trace gentd26; the first leaves time out (plain caches), the second is the fleet's own machine
with one thing changed at a time. `--write` puts them between their marks in docs/adr/0011-who-leaves.md.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from bench.fleet.caches import belady, by_policy, by_rates, prewarmed
from bench.fleet.compare import FIRST_SHARE, SLOTS
from bench.fleet.page import rewrite
from bench.fleet.traces import gentd26, part
from pointsman.fleet.eviction import (
    LONG,
    LONG_WEIGHT,
    MIDDLE,
    MIDDLE_WEIGHT,
    MIN_RELOAD_S,
    POLICIES,
    SHORT,
    Policy,
    Record,
    cost_aware,
)
from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules
from pointsman.settings import FleetSettings

ADR = Path(__file__).parents[2] / "docs" / "adr" / "0011-who-leaves.md"
MACHINE_SLOTS = (4, 8)
CACHES: Mapping[str, Mapping[float, float]] = {
    **{f"one rate, 1/e after {wants} wants": {wants: 1.0} for wants in (5, 10, 20, 40, 80, 160)},
    "two rates, 4 and 400": {SHORT: 1.0, LONG: 0.05},
    "three rates, 4, 40, 400 (`cost_aware`)": {SHORT: 1.0, MIDDLE: MIDDLE_WEIGHT, LONG: LONG_WEIGHT},
}


def caches(trace: Trace) -> Iterator[str]:
    """First part and last part, the share of the gap from LRU to Belady that each closes."""
    n = len(trace.at_s)
    cut = round(n * FIRST_SHARE)
    halves = [list(part(trace, 0, cut).models), list(part(trace, cut, n).models)]
    yield (
        "| what forgets how | " + " | ".join(f"{when}, {k} models" for when in ("first", "last") for k in SLOTS) + " |"
    )
    yield "|---|" + "---|" * (2 * len(SLOTS))
    bounds = [(models, k, by_policy(models, k, "lru"), belady(models, k)) for models in halves for k in SLOTS]
    for name, rates in CACHES.items():
        cells = [f"{(lru - by_rates(models, k, rates)) / (lru - best):.0%}" for models, k, lru, best in bounds]
        yield f"| {name} | " + " | ".join(cells) + " |"
    for sure in (0.2, 0.3, 0.5):
        pairs = [(prewarmed(models, k, sure=sure), lru, best) for models, k, lru, best in bounds]
        alone = [by_policy(models, k, "cost_aware") for models, k, _, _ in bounds]
        cells = [
            f"{(lru - misses) / (lru - best):.0%}, {loads / without - 1:+.1%} loads"
            for ((misses, loads), lru, best), without in zip(pairs, alone, strict=True)
        ]
        yield f"| prewarming, if right in {sure:.0%} | " + " | ".join(cells) + " |"


def powered(power: float) -> Policy:
    """`cost_aware` with another power of the reload time."""

    def worth(record: Record) -> float:
        free = cost_aware(replace(record, reload_s=1.0))
        return float(free * max(record.reload_s, MIN_RELOAD_S) ** power)

    return Policy(worth=worth, is_patient=True)


VARIANTS: Mapping[str, Policy] = {
    "LRU": POLICIES["lru"],
    "`cost_aware`": POLICIES["cost_aware"],
    "not patient": replace(POLICIES["cost_aware"], is_patient=False),
    "LRU, patient": replace(POLICIES["lru"], is_patient=True),
    "reload time not weighed": powered(0.0),
    "its square root": powered(0.5),
    "the whole of it": powered(1.0),
}


def machine(trace: Trace) -> Iterator[str]:
    yield "| machine | models | misses | loads | loading h | wait s p50 / p95 / p99 |"
    yield "|---|---|---|---|---|---|"
    policies = cast("dict[str, Policy]", POLICIES)  # an experiment of this process, nobody else's
    for slots in MACHINE_SLOTS:
        for name, policy in VARIANTS.items():
            policies[name] = policy
            played = play(trace, slots, replace(Rules.of(FleetSettings()), eviction=name))
            wait = f"{played.wait_s.p50:.1f} / {played.wait_s.p95:.0f} / {played.wait_s.p99:.0f}"
            yield f"| {name} | {slots} | {played.misses} | {played.loads} | {played.load_s / 3600:.1f} | {wait} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the traces")
    parser.add_argument("--write", action="store_true", help="into the decision record")
    given = parser.parse_args()
    trace = gentd26(given.data)
    for name, lines in (("caches", caches(trace)), ("machine", machine(trace))):
        said = []
        for line in lines:
            print(line, flush=True)
            said.append(line)
        print()
        if given.write:
            rewrite(ADR, name, "\n".join(said))


if __name__ == "__main__":
    main()
