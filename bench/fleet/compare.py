"""Compare eviction policies: `python -m bench.fleet.compare --data DIR [--trace gentd26] [--part last]`.

Prints the miss ratio of plain caches (order alone), then the fleet's own machine on the trace's times. "gap" is the
share of the way from LRU to Belady's bound that a policy closes.
"""

import argparse
from pathlib import Path

from msgspec.structs import replace

from bench.fleet.caches import POLICY_CACHES, belady, by_policy, prewarmed
from bench.fleet.traces import TRACES, part
from pointsman.clock import SystemClock
from pointsman.fleet.eviction import POLICIES
from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules
from pointsman.settings import FleetSettings

SLOTS = (2, 4, 8)
FIRST_SHARE = 0.6
PARALLEL = {"gentd26": 1, "azure": 16, "servegen": 4}


def plain(models: list[str]) -> None:
    print("| plain cache | " + " | ".join(f"{k} slots, gap" for k in SLOTS) + " |")
    print("|---|" + "---|" * len(SLOTS))
    n = len(models)
    bounds = {k: (by_policy(models, k, "lru"), belady(models, k)) for k in SLOTS}
    for name, misses_of in POLICY_CACHES.items():
        cells = []
        for k in SLOTS:
            lru, best = bounds[k]
            misses = misses_of(models, k)
            cells.append(f"{misses / n:.4f} ({(lru - misses) / (lru - best):.1%})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    for sure in (0.3, 0.5):
        pairs = [prewarmed(models, k, sure=sure) for k in SLOTS]
        cells = [f"{misses / n:.4f}, {loads / n:.4f} loads" for misses, loads in pairs]
        print(f"| cost_aware, prewarming at {sure:.0%} | " + " | ".join(cells) + " |")


def machine(trace: Trace, parallel: int) -> None:
    print(
        "\n| machine | slots | miss ratio | gap | loads | loading h | wait s p50 / p95 / p99 / max | refused | ev/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    clock = SystemClock()
    models = list(trace.models)
    for k in SLOTS:
        lru, best = by_policy(models, k, "lru"), belady(models, k)
        for policy in POLICIES:
            began_s = clock.now()
            p = play(trace, k, replace(Rules.of(FleetSettings()), eviction=policy), slots=parallel)
            rate = p.events / (clock.now() - began_s)
            wait = f"{p.wait_s.p50:.1f} / {p.wait_s.p95:.0f} / {p.wait_s.p99:.0f} / {p.wait_s.max:.0f}"
            gap = (lru - p.misses) / (lru - best)
            print(
                f"| {policy} | {k} | {p.miss_ratio:.4f} | {gap:.1%} | {p.loads} | {p.load_s / 3600:.1f} | {wait} "
                f"| {p.refused} | {rate:,.0f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the traces")
    parser.add_argument("--trace", choices=TRACES, default="gentd26")
    parser.add_argument(
        "--part", choices=["all", "first", "last"], default="all", help="first 60 %%, last 40 %%, or all"
    )
    given = parser.parse_args()
    trace = TRACES[given.trace](given.data)
    n = len(trace.at_s)
    cut = round(n * FIRST_SHARE)
    first, end = {"all": (0, n), "first": (0, cut), "last": (cut, n)}[given.part]
    trace = part(trace, first, end)
    print(f"{given.trace}, {given.part}: {end - first} requests, {len(set(trace.models))} models\n")
    plain(list(trace.models))
    machine(trace, PARALLEL[given.trace])


if __name__ == "__main__":
    main()
