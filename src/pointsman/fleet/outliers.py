"""Which of a model's instances are far off the others? Pure.

Knows: how the last calls of each instance went. Does not know: what is done about it (its breaker opens).
After Envoy's outlier detection (success rate, failure percentage), with one difference: Envoy compares with the mean
less 1.9 standard deviations of all hosts, which among three no host can ever be (the farthest of n lies at most
√(n − 1) off). Here each is compared with the others without it, so that three are enough:

failing: its share of failures is `FAR` above the others', and chance would seldom do that (z above `SURE`)
lagging: its usual time to the first byte is `SLOWER` times the median of the others', and `LEAST_LAG_S` more
The worst first; no more than a share of all are out at once, but one always may be.
"""

import math
from collections.abc import Sequence
from statistics import median

from pointsman.types import Value

FEWEST = 3
FEWEST_CALLS = 10
FAR = 0.2
SURE = 3.0
SLOWER = 3.0
LEAST_LAG_S = 0.5


class Figures(Value, frozen=True):
    """One instance: `failed` of its last `seen` calls; its usual seconds to the first byte; whether it is left alone
    already, for whatever reason."""

    id: str
    seen: int
    failed: int
    latency_s: float | None = None
    is_out: bool = False


def outliers(instances: Sequence[Figures], most_share: float) -> tuple[tuple[str, str], ...]:
    """(id, why) of those to leave alone now."""
    room = max(1, int(most_share * len(instances))) - sum(one.is_out for one in instances)
    able = [one for one in instances if not one.is_out and one.seen >= FEWEST_CALLS]
    if len(instances) < FEWEST or room < 1:
        return ()
    found = []
    for one in able:
        others = [other for other in able if other is not one]
        if len(others) + 1 >= FEWEST and (odd := _failing(one, others) or _lagging(one, others)):
            found.append((odd[0], one.id, odd[1]))
    return tuple((name, why) for _, name, why in sorted(found, reverse=True)[:room])


def _failing(one: Figures, others: Sequence[Figures]) -> tuple[float, str] | None:
    """How far off and why: the test of two proportions, pooled."""
    seen, failed = sum(other.seen for other in others), sum(other.failed for other in others)
    gap = one.failed / one.seen - failed / seen
    pooled = (one.failed + failed) / (one.seen + seen)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one.seen + 1 / seen))
    if gap < FAR or gap < SURE * error:
        return None
    return 1 + gap, f"{one.failed} of its last {one.seen} calls failed, of the other instances' {failed} of {seen}"


def _lagging(one: Figures, others: Sequence[Figures]) -> tuple[float, str] | None:
    usual = [other.latency_s for other in others if other.latency_s is not None]
    if one.latency_s is None or len(usual) + 1 < FEWEST:
        return None
    usual_s = median(usual)
    if one.latency_s < SLOWER * usual_s or one.latency_s < usual_s + LEAST_LAG_S:
        return None
    return 1 - usual_s / one.latency_s, f"{one.latency_s:.2f} s to its first byte, the other instances {usual_s:.2f} s"
