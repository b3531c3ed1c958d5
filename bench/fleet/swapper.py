"""A plain swapper beside the fleet on ABCABC: `python -m bench.fleet.swapper [--write]`.

The swapper does what the simple ones do: requests strictly in the order of arrival, the least recently used idle model
leaves at once. Same trace, same load and call times, same room, one call at a time a model. Between the two stands the
fleet's machine with plain LRU and no guard: who waits for a model that is loaded overtakes, all else is as simple.
`--write` puts the table into docs/performance.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from bench.fleet.page import rewrite
from bench.fleet.traces import abcabc
from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules
from pointsman.settings import FleetSettings

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MODELS, ROOM = 3, 2
DEFAULT = Rules.of(FleetSettings())
PLAIN = replace(DEFAULT, eviction="lru", min_resident_s=0)


@dataclass(frozen=True)
class Outcome:
    """`loads` beyond one a model are thrash; waits in seconds."""

    answered: int
    refused: int
    loads: int
    p95_wait_s: float

    @property
    def thrash(self) -> int:
        return max(0, self.loads - MODELS)


def swapper(trace: Trace, slots: int) -> Outcome:
    """First come, first served: nobody overtakes a request that waits for its model."""
    free_at: dict[str, float] = {}  # resident model → when its last call ends; the order is that of use
    now_s, loads, refused = 0.0, 0, 0
    waits: list[float] = []
    rows = zip(trace.at_s, trace.models, trace.service_s, trace.load_s, trace.deadline_s, strict=True)
    for at_s, model, service_s, load_s, patience_s in rows:
        now_s = max(now_s, at_s)
        if now_s > at_s + patience_s:  # its caller has left before its turn
            refused += 1
            continue
        if model in free_at:
            start_s = max(now_s, free_at.pop(model))
        else:
            if len(free_at) == slots:
                idle = [name for name, end_s in free_at.items() if end_s <= now_s]
                victim = idle[0] if idle else min(free_at, key=free_at.__getitem__)
                now_s = max(now_s, free_at.pop(victim))
            start_s = now_s + load_s
            loads += 1
        late = start_s > at_s + patience_s
        refused += late
        free_at[model] = start_s if late else start_s + service_s
        now_s = start_s
        if not late:
            waits.append(start_s - at_s)
    waits.sort()
    p95_s = waits[int(0.95 * (len(waits) - 1))] if waits else 0.0
    return Outcome(answered=len(waits), refused=refused, loads=loads, p95_wait_s=p95_s)


def fleet(trace: Trace, slots: int, rules: Rules = DEFAULT) -> Outcome:
    """The fleet's own machine."""
    played = play(trace, slots, rules)
    return Outcome(
        answered=played.requests - played.refused,
        refused=played.refused,
        loads=played.loads,
        p95_wait_s=played.wait_s.p95,
    )


def table() -> Iterator[str]:
    yield "| a request every | who | answered | gave up | p95 wait s | thrash |"
    yield "|---|---|---|---|---|---|"
    for every_s in (4.0, 2.0, 1.0, 0.7):
        trace = abcabc(200, every_s=every_s, patience_s=60)
        for name, one in (
            ("plain swapper", swapper(trace, ROOM)),
            ("machine, plain LRU", fleet(trace, ROOM, PLAIN)),
            ("fleet", fleet(trace, ROOM)),
        ):
            cells = f"{one.answered} | {one.refused} | {one.p95_wait_s:.1f} | {one.thrash}"
            yield f"| {every_s:g} s | {name} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    given = parser.parse_args()
    said = "\n".join(table())
    print(said)
    if given.write:
        rewrite(PAGE, "swapper", said)


if __name__ == "__main__":
    main()
