"""Intervals and tests for graded answers. Pure; chance comes from a seed.

Knows: proportions, paired differences, several tests at once. Does not know: models, items, words.
Methods: Wilson 1927 (interval of a proportion), McNemar 1947 (exact, two-sided), the percentile bootstrap over pairs
(Efron 1979), a permutation test of interaction, Holm 1979 (several tests).
"""

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np
import numpy.typing as npt

from pointsman.types import Value

Floats = npt.NDArray[np.float64]

Z95 = 1.959964
RESAMPLES = 2000
ALPHA = 0.05


class Interval(Value, frozen=True):
    """An estimate with its 95 % interval; `n`: how many observations it rests on."""

    mean: float
    low: float
    high: float
    n: int = 0


class Difference(Value, frozen=True):
    """A mean paired difference with its 95 % interval and the p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float
    n: int

    def is_significant(self, alpha: float = ALPHA) -> bool:
        return self.p < alpha


def wilson(scores: Sequence[float] | Floats) -> Interval:
    """Mean of scores in [0, 1]. For partial scores the interval is wider than need be, since their variance is at most
    that of a proportion with the same mean."""
    n = len(scores)
    if n == 0:
        return Interval(mean=0.0, low=0.0, high=1.0)
    mean, square = float(np.mean(scores)), Z95**2
    centre = (mean + square / (2 * n)) / (1 + square / n)
    half = Z95 / (1 + square / n) * sqrt(mean * (1 - mean) / n + square / (4 * n * n))
    return Interval(mean=mean, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value: chance of so lopsided a split of the pairs that disagree."""
    n, few = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return float(min(1.0, 2 * sum(comb(n, k) for k in range(few + 1)) / 2**n))


def weights_of(n: int, seed: int, resamples: int = RESAMPLES) -> Floats:
    """One row a bootstrap resample of n items, each row summing to 1."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return counts / n


def bounds(samples: Floats) -> tuple[float, float]:
    """The middle 95 % of a resampled statistic."""
    low, high = np.percentile(samples, (2.5, 97.5))
    return float(low), float(high)


def paired(first: Floats, second: Floats, seed: int = 0) -> Difference:
    """`first` − `second` over the same items. p: McNemar where all scores are right or wrong, else the bootstrap's."""
    gap = np.asarray(first, float) - np.asarray(second, float)
    n = len(gap)
    if n == 0:
        return Difference(mean=0.0, low=-1.0, high=1.0, p=1.0, n=0)
    samples = weights_of(n, seed) @ gap
    low, high = bounds(samples)
    is_binary = bool(np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all())
    p = mcnemar(int((gap > 0).sum()), int((gap < 0).sum())) if is_binary else _two_sided(samples)
    return Difference(mean=float(gap.mean()), low=low, high=high, p=p, n=n)


def _two_sided(samples: Floats) -> float:
    """Share of resamples on the other side of zero, doubled; never below one of them."""
    least = 1 / len(samples)
    return float(max(least, min(1.0, 2 * min((samples <= 0).mean(), (samples >= 0).mean()))))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values for several tests at once: each adjusted so that any false one among all has its own level."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = worst
    return tuple(adjusted)


def interaction(gap: Floats, groups: Sequence[str], seed: int = 0, permutations: int = RESAMPLES) -> float:
    """p-value of the gap between two models being the same in every group: groups are permuted over the items.

    Small: the two have different profiles, not only different levels.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        return 1.0
    member = np.array([[group == name for group in groups] for name in names], float)
    sizes, centred = member.sum(axis=1), gap - gap.mean()
    rng = np.random.default_rng(seed)

    def spread(values: Floats) -> float:
        return float((((member @ values) ** 2) / sizes).sum())

    seen = spread(centred)
    as_large = sum(spread(rng.permutation(centred)) >= seen - 1e-12 for _ in range(permutations))
    return (1 + as_large) / (1 + permutations)
