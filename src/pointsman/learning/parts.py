"""Fits the parts of a profile on graded places.

Knows: how many cells, how far to shrink, what to do where answers are missing. Does not know: how parts are blended.
"""

from typing import Any

import numpy as np

from pointsman.policy.quality import Labels
from pointsman.policy.quality_parts import Cells, Groups, LabelTable, Neighbours, Parts, Places, Ridge, label_keys, unit
from pointsman.policy.quality_text import Floats

NEIGHBOURS_AT_MOST = 6000
CELL_SIZES = (100, 50, 20)  # questions a cell, coarse to fine
CELLS_AT_MOST = (24, 48, 192)
SHARPNESS = (8.0, 8.0, 24.0)
MAP_PENALTY, SHAPE_PENALTY = 2.0, 0.3  # of ridges, in units of the number of answers
PAIRED_FROM = 1.5  # answers a question, on average, from which models are compared on the same question
PRIOR_BOUNDS = (3.0, 300.0)
LABEL_PRIOR = 12.0  # answers that a label must bring before it counts half


def centres_of(units: Floats, seed: int) -> tuple[Floats, Floats, Floats]:
    """Centres of k-means at three grains; they depend on the texts alone."""
    from sklearn.cluster import KMeans

    found, distinct = [], len(np.unique(np.round(units, 4), axis=0))
    for step, (size, most) in enumerate(zip(CELL_SIZES, CELLS_AT_MOST, strict=True)):
        k = max(1, min(len(units) // size, most, distinct))
        means = KMeans(k, n_init=3, random_state=seed + step).fit(units)
        found.append(unit(means.cluster_centers_.astype(np.float32)))
    return found[0], found[1], found[2]


def fit_parts(
    places: Places,
    deviations: Floats,
    centres: tuple[Floats, Floats, Floats],
    groups: tuple[str, ...] = (),
    labels: tuple[Labels, ...] = (),
) -> Parts:
    """All parts, from deviations of scores from the models' means, `(N, M)`, NaN where not graded."""
    grains = zip(centres, SHARPNESS, strict=True)
    coarse, middle, fine = (fit_cells(centre, sharp, places.units, deviations) for centre, sharp in grains)
    return Parts(
        cells=(coarse, middle, fine),
        neighbours=fit_neighbours(places.units, deviations),
        map_ridge=fit_ridge(places.places, deviations, MAP_PENALTY),
        shape_ridge=fit_ridge(places.shapes, deviations, SHAPE_PENALTY),
        groups=fit_groups(groups, places.units, deviations) if groups else None,
        labels=fit_labels(labels, deviations) if labels else None,
    )


def fit_cells(centres: Floats, sharpness: float, units: Floats, deviations: Floats) -> Cells:
    """A table of shrunken means a cell and model; a cell without answers says nothing."""
    nothing = np.zeros((len(centres), 0), np.float32)
    shares = Cells(centres=centres, sharpness=sharpness, deviations=nothing, counts=nothing).shares(units)
    graded = ~np.isnan(deviations)
    table = shrunken(shares, deviations)
    return Cells(centres=centres, sharpness=sharpness, deviations=table, counts=shares.T @ graded.astype(np.float32))


def shrunken(shares: Floats, deviations: Floats) -> Floats:
    """Means of a cell and model, `(k, M)`, from shares `(N, k)`; what models have in common and what tells them apart
    are shrunken each by its own prior."""
    counts = (~np.isnan(deviations)).sum(1, keepdims=True)
    level = np.where(counts > 0, np.nansum(deviations, 1, keepdims=True) / np.maximum(counts, 1), np.nan)
    if counts[counts > 0].mean() < PAIRED_FROM:
        level = np.zeros_like(level)
    return _drawn(shares, level) + _drawn(shares, deviations - level)


def _drawn(shares: Floats, values: Floats) -> Floats:
    """Means drawn towards zero by n / (n + κ), κ = noise / signal by the method of moments (Morris 1983)."""
    graded = ~np.isnan(values)
    filled = np.where(graded, values, 0.0).astype(np.float32)
    counts = shares.T @ graded
    effective = counts**2 / np.maximum((shares**2).T @ graded, 1e-9)
    means = shares.T @ filled / np.maximum(counts, 1e-9)
    noise = float((filled**2).sum() / max(graded.sum(), 1)) + 1e-9
    signal = float((counts * means**2 - counts * noise / np.maximum(effective, 1e-9)).sum() / max(counts.sum(), 1e-9))
    prior = float(np.clip(noise / max(signal, 1e-9), *PRIOR_BOUNDS))
    found: Floats = (means * counts / (counts + prior)).astype(np.float32)
    return found


def fit_neighbours(units: Floats, deviations: Floats) -> Neighbours:
    """Graded texts themselves; of very many, an even selection."""
    kept = kept_rows(len(units))
    return Neighbours(
        units=units[kept].astype(np.float16),
        deviations=deviations[kept].astype(np.float16),
        k=int(np.clip(1.5 * len(kept) ** 0.5, 5, 80)),
        prior=3.0,
    )


def kept_rows(size: int) -> Any:
    """Which texts stay as neighbours."""
    return np.linspace(0, size - 1, min(size, NEIGHBOURS_AT_MOST)).astype(int)


def fit_ridge(features: Floats, deviations: Floats, penalty: float, like: Ridge | None = None) -> Ridge:
    """One regression a model on standardised features (by the standard of `like`), each on the answers it has."""
    centre = like.centre if like else features.mean(0)
    scale = like.scale if like else np.maximum(features.std(0), 1e-6)
    standard = np.clip((features - centre) / scale, -3, 3).astype(np.float64)
    graded = ~np.isnan(deviations)
    filled = np.where(graded, deviations, 0.0)
    weights = np.zeros((features.shape[1], deviations.shape[1]))
    patterns, which = np.unique(graded, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        rows, columns = patterns[:, pattern], np.flatnonzero(which == pattern)
        if rows.sum() > 1:
            part = standard[rows]
            gram = part.T @ part + penalty * rows.sum() * np.eye(part.shape[1])
            weights[:, columns] = np.linalg.solve(gram, part.T @ filled[np.ix_(rows, columns)])
    return Ridge(
        centre=centre.astype(np.float32), scale=scale.astype(np.float32), weights=weights.astype(np.float32)
    )  # fmt: skip


def fit_groups(groups: tuple[str, ...], units: Floats, deviations: Floats) -> Groups | None:
    """A softmax that recognises the named groups from the place, and a shrunken table of them."""
    from sklearn.linear_model import LogisticRegression

    names, which = np.unique(np.array(groups), return_inverse=True)
    if len(names) < 2:
        return None
    model = LogisticRegression(C=10.0, max_iter=500, tol=1e-3).fit(units, which)
    coefficients = np.column_stack((model.coef_, model.intercept_))
    if len(names) == 2:
        coefficients = np.vstack((-coefficients, coefficients)) / 2
    table = shrunken(np.eye(len(names), dtype=np.float32)[which], deviations)
    return Groups(names=tuple(str(name) for name in names), weights=coefficients.T.astype(np.float32), deviations=table)


def _sums(rows: Any, deviations: Floats, size: int) -> tuple[Floats, Floats]:
    """Sums and counts of the graded deviations that fall on each row, `(size, M)` both."""
    graded = ~np.isnan(deviations)
    sums = np.zeros((size, deviations.shape[1]), np.float32)
    counts = np.zeros_like(sums)
    np.add.at(sums, rows, np.where(graded, deviations, 0.0))
    np.add.at(counts, rows, graded)
    return sums, counts


def fit_labels(labels: tuple[Labels, ...], deviations: Floats) -> LabelTable:
    """Effects of single labels, then of whole cells on what these leave, each shrunken; two rounds of backfitting."""
    named = [label_keys(one) for one in labels]
    keys = tuple(dict.fromkeys(key for step in range(4) for key in (row[step] for row in named)))
    index = {key: place for place, key in enumerate(keys)}
    rows = np.array([[index[key] for key in row] for row in named])
    effects = np.zeros((len(keys), deviations.shape[1]), np.float32)
    for _ in range(2):
        for step in range(4):
            others = effects[np.delete(rows, step, axis=1)].sum(1)
            sums, counts = _sums(rows[:, step], deviations - others, len(keys))
            touched = np.unique(rows[:, step])
            effects[touched] = (sums / (counts + LABEL_PRIOR))[touched]
    return LabelTable(keys=keys, deviations=effects)
