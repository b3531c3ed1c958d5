"""What a routing is worth: recovered gap between two models, quality for money, intervals by resampling questions.

Knows: arrays of scores, costs and choices over the same questions. Does not know: profiles, texts, models' names.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.types import Value

Array = npt.NDArray[np.float64]
RESAMPLES = 1000


class Measured(Value, frozen=True):
    """One figure with its 95 % interval over resampled questions."""

    value: float
    low: float
    high: float


def recovered(order: Array, weak: Array, strong: Array) -> Array:
    """Share of the gap between two models recovered when the first 0, 1, … N questions by `order`, descending, go to
    the strong one; equal keys share evenly. 0 at the start, 1 at the end (RouteLLM, Ong et al. 2024)."""
    gains = (strong - weak)[np.argsort(-order, kind="stable")]
    _, starts, counts = np.unique(-np.sort(-order), return_index=True, return_counts=True)
    starts, counts = starts[::-1], counts[::-1]
    even = np.repeat(np.add.reduceat(gains, starts) / counts, counts)
    total = even.sum()
    return np.concatenate(([0.0], np.cumsum(even))) / (total if abs(total) > 1e-9 else np.nan)


def apgr(order: Array, weak: Array, strong: Array) -> float:
    """Average performance gap recovered over all shares of strong calls; random is .5."""
    curve = recovered(order, weak, strong)
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def calls_needed(order: Array, weak: Array, strong: Array, share: float) -> float:
    """CPT: the least share of strong calls that recovers `share` of the gap."""
    curve = recovered(order, weak, strong)
    return float(np.argmax(curve >= share - 1e-9)) / (len(curve) - 1)


def hull(costs: Array, qualities: Array) -> tuple[Array, Array]:
    """The non-decreasing convex hull of points, from the cheapest up: mixtures of them reach any point on it."""
    points: list[tuple[float, float]] = []
    for cost, quality in sorted(zip(costs.tolist(), qualities.tolist(), strict=True), key=lambda p: (p[0], -p[1])):
        if points and quality <= points[-1][1]:
            continue
        while len(points) > 1 and _slope(points[-2], points[-1]) <= _slope(points[-2], (cost, quality)):
            points.pop()
        points.append((cost, quality))
    return np.array([cost for cost, _ in points]), np.array([quality for _, quality in points])


def _slope(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (other[1] - one[1]) / max(other[0] - one[0], 1e-12)


def aiq(costs: Array, qualities: Array, cheapest: float, dearest: float) -> float:
    """Average quality under the hull between two costs (RouterBench, Hu et al. 2024)."""
    xs, ys = hull(costs, qualities)
    grid = np.linspace(cheapest, dearest, 512)
    return float(np.mean(np.interp(grid, xs, ys)))


def resampled(measure: Callable[[Any], float], size: int, seed: int, resamples: int = RESAMPLES) -> Measured:
    """`measure` of row numbers: on all questions, and its 95 % interval over questions drawn with replacement."""
    generator = np.random.default_rng(seed)
    found = [measure(generator.integers(0, size, size)) for _ in range(resamples)]
    kept = [value for value in found if np.isfinite(value)]
    low, high = np.quantile(kept, [0.025, 0.975]) if kept else (np.nan, np.nan)
    return Measured(value=measure(np.arange(size)), low=float(low), high=float(high))
