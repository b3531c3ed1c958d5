"""A plain swapper beside the fleet on ABCABC: `python -m bench.fleet.swapper`.

The swapper does what the simple ones do: requests strictly in the order of arrival, the least recently used idle model
leaves at once. Same trace, same load and call times, same room, one call at a time a model.
"""

from dataclasses import dataclass

from bench.fleet.traces import abcabc
from pointsman.fleet.simulate import Trace, play
from pointsman.fleet.values import Rules
from pointsman.settings import FleetSettings


@dataclass(frozen=True)
class Outcome:
    """`loads` beyond one a model are thrash; waits in seconds."""

    answered: int
    refused: int
    loads: int
    p95_wait_s: float


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


def fleet(trace: Trace, slots: int) -> Outcome:
    """The fleet's own machine, with its default rules."""
    played = play(trace, slots, Rules.of(FleetSettings()))
    return Outcome(
        answered=played.requests - played.refused,
        refused=played.refused,
        loads=played.loads,
        p95_wait_s=played.wait_s.p95,
    )


def main() -> None:
    print("| a request every | who | answered | refused | loads | p95 wait s |")
    print("|---|---|---|---|---|---|")
    for every_s in (4.0, 2.0, 1.0, 0.7):
        trace = abcabc(200, every_s=every_s, patience_s=60)
        for name, one in (("plain swapper", swapper(trace, 2)), ("fleet", fleet(trace, 2))):
            cells = f"{one.answered} | {one.refused} | {one.loads} | {one.p95_wait_s:.1f}"
            print(f"| {every_s:g} s | {name} | {cells} |")


if __name__ == "__main__":
    main()
