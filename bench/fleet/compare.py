"""Compare eviction policies: `python -m bench.fleet.compare --data DIR [--trace gentd26 --part last] [--write]`.

Prints the miss ratio of plain caches (order alone), then the fleet's own machine on the trace's times. "gap" is the
share of the way from LRU to Belady's bound that a policy closes. Without `--trace` all of them, one after the other;
`--write` puts each table between its marks in README.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from time import process_time

from msgspec.structs import replace

from bench.fleet.caches import POLICY_CACHES, belady, by_policy, prewarmed
from bench.fleet.page import rewrite
from bench.fleet.traces import TRACES, part, with_deadline
from pointsman.fleet.eviction import POLICIES
from pointsman.fleet.simulate import Played, Trace, play
from pointsman.fleet.values import Rules
from pointsman.settings import FleetSettings, ServerSettings

README = Path(__file__).with_name("README.md")
SLOTS = (2, 4, 8)
FIRST_SHARE = 0.6
PARALLEL = {"gentd26": 1, "azure": 16, "servegen": 4}
RUNS = (("gentd26", "last"), ("gentd26", "first"), ("gentd26", "all"), ("azure", "all"), ("servegen", "all"))
DEADLINE_S = ServerSettings.model_fields["request_timeout_s"].default
"""The gateway's own, which every request has that names none."""


def plain(models: list[str]) -> Iterator[str]:
    yield "| plain cache | " + " | ".join(f"{k} slots, gap" for k in SLOTS) + " |"
    yield "|---|" + "---|" * len(SLOTS)
    n = len(models)
    bounds = {k: (by_policy(models, k, "lru"), belady(models, k)) for k in SLOTS}
    for name, misses_of in POLICY_CACHES.items():
        cells = []
        for k in SLOTS:
            lru, best = bounds[k]
            misses = misses_of(models, k)
            cells.append(f"{misses / n:.4f} ({(lru - misses) / (lru - best):.1%})")
        yield f"| {name} | " + " | ".join(cells) + " |"
    for sure in (0.3, 0.5):
        pairs = [prewarmed(models, k, sure=sure) for k in SLOTS]
        cells = [f"{misses / n:.4f}, {loads / n:.4f} loads" for misses, loads in pairs]
        yield f"| cost_aware, prewarming at {sure:.0%} | " + " | ".join(cells) + " |"


def machine(trace: Trace, parallel: int) -> Iterator[str]:
    """Each policy on the trace as it is, where nobody ever leaves; then the default with the gateway's deadline."""
    yield "| machine | slots | miss ratio | gap | loads | loading h | wait s p50 / p95 / p99 / max | refused | ev/s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    models = list(trace.models)
    hurried = with_deadline(trace, DEADLINE_S)
    default = FleetSettings().eviction
    for k in SLOTS:
        lru, best = by_policy(models, k, "lru"), belady(models, k)
        for policy in POLICIES:
            yield _row(policy, k, lru, best, *_timed(trace, k, policy, parallel))
        played, rate = _timed(hurried, k, default, parallel)
        yield _row(f"{default}, deadline {DEADLINE_S:g} s", k, lru, best, played, rate)
        if played.wait_s.max > DEADLINE_S:
            raise RuntimeError(f"a request waited {played.wait_s.max:.1f} s, beyond its deadline")


def _timed(trace: Trace, slots: int, policy: str, parallel: int) -> tuple[Played, float]:
    began_s = process_time()
    played = play(trace, slots, replace(Rules.of(FleetSettings()), eviction=policy), slots=parallel)
    return played, played.events / (process_time() - began_s)


def _row(name: str, slots: int, lru: int, best: int, played: Played, rate: float) -> str:
    wait = played.wait_s
    waits = f"{wait.p50:.1f} / {wait.p95:.0f} / {wait.p99:.0f} / {wait.max:.0f}"
    gap = f"{(lru - played.misses) / (lru - best):.1%}"
    cells = (f"{played.miss_ratio:.4f}", gap, played.loads, f"{played.load_s / 3600:.1f}", waits, played.refused)
    return f"| {name} | {slots} | " + " | ".join(map(str, cells)) + f" | {rate:,.0f} |"


def report(data: Path, name: str, which: str) -> Iterator[str]:
    """The tables of one part of one trace, line by line."""
    trace = TRACES[name](data)
    n = len(trace.at_s)
    cut = round(n * FIRST_SHARE)
    first, end = {"all": (0, n), "first": (0, cut), "last": (cut, n)}[which]
    trace = part(trace, first, end)
    yield f"{name}, {which}: {end - first} requests, {len(set(trace.models))} models."
    yield ""
    yield from plain(list(trace.models))
    yield ""
    yield from machine(trace, PARALLEL[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the traces")
    parser.add_argument("--trace", choices=TRACES)
    parser.add_argument(
        "--part", choices=["all", "first", "last"], default="all", help="first 60 %%, last 40 %%, or all"
    )
    parser.add_argument("--write", action="store_true", help="into README.md")
    given = parser.parse_args()
    for name, which in [(given.trace, given.part)] if given.trace else RUNS:
        lines = []
        for line in report(given.data, name, which):
            print(line, flush=True)
            lines.append(line)
        print()
        if given.write:
            rewrite(README, f"{name}-{which}", "\n".join(lines))


if __name__ == "__main__":
    main()
