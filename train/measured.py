"""One measured figure: what, on which set, how many, its value with a 95 % interval, and the controls beside it.

The common form of every `train.measure_*`, of which `train.evaluate` makes `docs/evaluation.md`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 1000


class Figure(NamedTuple):
    """`target`: what was promised, as text; `holds`: whether it was met; None where nothing was promised."""

    what: str
    set: str
    n: int
    value: float
    low: float | None = None
    high: float | None = None
    controls: dict[str, float] = {}  # noqa: RUF012  # a NamedTuple's default is never written to
    target: str = ""
    holds: bool | None = None


def bootstrap(
    count: int, measure: Callable[[Any], float], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval of `measure(rows)`, rows drawn with replacement from `range(count)` (Efron 1979)."""
    generator = np.random.default_rng(seed)
    found = [measure(generator.integers(0, count, count)) for _ in range(resamples)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def macro_f1(truth: Sequence[str], told: Sequence[str], labels: Sequence[str] | None = None) -> float:
    """The mean F1 over the labels that occur in `truth` (or are named)."""
    truth_, told_ = np.asarray(truth), np.asarray(told)
    scores = []
    for label in labels or sorted(set(truth)):
        right = float(np.sum((truth_ == label) & (told_ == label)))
        wrong = float(np.sum((truth_ == label) != (told_ == label)))
        scores.append(2 * right / (2 * right + wrong) if right + wrong else 0.0)
    return float(np.mean(scores)) if scores else 0.0


def calibration_error(p: Sequence[float], is_right: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error over bins of equal count (Nixon et al. 2019, adaptive ECE)."""
    order = np.argsort(p)
    ps, rights = np.asarray(p, float)[order], np.asarray(is_right, float)[order]
    parts = [part for part in np.array_split(np.arange(len(ps)), bins) if len(part)]
    return float(sum(abs(ps[part].mean() - rights[part].mean()) * len(part) for part in parts) / len(ps))


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive scores above a negative, ties counting half (Mann-Whitney)."""
    above = np.asarray(positive, float)[:, None] - np.asarray(negative, float)[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def write(figures: Sequence[Figure]) -> None:
    """As JSON lines on standard output."""
    for figure in figures:
        sys.stdout.write(json.dumps(figure._asdict(), ensure_ascii=False) + "\n")
