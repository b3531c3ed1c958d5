"""How much each part counts, how far intervals reach, how strong the guard is: all found on questions unseen.

Knows: inner cross-validation, non-negative stacking (Breiman 1996), intervals scaled until they cover, a rehearsal of
the guard with whole regions of the map held out. Does not know: texts, files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pointsman.policy.quality import COVERAGE, Z_TWO_SIDED, Blend, Spread, blended
from pointsman.policy.quality_parts import PARTS, Parts, Places
from pointsman.policy.quality_text import Floats
from pointsman.types import Value

FOLDS = 5
LABELS_PART = PARTS.index("labels")
FIRST_GUESS = (0.8, 0.4, 0.1, 0.0, 0.15, 0.05, 0.0, 0.0)  # what PARTS weigh before anything was measured
LABELLED_GUESS = (0.3, 0.2, 0.1, 0.0, 0.1, 0.0, 0.0, 0.8)  # the same where labels are known
SCALE_AT_MOST = 2.0
GUESS_QUESTIONS = 2000.0  # and how many questions it takes to outweigh that
INFLATIONS = np.round(np.arange(1.1, 6.01, 0.1), 2)  # cells of one fit flatter: less than a tenth is never enough
BATCH = 1024  # texts read at once
ROWS_A_CELL = 25  # the grain at which coverage is checked

Fit = Callable[[Any], Parts]  # rows → parts fitted on these alone


class Unseen(Value, frozen=True):
    """What parts fitted on the other folds say of each question: `(P, N, M)`, and effective answers, `(N, M)`."""

    deviations: Floats
    n: Floats


def folds_of(size: int, seed: int) -> Any:
    """A fold for every question, even and shuffled."""
    return np.random.default_rng(seed).permutation(size) % FOLDS


def cross_fit(fit: Fit, places: Places, labels: Any, folds: Any, models: int) -> Unseen:
    """Every question read by parts that did not see its fold."""
    deviations = np.zeros((len(PARTS), len(folds), models), np.float32)
    n = np.zeros((len(folds), models), np.float32)
    for fold in np.unique(folds):
        rows, parts = np.flatnonzero(folds == fold), fit(np.flatnonzero(folds != fold))
        for batch in np.array_split(rows, 1 + len(rows) // BATCH):
            found = parts.read(places.take(batch), tuple(labels[row] for row in batch) if labels else ())
            deviations[:, batch], n[batch] = found.deviations, found.n
    return Unseen(deviations=deviations, n=n)


def fit_blend(unseen: Floats, deviations: Floats, *, with_labels: bool) -> Blend:
    """Non-negative weights for level and contrast. With one answer a question, contrast follows level."""
    used = np.array([with_labels or part != LABELS_PART for part in range(len(PARTS))])
    graded = ~np.isnan(deviations)
    count = graded.sum(1, keepdims=True)
    centred = _within(unseen, graded)
    target = deviations - np.nansum(deviations, 1, keepdims=True) / np.maximum(count, 1)
    pairs = graded & (count > 1)
    levels = np.broadcast_to(unseen.mean(2, keepdims=True), unseen.shape)
    if not pairs.any():
        level = _stack(unseen[:, graded], deviations[graded], used, len(graded))
        return Blend(level=level, contrast=level, base=deviations.shape[1])
    contrast = _stack(centred[:, pairs], target[pairs], used, len(graded))
    rest = deviations - np.tensordot(contrast, unseen - levels, 1)
    level = _stack(levels[:, graded], rest[graded], used, len(graded))
    return Blend(level=level, contrast=contrast, base=deviations.shape[1])


def _within(unseen: Floats, graded: Any) -> Floats:
    """What the parts say, less its mean over the models that were graded on the question."""
    count = np.maximum(graded.sum(1, keepdims=True), 1)
    found: Floats = unseen - (unseen * graded).sum(2, keepdims=True) / count
    return found


def _stack(features: Floats, target: Floats, used: Any, questions: int) -> Floats:
    """Non-negative least squares, drawn to the first guess by the share of questions that it is worth; then all
    weights in one scale, as the questions alone want it: where the parts know nothing, zero."""
    from scipy.optimize import nnls

    weights = np.zeros(len(features), np.float32)
    guess = np.array(LABELLED_GUESS if used[LABELS_PART] else FIRST_GUESS)
    columns = features[used].astype(np.float64)
    pull = np.sqrt((columns**2).sum(1) * GUESS_QUESTIONS / max(questions, 1))
    if pull.any():
        rows = np.vstack((columns.T, np.diag(pull)))
        found = nnls(rows, np.concatenate((target, pull * guess[used])))[0]
        told = found @ columns
        weights[used] = found * np.clip((told @ target) / max(told @ told, 1e-9), 0.0, SCALE_AT_MOST)
    return weights


def fit_spread(unseen: Unseen, blend: Blend, deviations: Floats, incumbent: int, cells: Any) -> Spread:
    """Residual variances, and how far intervals must be inflated to cover the mean quality of texts alike."""
    residuals = deviations - blended(unseen.deviations, blend)
    models = residuals.shape[1]
    variance = np.nan_to_num(np.nanmean(residuals**2, 0), nan=0.25)
    paired = np.empty((models, models), np.float32)
    for model in range(models):
        paired[model] = _mean_square(residuals - residuals[:, model : model + 1], 2 * float(variance.max()))
    gaps = residuals - residuals[:, incumbent : incumbent + 1]
    least = np.minimum(unseen.n, unseen.n[:, incumbent : incumbent + 1])
    others = np.arange(models) != incumbent
    return Spread(
        variance=variance.astype(np.float32),
        paired=paired,
        inflation=_inflation(residuals, variance, unseen.n, cells),
        paired_inflation=_inflation(gaps[:, others], paired[incumbent][others], least[:, others], cells),
    )


def _mean_square(gaps: Floats, default: float) -> Floats:
    known = ~np.isnan(gaps)
    sums = np.where(known, gaps, 0.0) ** 2
    found: Floats = np.where(known.sum(0) > 1, sums.sum(0) / np.maximum(known.sum(0), 1), default)
    return found


def _inflation(residuals: Floats, variance: Floats, n: Floats, cells: Any) -> float:
    """The least inflation at which COVERAGE of the cells' mean residuals lie within reach, their own noise allowed."""
    means, noise, reach = [], [], []
    for cell in np.unique(cells):
        rows = cells == cell
        known = ~np.isnan(residuals[rows])
        counts = known.sum(0)
        seen = counts >= ROWS_A_CELL // 3
        if seen.any():
            means.append(np.where(known, residuals[rows], 0.0).sum(0)[seen] / counts[seen])
            noise.append(variance[seen] / counts[seen])
            reach.append((variance / np.maximum(n[rows], 1.0)).mean(0)[seen])
    if not means:
        return 1.5
    gap, own, ours = np.concatenate(means), np.concatenate(noise), np.concatenate(reach)
    for inflation in INFLATIONS:
        if np.mean(gap**2 <= Z_TWO_SIDED**2 * (own + inflation**2 * ours)) >= COVERAGE:
            return float(inflation)
    return float(INFLATIONS[-1])
